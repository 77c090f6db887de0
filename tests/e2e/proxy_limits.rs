//! A formation has a bound of what it works on at once, and one that does not answer is left alone.

use muxi_testkit::daemon::{Answer, Daemon, Formation, PATIENCE, wait_until};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::raw;

async fn deployed(config: Value) -> (Daemon, Formation) {
    let daemon = Daemon::builder().fake_formation().config(config).start().await;
    let formation = daemon.deploy_formation("hello", "http://127.0.0.1:1").await;
    (daemon, formation)
}

async fn ask(daemon: &Daemon, path: &str) -> Answer {
    Answer::of(daemon.unsigned("GET", &format!("/api/hello/{path}"))).await
}

#[tokio::test]
async fn a_request_counts_until_the_end_of_its_answer() {
    let (daemon, formation) = deployed(json!({
        "proxy": {"concurrency": 1},
        "formations": {"overrides": {"hello": {"concurrency": 2}}},
    }))
    .await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = raw::connect(daemon.url()).await;
        let request = b"GET /api/hello/lines?gate=more HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.expect("the kernel takes it");
        raw::read_until(&mut stream, "{\"line\": 1}\n").await;
        streams.push(stream);
    }
    let refused = ask(&daemon, "echo").await;
    assert_eq!((refused.status, &refused.headers["retry-after"]), (503, &"1".parse().unwrap()));
    assert_eq!(refused.body["error"], "Formation unavailable");
    assert!(refused.body["message"].as_str().unwrap().contains("works on 2 requests"));
    assert_eq!(refused.body["retryable"], true);

    // The formation's own port has no such bound.
    assert_eq!(formation.get("/gate/more").await.status, 200);
    for stream in &mut streams {
        raw::read_until(stream, "{\"line\": 2}\n").await;
    }
    wait_until(PATIENCE, "there is room again", async || {
        (ask(&daemon, "echo").await.status == 200).then_some(())
    })
    .await;
    // One that leaves in the middle makes room, too.
    for _ in 0..3 {
        let mut stream = raw::connect(daemon.url()).await;
        stream.write_all(b"GET /api/hello/endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        raw::read_until(&mut stream, "xxx").await;
    }
    wait_until(PATIENCE, "there is room again", async || {
        (ask(&daemon, "echo").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_without_answers_is_left_alone_until_it_is_another() {
    let breaker = json!({"failures": 3, "cool_down_ms": 60_000});
    let (daemon, _) = deployed(json!({"proxy": {"breaker": breaker}})).await;
    for round in 0..2 {
        // An answer in between means that it answers.
        for path in ["silent", "silent", "echo", "silent", "silent"] {
            let status = if path == "echo" { 200 } else { 502 };
            assert_eq!(ask(&daemon, path).await.status, status, "round {round}");
        }
        assert_eq!(ask(&daemon, "silent").await.status, 502);
        let refused = ask(&daemon, "echo").await;
        assert_eq!(refused.status, 503);
        let seconds: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert!(refused.body["message"].as_str().unwrap().contains("did not answer"));
        assert_eq!(daemon.post("/rpc/formations/hello/restart").await.status, 200);
        assert_eq!(ask(&daemon, "echo").await.status, 200);
    }
}

#[tokio::test]
async fn it_is_tried_again_after_a_while() {
    let breaker = json!({"failures": 1, "cool_down_ms": 3_000});
    let (daemon, _) = deployed(json!({"proxy": {"breaker": breaker}})).await;
    assert_eq!(ask(&daemon, "silent").await.status, 502);
    assert_eq!(ask(&daemon, "echo").await.status, 503);
    wait_until(PATIENCE, "it is tried again", async || {
        (ask(&daemon, "echo").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&daemon, "echo").await.status, 200);
}
