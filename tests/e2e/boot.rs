//! A manager that comes back to many formations.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use muxi_testkit::daemon::{Builder, Daemon, PATIENCE, bundle, wait_until};
use serde_json::json;

const FORMATIONS: u16 = 100;
const STARTS_AT_ONCE: usize = 8;

fn builder() -> Builder {
    let config = json!({"limits": {"starts_at_once": STARTS_AT_ONCE, "deploys_at_once": 8}});
    Daemon::builder().config(config).ports_at_least(FORMATIONS)
}

async fn deploy_all(daemon: &Daemon) {
    let deploy = |number: u16| async move {
        let answer =
            daemon.deploy(bundle(&format!("many-{number:03}"), "http://127.0.0.1:9")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    };
    stream::iter((0..FORMATIONS).map(deploy)).buffer_unordered(4).collect::<Vec<()>>().await;
}

/// Each formation's process, once all of them run.
async fn all_running(daemon: &Daemon) -> BTreeMap<String, u64> {
    wait_until(2 * PATIENCE, "all formations run", async || {
        let list = daemon.get("/rpc/formations").await;
        let formations = list.data()["formations"].as_array()?.clone();
        assert_eq!(formations.len(), usize::from(FORMATIONS));
        let running = formations.iter().filter(|it| it["status"] == "running");
        let pids: BTreeMap<String, u64> = running
            .filter_map(|it| Some((it["id"].as_str()?.to_owned(), it["pid"].as_u64()?)))
            .collect();
        (pids.len() == usize::from(FORMATIONS)).then_some(pids)
    })
    .await
}

#[tokio::test]
async fn a_hundred_formations_are_adopted_or_started_without_a_stampede() {
    let mut daemon = builder().fake_formation_switched().start().await;
    deploy_all(&daemon).await;
    let before = all_running(&daemon).await;

    daemon.kill9();
    let begun = Instant::now();
    daemon.start_again().await;
    eprintln!("adopting {FORMATIONS}: the listener answered after {:?}", begun.elapsed());
    assert_eq!(all_running(&daemon).await, before, "every process was adopted");

    // With none left and none coming up, the manager answers all the same.
    daemon.terminate().await;
    daemon.runtime().hold();
    let begun = Instant::now();
    daemon.start_again().await;
    eprintln!("starting {FORMATIONS}: the listener answered after {:?}", begun.elapsed());
    daemon.runtime().reached().await;
    let list = daemon.get("/rpc/formations").await;
    let formations = list.data()["formations"].as_array().expect("a list").clone();
    assert!(formations.iter().all(|it| it["status"] == "starting"), "{formations:?}");
    let started = formations.iter().filter(|it| it["pid"] != 0).count();
    assert!(started <= STARTS_AT_ONCE, "{started} processes were started at once");
    daemon.runtime().release();
    all_running(&daemon).await;
}
