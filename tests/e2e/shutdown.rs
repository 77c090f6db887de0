//! A manager that is asked to end: what is open may finish, and nothing is left behind.

use std::time::{Duration, Instant};

use futures_util::future::join;
use muxi_testkit::daemon::{
    Daemon, Formation, Frames, PATIENCE, freeze, is_alive, signal, wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::json;

/// Frames of a chat through the manager, up to the gate `more`.
async fn half_a_stream(daemon: &Daemon, llm: &FakeLlm, formation: &Formation) -> Frames {
    llm.script(json!([{"match": {"contains": "slowly"}, "reply": {
        "chunks": ["one ", "two"], "gate": "more", "gate_after_chunks": 1,
    }}]));
    let base = format!("{}/api/{}", daemon.url(), formation.id);
    let body = json!({"message": "slowly", "session_id": "s", "stream": true});
    let mut frames = Frames::of(formation.chat_at(&base, &body)).await;
    frames.until(|frame| frame.data["token"]["content"] == "one ").await;
    frames
}

/// Waits until the manager takes no new connection.
async fn refusing(url: &str) {
    let address = url.strip_prefix("http://").expect("an address").to_owned();
    wait_until(PATIENCE, "the manager refuses newcomers", async || {
        std::net::TcpStream::connect(&address).is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_open_stream_is_drained_and_the_formation_comes_back() {
    let (mut daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let stopped = daemon.deploy_formation("stopped", &llm.base_url()).await;
    assert_eq!(daemon.post("/rpc/formations/stopped/stop").await.status, 200);
    let frames = half_a_stream(&daemon, &llm, &formation).await;

    let url = daemon.url().to_owned();
    let open = async {
        refusing(&url).await;
        llm.open_gate("more");
        frames.rest().await
    };
    let (status, rest) = join(daemon.terminate(), open).await;
    assert_eq!(rest.last().expect("a last frame").event, "done");
    assert_eq!(status.code(), Some(0));
    assert_eq!(daemon.processes(), [0u32; 0]);

    daemon.start_again().await;
    let view = daemon.wait_status("hello", "running").await;
    assert_eq!(view["port"], formation.port);
    assert_eq!(daemon.view("stopped").await["status"], "stopped");
    assert_eq!(formation.say("hi").await.status, 200);
    assert_eq!(formation.transcript().await[..2], ["slowly", "one two"]);
    assert_eq!(stopped.say("hi").await.status, 503);
}

#[tokio::test]
async fn formations_may_be_kept() {
    let config = json!({"formations": {"on_manager_stop": "keep"}});
    let (mut daemon, llm) =
        (Daemon::builder().config(config).start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let pid = daemon.instance_pid("hello").await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert!(is_alive(pid));
    assert_eq!(formation.say("hi").await.status, 200);

    daemon.start_again().await;
    let view = daemon.wait_status("hello", "running").await;
    assert_eq!(view["pid"].as_u64(), Some(pid.into()));
    assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_second_signal_means_now() {
    let (mut daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let mut frames = half_a_stream(&daemon, &llm, &formation).await;
    let begun = Instant::now();
    signal(daemon.pid(), Signal::TERM);
    refusing(daemon.url()).await;
    signal(daemon.pid(), Signal::TERM);
    let rest = async { while let Ok(Some(_)) = frames.try_next().await {} };
    join(daemon.ended(), rest).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
    wait_until(PATIENCE, "no process is left", async || {
        daemon.processes().is_empty().then_some(())
    })
    .await;

    daemon.start_again().await;
    daemon.wait_status("hello", "running").await;
    assert_eq!(formation.say_in("other", "hi").await.status, 200);
}

#[tokio::test]
async fn the_grace_ends_what_does_not() {
    let config = json!({"limits": {"shutdown_ms": 1_000}, "formations": {"stop_grace": 1}});
    let (mut daemon, llm) =
        (Daemon::builder().config(config).start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let mut frames = half_a_stream(&daemon, &llm, &formation).await;
    // An instance that does not hear is killed with the manager's end.
    freeze(daemon.instance_pid("hello").await).await;
    let begun = Instant::now();
    let rest = async { while let Ok(Some(_)) = frames.try_next().await {} };
    join(daemon.terminate(), rest).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
    assert_eq!(daemon.processes(), [0u32; 0]);
}
