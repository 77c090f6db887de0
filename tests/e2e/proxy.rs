//! `/api/{id}/…`: byte by byte in both directions, and honest when nobody answers.

use std::time::Duration;

use futures_util::future::join;
use insta::assert_json_snapshot;
use muxi_testkit::daemon::{Answer, CLIENT_KEY, Daemon, Formation, Frames, PATIENCE, signal};
use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::snapshot;

/// Says something through the proxy and reads the frames.
async fn stream(daemon: &Daemon, formation: &Formation, message: &str) -> Frames {
    let body = json!({"message": message, "session_id": "s", "stream": true});
    Frames::of(formation.chat_at(&base(daemon, formation), &body)).await
}

fn base(daemon: &Daemon, formation: &Formation) -> String {
    format!("{}/api/{}", daemon.url(), formation.id)
}

fn gated(llm: &FakeLlm) {
    llm.script(json!([{"reply": {
        "chunks": ["one ", "two ", "three"], "gate": "more", "gate_after_chunks": 1,
    }}]));
}

#[tokio::test]
async fn the_first_chunk_arrives_before_the_second_exists() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    gated(&llm);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let mut frames = stream(&daemon, &formation, "hi").await;
    assert_eq!(frames.headers["content-type"], "text/event-stream; charset=utf-8");
    frames.until(|frame| frame.data["token"]["content"] == "one ").await;
    assert_eq!(llm.journal()[0].chunks_at_us.len(), 1, "the second was not yet sent");
    llm.open_gate("more");
    assert_eq!(frames.rest().await.last().expect("a last frame").event, "done");
}

#[tokio::test]
async fn a_request_without_end_is_passed_on_as_it_comes() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    // Only whoever sees the bytes while they come can refuse them for being too many.
    let endless =
        futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64 << 10]));
    let request = daemon
        .http()
        .post(format!("{}/v1/chat", base(&daemon, &formation)))
        .header("X-Muxi-Client-Key", CLIENT_KEY)
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(endless));
    let sent = tokio::time::timeout(PATIENCE / 2, request.send()).await;
    match sent.expect("the formation ends it") {
        // The formation reads on for a while and then closes, which the manager may meet in the
        // middle of its writing.
        Ok(response) => assert!([413, 502].contains(&response.status().as_u16()), "{response:?}"),
        // And so may the client.
        Err(error) => assert!(error.is_request() || error.is_body(), "{error:?}"),
    }
    assert_eq!(formation.say("hi").await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call_of_the_model() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    gated(&llm);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let mut frames = stream(&daemon, &formation, "hi").await;
    frames.until(|frame| frame.data["token"]["content"] == "one ").await;
    drop(frames);
    llm.wait_for(1, Some(Outcome::ClientGone)).await;
    // One that waits for a whole answer counts as well.
    let body = json!({"message": "hi", "session_id": "t", "stream": false});
    let waiting = formation.chat_at(&base(&daemon, &formation), &body).send();
    tokio::select! {
        answer = waiting => panic!("an answer before its end: {answer:?}"),
        _ = llm.wait_for(2, None) => {}
    }
    llm.wait_for(2, Some(Outcome::ClientGone)).await;
}

#[tokio::test]
async fn who_cannot_be_reached_is_told_in_the_documented_words() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let ask =
        |path: &'static str| Answer::of(daemon.unsigned("GET", path).header("x-request-id", "r-1"));
    let unknown = ask("/api/nobody/health").await;
    let no_id = ask("/api/UPPER/health").await;
    assert_eq!((unknown.status, no_id.status), (404, 404));
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    let stopped = ask("/api/hello/health").await;
    assert_eq!(stopped.status, 503);
    snapshot::with_names(|| {
        assert_json_snapshot!("proxy_unknown", unknown.body);
        assert_json_snapshot!("proxy_stopped", stopped.body);
    });
    assert_eq!(daemon.post("/rpc/formations/hello/start").await.status, 200);

    // The instance dies before it answers.
    llm.script(json!([{"reply": {"text": "late", "gate": "never"}}]));
    let body = json!({"message": "hi", "session_id": "s", "stream": false});
    let request = formation.chat_at(&base(&daemon, &formation), &body);
    let pid = daemon.instance_pid("hello").await;
    let death = async {
        llm.wait_for(1, None).await;
        signal(pid, Signal::KILL);
    };
    let (died, ()) = join(Answer::of(request.header("x-request-id", "r-1")), death).await;
    assert_eq!(died.status, 502);
    snapshot::with_names(|| assert_json_snapshot!("proxy_died", died.body));
}

