//! Requests wait for a formation that starts: bounded in time and number, and told the truth at once
//! when there is nothing to wait for.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use muxi_testkit::daemon::{Answer, Daemon, Formation, PATIENCE, signal, wait_until};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::raw;

/// Long enough to tell waiting from answering.
const WHILE: Duration = Duration::from_millis(200);

const CALLERS: usize = 4;
const CRASHES: usize = 3;

/// A formation that serves, and the next instance of which is held.
async fn held_back(config: Value) -> (Daemon, FakeLlm, Formation) {
    let daemon = Daemon::builder().switched().config(config).start().await;
    let llm = FakeLlm::start().await;
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    daemon.runtime().hold();
    signal(daemon.instance_pid("hello").await, Signal::KILL);
    daemon.runtime().reached().await;
    daemon.wait_status("hello", "starting").await;
    (daemon, llm, formation)
}

async fn ask(daemon: &Daemon) -> Answer {
    Answer::of(daemon.unsigned("GET", "/api/hello/v1/health")).await
}

async fn waits<F: Future>(future: Pin<&mut F>) -> bool {
    tokio::time::timeout(WHILE, future).await.is_err()
}

#[track_caller]
fn assert_unavailable(answer: &Answer, status: &str, retry_after: Option<&str>) {
    let message = format!("Formation 'hello' is not running (status: {status})");
    assert_eq!((answer.status, &answer.body["message"]), (503, &json!(message)), "{answer:?}");
    let told = answer.headers.get("retry-after").map(|it| it.to_str().expect("a readable header"));
    assert_eq!(told, retry_after);
    assert_eq!(answer.body["retryable"], json!(retry_after.is_some()));
}

#[tokio::test]
async fn requests_wait_for_the_next_instance_and_are_answered() {
    let (daemon, _llm, formation) = held_back(json!({})).await;
    let base = format!("{}/api/hello", daemon.url());
    let chats = join_all((0..8).map(async |index| {
        let body = json!({"message": "hi", "session_id": format!("s{index}"), "stream": false});
        Answer::of(formation.chat_at(&base, &body)).await.status
    }));
    let asks = join_all((0..8).map(async |_| ask(&daemon).await.status));
    let mut all = pin!(futures_util::future::join(chats, asks));
    assert!(waits(all.as_mut()).await, "they are held");
    daemon.runtime().release();
    let (chats, asks) = all.await;
    assert_eq!((chats, asks), (vec![200; 8], vec![200; 8]));
}

#[tokio::test]
async fn a_crash_costs_nothing_that_may_be_asked_again() {
    let daemon = Daemon::start().await;
    daemon.deploy_formation("hello", "http://127.0.0.1:1").await;
    let done = AtomicBool::new(false);
    let good: [AtomicUsize; CALLERS] = Default::default();
    let calling = join_all(good.iter().map(async |good| {
        while !done.load(Relaxed) {
            let answer = ask(&daemon).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            good.fetch_add(1, Relaxed);
        }
    }));
    let everybody_was_answered = async || {
        let before = good.each_ref().map(|it| it.load(Relaxed));
        wait_until(PATIENCE, "everybody was answered", async || {
            let mut counts = good.iter().zip(before);
            // One more may have been under way already.
            counts.all(|(good, before)| good.load(Relaxed) > before + 1).then_some(())
        })
        .await;
    };
    let crashing = async {
        for _ in 0..CRASHES {
            // What is asked again is asked once: everybody must have got over the crash before.
            everybody_was_answered().await;
            signal(daemon.instance_pid("hello").await, Signal::KILL);
        }
        everybody_was_answered().await;
        done.store(true, Relaxed);
    };
    futures_util::future::join(calling, crashing).await;
}

#[tokio::test]
async fn they_wait_for_so_long_and_not_longer() {
    let (daemon, _llm, _) = held_back(json!({"proxy": {"hold_ms": 400}})).await;
    let begun = Instant::now();
    assert_unavailable(&ask(&daemon).await, "starting", Some("2"));
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    daemon.runtime().release();
    daemon.wait_status("hello", "running").await;
    assert_eq!(ask(&daemon).await.status, 200);
}

#[tokio::test]
async fn nobody_waits_where_that_is_not_wanted() {
    let (daemon, _llm, _) = held_back(json!({"proxy": {"hold_ms": 0}})).await;
    assert_unavailable(&ask(&daemon).await, "starting", Some("2"));
    daemon.runtime().release();
}

#[tokio::test]
async fn so_many_wait_and_one_that_leaves_makes_room() {
    let bounds = json!({"proxy": {"hold_ms": 20_000, "held_per_formation_max": 1}});
    let (daemon, _llm, _) = held_back(bounds).await;
    // With a body, which nobody has asked for yet.
    let request = b"POST /api/hello/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let held = wait_until(PATIENCE, "it has the only place", async || {
        let mut held = raw::connect(daemon.url()).await;
        held.write_all(request).await.expect("the kernel takes it");
        let asking = tokio::time::timeout(WHILE, ask(&daemon)).await;
        // Whoever asks beside it may have been there first, and then it is tried again.
        asking.ok().map(|answer| assert_unavailable(&answer, "starting", Some("2"))).map(|()| held)
    })
    .await;
    drop(held);
    wait_until(PATIENCE, "its place is free", async || {
        let asking = tokio::time::timeout(WHILE, ask(&daemon)).await;
        asking.is_err().then_some(())
    })
    .await;
    daemon.runtime().release();
    daemon.wait_status("hello", "running").await;
    assert_eq!(ask(&daemon).await.status, 200);
}

#[tokio::test]
async fn what_was_given_up_is_told_at_once() {
    let config = json!({"formations": {"max_restarts": 1, "restart_delay": 0}});
    let daemon = Daemon::builder().switched().config(config).start().await;
    daemon.deploy_formation("hello", "http://127.0.0.1:1").await;
    daemon.runtime().break_down("out of order");
    signal(daemon.instance_pid("hello").await, Signal::KILL);
    daemon.wait_status("hello", "crash_loop").await;
    let begun = Instant::now();
    assert_unavailable(&ask(&daemon).await, "crash_loop", None);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn an_operator_ends_the_wait() {
    let (daemon, _llm, _) = held_back(json!({"proxy": {"hold_ms": 30_000}})).await;
    let mut asking = pin!(ask(&daemon));
    assert!(waits(asking.as_mut()).await);
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    assert_unavailable(&asking.await, "stopped", None);

    let started = daemon.post("/rpc/formations/hello/start");
    let deleted = async {
        daemon.wait_status("hello", "starting").await;
        let mut asking = pin!(ask(&daemon));
        assert!(waits(asking.as_mut()).await);
        assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
        let answer = asking.await;
        assert_eq!((answer.status, &answer.body["error"]), (404, &json!("Formation not found")));
    };
    futures_util::future::join(started, deleted).await;
}

#[tokio::test]
async fn a_manager_that_stops_keeps_nobody() {
    let (mut daemon, _llm, _) = held_back(json!({"proxy": {"hold_ms": 30_000}})).await;
    let request = daemon.unsigned("GET", "/api/hello/v1/health");
    let mut asking = pin!(Answer::of(request));
    assert!(waits(asking.as_mut()).await);
    let (answer, status) = futures_util::future::join(asking, daemon.terminate()).await;
    assert_eq!((answer.status, status.code()), (503, Some(0)));
}
