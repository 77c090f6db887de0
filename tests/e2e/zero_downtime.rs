//! Zero downtime, counted: constant load on both ways in, open streams, and everything an operator
//! does to a running formation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use muxi_testkit::daemon::{Daemon, Formation, Frames, bundle_of_version};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;
use tokio::task::JoinSet;

const REQUESTS_MIN: u64 = 2_000;
const STREAMS: usize = 24;
const CLIENTS: usize = 8;

/// Clients that ask without a pause, on connections that they keep.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    fn start(urls: &[String]) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for url in (0..CLIENTS).flat_map(|_| urls.iter().cloned()) {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            clients.spawn(async move {
                let http = reqwest::Client::builder()
                    .timeout(Duration::from_secs(20))
                    .no_proxy()
                    // A lost request must be seen, not sent again.
                    .retry(reqwest::retry::never())
                    .build()
                    .expect("a client");
                let mut lost = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match http.get(&url).send().await {
                        Ok(answer) if answer.status() == 200 => match answer.bytes().await {
                            Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => lost.push(format!("{url}: {error:?}")),
                        },
                        Ok(answer) => lost.push(format!("{url}: {}", answer.status())),
                        Err(error) => lost.push(format!("{url}: {error:?}")),
                    }
                }
                lost
            });
        }
        Self { stop, answered, clients }
    }

    async fn until(&self, count: u64) {
        while self.answered.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let lost = self.clients.join_all().await.into_iter().flatten().collect();
        (self.answered.load(Ordering::Relaxed), lost)
    }
}

/// Streams that have begun and wait for the model's second word.
async fn open_streams(daemon: &Daemon, formation: &Formation) -> Vec<Frames> {
    let bases = [formation.url(), format!("{}/api/hello", daemon.url())];
    let open = async |number: usize| {
        let body = json!({"message": "hi", "session_id": format!("s{number}"), "stream": true});
        let request = formation.chat_at(&bases[number % 2], &body);
        let mut frames = Frames::of(request.timeout(Duration::from_mins(2))).await;
        frames.until(|frame| frame.data["token"]["content"] == "one ").await;
        frames
    };
    join_all((0..STREAMS).map(open)).await
}

#[tokio::test]
async fn update_rollback_and_restart_lose_nothing() {
    let config = json!({"formations": {"deployment": {"watch_window": 1}}});
    let (daemon, llm) = (Daemon::builder().config(config).start().await, FakeLlm::start().await);
    llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "end", "gate_after_chunks": 1}}]),
    );
    let version = |number: &str| bundle_of_version("hello", &llm.base_url(), number);
    assert_eq!(daemon.deploy(version("1.0.0")).await.status, 201);
    let formation = daemon.formation("hello").await;
    let streams = open_streams(&daemon, &formation).await;
    let urls =
        [format!("{}/health", formation.url()), format!("{}/api/hello/health", daemon.url())];
    let load = Load::start(&urls);

    let quarter = REQUESTS_MIN / 4;
    load.until(quarter).await;
    let updated = daemon.update("hello", version("2.0.0")).await;
    assert_eq!(updated.status, 200, "{updated:?}");
    load.until(2 * quarter).await;
    let back = daemon.post("/rpc/formations/hello/rollback").await;
    assert_eq!(back.status, 200, "{back:?}");
    load.until(3 * quarter).await;
    let restarted = daemon.post("/rpc/formations/hello/restart").await;
    assert_eq!(restarted.status, 200, "{restarted:?}");
    load.until(REQUESTS_MIN).await;
    let (answered, lost) = load.finish().await;

    llm.open_gate("end");
    let ends = join_all(streams.into_iter().map(Frames::rest)).await;
    let whole = ends.iter().filter(|frames| frames.last().is_some_and(|it| it.event == "done"));
    let broken = STREAMS - whole.count();
    eprintln!("{answered} requests, {} lost; {STREAMS} streams, {broken} broken", lost.len());
    assert!(lost.is_empty(), "{} of {answered} requests were lost: {:?}", lost.len(), lost.first());
    assert_eq!(broken, 0, "streams were broken");
    assert!(answered >= REQUESTS_MIN);
}