#[tokio::test]
async fn an_instance_that_dies_within_a_stream_breaks_it_visibly() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    gated(&llm);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let mut frames = stream(&daemon, &formation, "hi").await;
    frames.until(|frame| frame.data["token"]["content"] == "one ").await;
    signal(daemon.instance_pid("hello").await, Signal::KILL);
    let rest = async {
        while frames.try_next().await?.is_some() {}
        Ok::<_, reqwest::Error>(())
    };
    assert!(rest.await.is_err(), "a stream that was cut must not look finished");
}

#[tokio::test]
async fn an_answer_behind_the_manager_is_that_of_the_formation() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    assert_eq!(formation.say("hi").await.status, 200);
    let base = base(&daemon, &formation);
    let ask = async |base: &str, method: &str, path: &str| {
        let method = method.parse().expect("a method");
        let request = daemon.http().request(method, format!("{base}{path}"));
        let request = request.header("X-Muxi-Client-Key", CLIENT_KEY).header("x-request-id", "r-1");
        let mut answer = Answer::of(request).await;
        assert_eq!(answer.headers["x-request-id"], "r-1", "{path}");
        if let Some(timestamp) = answer.body.get_mut("timestamp") {
            *timestamp = Value::Null;
        }
        (answer.status, answer.body)
    };
    for (method, path, status) in [
        ("GET", "/v1/sessions/s/messages?user_id=alice", 200),
        ("GET", "/v1/sessions/s%2Ft/messages?user_id=a%20b", 200),
        ("GET", "/v1/sessions/a%2F..%2Fb/messages?user_id=alice&x=%26%3D", 200),
        ("GET", "//v1/agents", 404),
        ("GET", "/v1/no%20such%3Froute", 404),
        ("DELETE", "/v1/chat", 405),
        ("HEAD", "/v1/health", 200),
    ] {
        let (direct, proxied) =
            (ask(&formation.url(), method, path).await, ask(&base, method, path).await);
        assert_eq!(direct, proxied, "{method} {path}");
        assert_eq!(proxied.0, status, "{method} {path}");
    }
    // Without one, an id is made, and it is the same all the way.
    let answer =
        Answer::of(formation.chat_at(&base, &json!({"message": "hi", "stream": false}))).await;
    assert_eq!(
        answer.headers["x-request-id"],
        answer.body["request"]["id"].as_str().expect("an id")
    );
}

#[tokio::test]
async fn many_streams_at_once_do_not_wait_for_each_other() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "more", "gate_after_chunks": 1}}]),
    );
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let base = base(&daemon, &formation);
    let streams = (0..32).map(async |index| {
        let body = json!({"message": "hi", "session_id": format!("s{index}"), "stream": true});
        let mut frames = Frames::of(formation.chat_at(&base, &body)).await;
        frames.until(|frame| frame.data["token"]["content"] == "one ").await;
        frames
    });
    let begun =
        tokio::time::timeout(Duration::from_secs(20), futures_util::future::join_all(streams));
    let begun = begun.await.expect("every stream has begun");
    llm.open_gate("more");
    for frames in begun {
        assert_eq!(frames.rest().await.last().expect("a last frame").event, "done");
    }
}
