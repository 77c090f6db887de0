//! A full disk, for real: nothing new is taken, what runs goes on, a delete makes room, and with
//! room everything goes on by itself.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use muxi_testkit::daemon::{
    Answer, Builder, Daemon, PATIENCE, bundle, in_own_mounts, signal, wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::json;

const MIB: u64 = 1 << 20;

fn small() -> Builder {
    let limits = json!({"limits": {"disk_free_min_bytes": MIB}});
    Daemon::builder().config(limits).data_dir_on_small_disk(24 * MIB)
}

/// The bytes of the reserve that are left.
fn reserve(daemon: &Daemon) -> u64 {
    fs::metadata(daemon.data_dir().join("reserve")).map_or(0, |it| it.len())
}

async fn with_reserve(daemon: &Daemon) {
    wait_until(PATIENCE, "the reserve is filled", async || (reserve(daemon) > 0).then_some(()))
        .await;
}

/// An upload of which only the beginning ever comes.
async fn begun_upload(daemon: &Daemon) -> Answer {
    let begun = stream::iter([Ok::<_, std::io::Error>(b"x".to_vec())]).chain(stream::pending());
    let request = daemon.request("POST", "/rpc/formations");
    let request =
        request.header("content-type", "application/gzip").header("expect", "100-continue");
    Answer::of(request.body(reqwest::Body::wrap_stream(begun))).await
}

#[tokio::test]
async fn nothing_new_is_taken_and_what_runs_goes_on() {
    if !in_own_mounts("disk_full::nothing_new_is_taken_and_what_runs_goes_on") {
        return;
    }
    let (mut daemon, llm) = (small().start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    daemon.deploy_formation("other", &llm.base_url()).await;
    assert_eq!(formation.say("one").await.status, 200);
    with_reserve(&daemon).await;

    // Below the mark nothing new is taken, so that what runs has room to go on.
    daemon.disk().fill_but(MIB / 2);
    assert_eq!(begun_upload(&daemon).await.status, 507);
    assert_eq!(formation.say("two").await.status, 200);
    daemon.disk().fill();

    // Refused before the body was there, with what to do about it.
    let refused = begun_upload(&daemon).await;
    assert_eq!((refused.status, &refused.body["error"]), (507, &json!("InsufficientStorage")));
    let message = refused.body["message"].as_str().expect("a message");
    assert!(message.contains("limits.disk_free_min_bytes"), "{message}");
    let refused = daemon.deploy(bundle("third", &llm.base_url())).await;
    assert_eq!(refused.status, 507, "{refused:?}");

    // Reading, proxying and what needs no disk go on.
    assert_eq!(daemon.get("/rpc/formations").await.data()["total"], 2);
    assert_eq!(daemon.get("/api/hello/health").await.status, 200);
    assert_eq!(formation.get("/health").await.status, 200);
    assert_eq!(formation.transcript().await, ["one", "fake model: one", "two", "fake model: two"]);
    // A conversation that cannot be kept is not begun, and says so; until then the blocks that the
    // memory's log has are written again.
    let mut said = 0;
    let unkept = loop {
        let answer = formation.say_in("long", &"three ".repeat(1_000)).await;
        said += 1;
        assert!(said < 500, "a full disk took {said} long conversations");
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(unkept.status, 500, "{unkept:?}");
    assert!(unkept.text.contains("could not be written down"), "{unkept:?}");
    let pid = daemon.instance_pid("hello").await;

    // Acts are written down into what the reserve gives back, however often the disk is filled.
    assert_eq!(daemon.post("/rpc/formations/other/stop").await.status, 200);
    daemon.disk().fill();
    assert_eq!(daemon.post("/rpc/formations/other/start").await.status, 200);
    assert_eq!(daemon.instance_pid("hello").await, pid, "it was never touched");
    daemon.disk().fill();
    signal(pid, Signal::KILL);
    wait_until(PATIENCE, "it is replaced", async || {
        (daemon.instance_pid("hello").await != pid).then_some(())
    })
    .await;
    daemon.wait_status("hello", "running").await;

    // The manager itself may die, too.
    daemon.disk().fill();
    daemon.kill9();
    daemon.start_again().await;
    daemon.wait_status("hello", "running").await;
    assert_eq!(begun_upload(&daemon).await.status, 507);

    // A delete is what an operator does about it.
    daemon.disk().fill();
    assert_eq!(daemon.delete("/rpc/formations/other").await.status, 200);
    assert!(!daemon.data_dir().join("formations/other").exists());
    assert!(reserve(&daemon) < 4 * MIB, "the reserve was used");

    daemon.disk().free();
    assert_eq!(formation.say("four").await.status, 200);
    daemon.deploy_formation("third", &llm.base_url()).await;
    wait_until(PATIENCE, "the reserve is whole", async || {
        (reserve(&daemon) == 4 * MIB).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_reserve_the_manager_waits_and_goes_on_when_there_is_room() {
    if !in_own_mounts(
        "disk_full::without_a_reserve_the_manager_waits_and_goes_on_when_there_is_room",
    ) {
        return;
    }
    let (daemon, llm) = (small().start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    with_reserve(&daemon).await;
    fs::remove_file(daemon.data_dir().join("reserve")).expect("it is there");
    daemon.disk().fill();

    // Until the log of the store has no block left that it could write again.
    let refused = wait_until(PATIENCE, "an act is refused", async || {
        let act = if daemon.view("hello").await["status"] == "running" { "stop" } else { "start" };
        let path = format!("/rpc/formations/hello/{act}");
        let answer = daemon.post(&path);
        // One that was begun and cannot be ended waits for room.
        let answer = tokio::time::timeout(Duration::from_secs(3), answer).await;
        Some(answer.map_or(507, |it| it.status)).filter(|status| *status != 200)
    })
    .await;
    assert_eq!(refused, 507);
    let before = (Instant::now(), daemon.log().lines().count());
    let used = cpu_ticks(daemon.pid());
    wait_until(PATIENCE, "the manager had time to spin", async || {
        (before.0.elapsed() > Duration::from_secs(5)).then_some(())
    })
    .await;
    let lines = daemon.log().lines().count() - before.1;
    assert!(lines < 30, "{lines} lines of log in five seconds");
    let used = cpu_ticks(daemon.pid()) - used;
    assert!(used < 200, "{used} ticks of processor time in five seconds");
    assert_eq!(daemon.get("/rpc/formations").await.status, 200);

    daemon.disk().free();
    wait_until(PATIENCE, "what was begun has ended", async || {
        let status = daemon.view("hello").await["status"].clone();
        (status == "running" || status == "stopped").then_some(())
    })
    .await;
    if daemon.view("hello").await["status"] == "stopped" {
        let started = daemon.post("/rpc/formations/hello/start").await;
        assert!([200, 409].contains(&started.status), "{started:?}");
    }
    daemon.wait_status("hello", "running").await;
    assert_eq!(formation.say("two").await.status, 200);
    assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
}

/// Hundredths of a second that a process has computed.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [fields[11], fields[12]].iter().map(|it| it.parse::<u64>().expect("a number")).sum()
}
