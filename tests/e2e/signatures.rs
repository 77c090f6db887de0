//! Signatures of version 2, made by openssl's command line; and what repeated calls get.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use muxi_contract::signature::content_sha256;
use muxi_testkit::daemon::{
    Answer, Daemon, Frames, KEY, PATIENCE, SECRET, bundle, bundle_of_version, manifest, now_s,
    wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

/// What `openssl dgst` makes of the seven fields of version 2.
fn openssl_v2(nonce: &str, method: &str, path: &str, query: &str, sha256: &str) -> String {
    let timestamp = now_s();
    let mut openssl = Command::new("sh")
        .args(["-c", "openssl dgst -sha256 -hmac \"$1\" -binary | openssl base64 -A", "sh", SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let text = format!("v2;{timestamp};{nonce};{method};{path};{query};{sha256}");
    let mut input = openssl.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("openssl reads");
    drop(input);
    let output = openssl.wait_with_output().expect("openssl ends");
    let signature = String::from_utf8(output.stdout).expect("base64");
    assert_eq!(signature.len(), 44, "openssl is needed on the PATH");
    format!("MUXI-HMAC key={KEY}, timestamp={timestamp}, nonce={nonce}, signature={signature}, v=2")
}

/// A request with a body, signed with version 2.
fn signed(daemon: &Daemon, nonce: &str, method: &str, path: &str, body: &[u8]) -> RequestBuilder {
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    let sha256 = content_sha256(body);
    daemon
        .unsigned(method, path)
        .header("authorization", openssl_v2(nonce, method, bare, query, &sha256))
        .header("x-muxi-content-sha256", sha256)
}

#[track_caller]
fn assert_refused(answer: &Answer, words: &str) {
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.body["error"], "Unauthorized");
    assert!(answer.body["message"].as_str().is_some_and(|it| it.contains(words)), "{answer:?}");
}

async fn key_count(daemon: &Daemon) -> u64 {
    daemon.get("/rpc/keys").await.data()["total"].as_u64().expect("a number")
}

#[tokio::test]
async fn version_2_covers_query_and_body_and_is_good_once() {
    let daemon = Daemon::start().await;
    let request = signed(&daemon, "nonce-0001", "GET", "/rpc/audit?limit=3", b"");
    let again = request.try_clone().expect("no stream");
    assert_eq!(Answer::of(request).await.status, 200);
    assert_refused(&Answer::of(again).await, "nonce was used before");

    let header = openssl_v2("nonce-0002", "GET", "/rpc/audit", "limit=3", &content_sha256(b""));
    let other_query = daemon.unsigned("GET", "/rpc/audit?limit=4");
    let other_query = other_query.header("authorization", header);
    let other_query = other_query.header("x-muxi-content-sha256", content_sha256(b""));
    assert_refused(&Answer::of(other_query).await, "Invalid signature");

    let body = br#"{"role":"read"}"#;
    let other = br#"{"role":"admin"}"#;
    let forged = signed(&daemon, "nonce-0003", "POST", "/rpc/keys", body).body(other.to_vec());
    assert_refused(&Answer::of(forged).await, "not the one that was signed");
    let unsigned_body =
        signed(&daemon, "nonce-0004", "POST", "/rpc/keys", b"").body(other.to_vec());
    assert_refused(&Answer::of(unsigned_body).await, "not the one that was signed");
    assert_eq!(key_count(&daemon).await, 1, "nothing was done");
    let right = signed(&daemon, "nonce-0005", "POST", "/rpc/keys", body).body(body.to_vec());
    let again = right.try_clone().expect("no stream");
    assert_eq!(Answer::of(right).await.status, 201);
    assert_refused(&Answer::of(again).await, "used before");
    assert_eq!(key_count(&daemon).await, 2);
    let no_hash = daemon.unsigned("GET", "/rpc/audit").header(
        "authorization",
        openssl_v2("nonce-0006", "GET", "/rpc/audit", "", &content_sha256(b"")),
    );
    assert_refused(&Answer::of(no_hash).await, "X-Muxi-Content-SHA256");
}

#[tokio::test]
async fn a_mutating_nonce_is_remembered_over_a_restart() {
    let mut daemon = Daemon::start().await;
    let request = signed(&daemon, "nonce-0001", "POST", "/rpc/keys", b"{}").body("{}");
    let header = request.try_clone().expect("no stream").build().expect("a request");
    let header = header.headers()["authorization"].clone();
    assert_eq!(Answer::of(request).await.status, 201);
    daemon.restart().await;
    let again = daemon.unsigned("POST", "/rpc/keys").header("authorization", header);
    let again = again.header("x-muxi-content-sha256", content_sha256(b"{}")).body("{}");
    assert_refused(&Answer::of(again).await, "used before");
}

#[tokio::test]
async fn only_the_signed_bundle_is_deployed() {
    let llm = FakeLlm::start().await;
    let daemon = Daemon::start().await;
    let (hello, other) = (bundle("hello", &llm.base_url()), bundle("other", &llm.base_url()));
    let upload = |nonce: &str, signed_body: &[u8]| {
        signed(&daemon, nonce, "POST", "/rpc/formations", signed_body)
            .header("content-type", "application/gzip")
    };
    let forged = upload("nonce-0001", &hello).body(other);
    assert_refused(&Answer::of(forged).await, "not the one that was signed");
    let streamed = upload("nonce-0002", &hello).header("accept", "text/event-stream");
    let answer = Answer::of(streamed.body("not a bundle")).await;
    assert_refused(&answer, "not the one that was signed");
    assert_eq!(daemon.get("/rpc/formations").await.data()["total"], 0);
    let answer = Answer::of(upload("nonce-0003", &hello).body(hello.clone())).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn version_1_can_be_switched_off() {
    let daemon = Daemon::builder().config(json!({"auth": {"require_v2": true}})).start().await;
    assert_refused(&daemon.get("/rpc/formations").await, "auth.require_v2");
    let request = signed(&daemon, "nonce-0001", "GET", "/rpc/formations", b"");
    assert_eq!(Answer::of(request).await.status, 200);
    // The manager's own commands sign so, too.
    let status = daemon.command().arg("status").output().expect("the program starts");
    assert!(status.status.success(), "{status:?}");
}

/// A request signed once, to be sent as often as wanted.
struct Repeated {
    method: &'static str,
    path: &'static str,
    header: String,
    body: Vec<u8>,
}

impl Repeated {
    fn new(daemon: &Daemon, method: &'static str, path: &'static str) -> Self {
        let request = daemon.request(method, path).build().expect("a request");
        let header = request.headers()["authorization"].to_str().expect("ASCII").to_owned();
        Self { method, path, header, body: Vec::new() }
    }

    fn build(&self, daemon: &Daemon, idempotency_key: Option<&str>) -> RequestBuilder {
        let mut request = daemon
            .unsigned(self.method, self.path)
            .header("authorization", &self.header)
            .header("content-type", "application/gzip")
            .body(self.body.clone());
        if let Some(key) = idempotency_key {
            request = request.header("x-muxi-idempotency-key", key);
        }
        request
    }

    async fn send(&self, daemon: &Daemon, idempotency_key: Option<&str>) -> Answer {
        Answer::of(self.build(daemon, idempotency_key)).await
    }
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_also_from_the_next_manager() {
    let mut daemon = Daemon::start().await;
    let call = Repeated::new(&daemon, "POST", "/rpc/keys");
    let first = call.send(&daemon, Some("uuid-1")).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert!(first.headers.get("x-muxi-idempotent-replay").is_none());
    for restart in [false, true] {
        if restart {
            daemon.kill9();
            daemon.start_again().await;
        }
        let repeat = call.send(&daemon, Some("uuid-1")).await;
        assert_eq!((repeat.status, &repeat.text), (201, &first.text), "restart: {restart}");
        assert_eq!(repeat.headers["x-muxi-idempotent-replay"], "true");
        assert_eq!(repeat.headers["content-type"], first.headers["content-type"]);
    }
    assert_eq!(key_count(&daemon).await, 2);
    // What a client signs anew is the same call, too.
    let signed_anew = Repeated::new(&daemon, "POST", "/rpc/keys");
    assert_eq!(signed_anew.send(&daemon, Some("uuid-1")).await.text, first.text);
    // Another call must not take the key of this one.
    let elsewhere = Repeated::new(&daemon, "POST", "/rpc/formations/hello/start");
    let answer = elsewhere.send(&daemon, Some("uuid-1")).await;
    assert_eq!((answer.status, &answer.body["error"]), (409, &json!("Conflict")), "{answer:?}");
}

#[track_caller]
fn assert_is_another_call(answer: &Answer) {
    assert_eq!((answer.status, &answer.body["error"]), (409, &json!("Conflict")), "{answer:?}");
    let said = answer.body["message"].as_str().expect("a text");
    assert!(said.contains("idempotency key was used for another call"), "{said}");
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_body() {
    let llm = FakeLlm::start().await;
    let mut daemon = Daemon::builder().switched().start().await;
    daemon.runtime().hold();
    let [mut call, mut other] = [(); 2].map(|()| Repeated::new(&daemon, "POST", "/rpc/formations"));
    call.body = bundle("hello", &llm.base_url());
    other.body = bundle("other", &llm.base_url());
    let first = call.send(&daemon, Some("uuid-1"));
    let meanwhile = async {
        daemon.runtime().reached().await;
        // Told at once: whoever sent the first body may wait for long.
        assert_is_another_call(&other.send(&daemon, Some("uuid-1")).await);
        daemon.runtime().release();
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    assert_eq!(first.status, 201, "{first:?}");
    for restart in [false, true] {
        if restart {
            daemon.restart().await;
        }
        assert_is_another_call(&other.send(&daemon, Some("uuid-1")).await);
        assert_eq!(call.send(&daemon, Some("uuid-1")).await.text, first.text, "{restart}");
    }
    assert_eq!(daemon.get("/rpc/formations").await.data()["total"], 1);
}

#[tokio::test]
async fn a_signature_serves_other_calls_for_a_moment_only() {
    let daemon = Daemon::start().await;
    let call = Repeated::new(&daemon, "POST", "/rpc/keys");
    for idempotency_key in [Some("uuid-1"), Some("uuid-2"), None, None] {
        let answer = call.send(&daemon, idempotency_key).await;
        assert_eq!(answer.status, 201, "two honest calls in one second: {answer:?}");
    }
    let read = Repeated::new(&daemon, "GET", "/rpc/keys");
    wait_until(PATIENCE, "the moment is over", async || {
        let answer = call.send(&daemon, None).await;
        (answer.status == 401).then_some(answer)
    })
    .await;
    let keys = key_count(&daemon).await;
    for idempotency_key in [Some("uuid-3"), None] {
        let answer = call.send(&daemon, idempotency_key).await;
        assert_refused(&answer, "signature was used before");
    }
    assert_eq!(key_count(&daemon).await, keys);
    assert_eq!(call.send(&daemon, Some("uuid-2")).await.status, 201, "its own answer");
    for idempotency_key in [Some("uuid-9"), Some("uuid-9"), None] {
        assert_eq!(read.send(&daemon, idempotency_key).await.status, 200, "GETs are free");
    }
}

#[tokio::test]
async fn a_repeat_waits_for_the_first_whose_caller_has_left() {
    let llm = FakeLlm::start().await;
    let daemon = Daemon::builder().switched().start().await;
    daemon.runtime().hold();
    let mut call = Repeated::new(&daemon, "POST", "/rpc/formations");
    call.body = bundle("hello", &llm.base_url());
    let leaving = call.build(&daemon, Some("uuid-1")).timeout(Duration::from_millis(800)).send();
    assert!(leaving.await.is_err_and(|error| error.is_timeout()));
    daemon.runtime().reached().await;
    let waiting = call.send(&daemon, Some("uuid-1"));
    let releasing = async {
        // Both wait at the same time: the repeat has no answer before.
        daemon.get("/rpc/formations").await;
        daemon.runtime().release();
    };
    let (repeat, ()) = tokio::join!(waiting, releasing);
    assert_eq!(repeat.status, 201, "{repeat:?}");
    assert_eq!(repeat.data()["formation_id"], "hello");
    assert_eq!(call.send(&daemon, Some("uuid-1")).await.text, repeat.text);
}

#[tokio::test]
async fn a_streamed_deploy_is_told_again_from_its_beginning() {
    let llm = FakeLlm::start().await;
    let daemon = Daemon::builder().switched().start().await;
    daemon.runtime().hold();
    let mut call = Repeated::new(&daemon, "POST", "/rpc/formations");
    call.body = bundle("hello", &llm.base_url());
    let stream = || call.build(&daemon, Some("uuid-1")).header("accept", "text/event-stream");
    let mut first = Frames::of(stream()).await;
    let opening = first.next().await.expect("a frame");
    drop(first);
    daemon.runtime().reached().await;
    let mut second = Frames::of(stream()).await;
    assert_eq!(second.next().await.expect("a frame"), opening);
    daemon.runtime().release();
    let rest = second.rest().await;
    assert_eq!(rest.last().expect("a last frame").event, "complete", "{rest:?}");
    let third = Frames::of(stream()).await.rest().await;
    assert_eq!((&third[0], &third[1..]), (&opening, &rest[..]));
}

#[tokio::test]
async fn after_kill_9_a_repeat_follows_the_operation_that_the_first_began() {
    let llm = FakeLlm::start().await;
    let mut daemon = Daemon::builder().switched().start().await;
    daemon.deploy_formation("hello", &llm.base_url()).await;
    daemon.runtime().hold();
    for streamed in [false, true] {
        let call = Repeated::new(&daemon, "POST", "/rpc/formations/hello/restart");
        let idempotency_key = format!("uuid-{streamed}");
        let ask = |daemon: &Daemon| {
            let request = call.build(daemon, Some(&idempotency_key));
            if streamed { request.header("accept", "text/event-stream") } else { request }
        };
        daemon.runtime().hold();
        let first = ask(&daemon).send();
        let noted = "SELECT count(*) FROM calls WHERE operation IS NOT NULL AND state = 'running'";
        let is_noted = wait_until(PATIENCE, "the operation is noted", async || {
            (daemon.count(noted) == 1 + i64::from(streamed)).then_some(())
        });
        if streamed {
            // The head comes at once, and the frames until the end of the manager.
            let frames = first.await.expect("the head of an answer");
            is_noted.await;
            drop(frames);
        } else {
            // Both only wait.
            tokio::select! {
                answer = first => panic!("there is no instance yet: {answer:?}"),
                () = is_noted => {}
            }
        }
        daemon.kill9();
        daemon.runtime().release();
        daemon.start_again().await;
        if streamed {
            let mut frames = Frames::of(ask(&daemon)).await;
            let last = frames.until(|frame| frame.event != "progress").await;
            assert!(["complete", "error"].contains(&last.event.as_str()), "{last:?}");
        } else {
            let answer = Answer::of(ask(&daemon)).await;
            assert!(answer.status == 200 || answer.status >= 500, "{answer:?}");
            assert!(answer.body["success"].is_boolean(), "{answer:?}");
        }
        daemon.wait_status("hello", "running").await;
        let restarts = "SELECT count(*) FROM operations WHERE kind = 'restart'";
        assert_eq!(daemon.count(restarts), 1 + i64::from(streamed), "each was begun once");
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_with_its_manager_is_told_in_the_same_form() {
    let llm = FakeLlm::start().await;
    let mut daemon = Daemon::start().await;
    let mut draft = Repeated::new(&daemon, "POST", "/rpc/formations/hello/draft/files");
    for body in [
        json!({"action": "init", "mode": "new"}),
        json!({"action": "write", "path": "formation.afs", "content": manifest("hello", &llm.base_url())}),
    ] {
        draft.body = body.to_string().into_bytes();
        assert_eq!(draft.send(&daemon, None).await.status, 200);
    }
    let of_draft = json!({"formation_id": "hello"}).to_string().into_bytes();
    let version = |version: &str| bundle_of_version("hello", &llm.base_url(), version);
    let mut calls = Vec::new();
    for (method, path, body, status) in [
        ("POST", "/rpc/dev/run", of_draft.clone(), 200),
        ("POST", "/rpc/dev/stop", of_draft, 200),
        ("POST", "/rpc/formations/hello/deploy", version("1.0.0"), 201),
        ("PUT", "/rpc/formations/hello", version("2.0.0"), 200),
        ("POST", "/rpc/formations/hello/rollback", Vec::new(), 200),
        ("POST", "/rpc/formations/hello/restart", Vec::new(), 200),
        ("POST", "/rpc/formations/hello/stop", Vec::new(), 200),
        ("POST", "/rpc/formations/hello/start", Vec::new(), 200),
        ("DELETE", "/rpc/formations/hello", Vec::new(), 200),
        ("POST", "/rpc/formations", version("1.0.0"), 201),
    ] {
        let call = Repeated { body, ..Repeated::new(&daemon, method, path) };
        let idempotency_key = format!("uuid-{}", calls.len());
        let first = call.send(&daemon, Some(&idempotency_key)).await;
        assert_eq!(first.status, status, "{method} {path}: {first:?}");
        calls.push((call, idempotency_key, first));
    }
    let unnoted =
        "SELECT count(*) FROM calls WHERE idempotency_key IS NOT NULL AND operation IS NULL";
    wait_until(PATIENCE, "all is noted", async || (daemon.count(unnoted) == 0).then_some(())).await;
    daemon.kill9();
    // As if it had been killed between the ends of the operations and the answers.
    daemon.execute("UPDATE calls SET state = 'running', body = NULL").expect("it is changed");
    daemon.start_again().await;
    for (call, idempotency_key, first) in calls {
        let again = call.send(&daemon, Some(&idempotency_key)).await;
        let asked = (call.method, call.path);
        assert_eq!((again.status, again.text), (first.status, first.text), "{asked:?}");
    }
}

#[tokio::test]
async fn what_failed_for_now_is_done_again() {
    let llm = FakeLlm::start().await;
    let daemon = Daemon::start().await;
    let mut call = Repeated::new(&daemon, "POST", "/rpc/formations");
    call.body = bundle("hello", &llm.base_url());
    let half = call.body[..call.body.len() / 2].to_vec();
    // A body that breaks off: 408, or no answer at all.
    let broken = futures_util::stream::iter([Ok(half), Err(std::io::Error::other("cut"))]);
    let body = reqwest::Body::wrap_stream(broken.boxed());
    let first = call.build(&daemon, Some("uuid-1")).body(body).send().await;
    assert!(first.is_err());
    let answer = wait_until(PATIENCE, "the first is over", async || {
        let answer = call.send(&daemon, Some("uuid-1")).await;
        (answer.status != 408).then_some(answer)
    })
    .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let total: Value = daemon.get("/rpc/formations").await.data()["total"].clone();
    assert_eq!(total, 1);
}
