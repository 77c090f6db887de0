//! What passes through `/api/{id}/…` arrives as it was sent: paths, bodies, trailers, and its pace.

use std::time::Duration;

use muxi_testkit::daemon::{Answer, Daemon, PATIENCE, wait_until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::raw;

async fn daemon(config: Value) -> Daemon {
    let daemon = Daemon::builder().fake_formation().config(config).start().await;
    daemon.deploy_formation("hello", "http://127.0.0.1:1").await;
    daemon
}

/// What the formation saw of a request.
async fn seen(daemon: &Daemon, request: &str) -> Value {
    let answer = raw::exchange(daemon.url(), request).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"))
}

fn header<'a>(seen: &'a Value, name: &str) -> Option<&'a str> {
    let headers = seen["headers"].as_array().expect("a list");
    headers.iter().find(|pair| pair[0] == name).and_then(|pair| pair[1].as_str())
}

#[tokio::test]
async fn paths_arrive_as_they_were_written() {
    let daemon = daemon(json!({})).await;
    for path in [
        "/a%2Fb",
        "/a%3Fb?c=%26&d=%20",
        "/a%23b",
        "/a%25b%2525",
        "//a//b/",
        "/a/../b/./c",
        "/..%2f..%2Fetc",
        "/gr%C3%BC%C3%9Fe",
        "/%C3%28%FF",
        "/a;b=c:d@e,f+g~h!$&'()*",
        "/x?",
        "/x?a=/../?b",
    ] {
        let head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let told = seen(&daemon, &format!("GET /api/hello{path} {head}")).await;
        assert_eq!(told["uri"], path);
        let told = seen(&daemon, &format!("GET /mcp/hello{path} {head}")).await;
        assert_eq!(told["uri"], format!("/mcp{path}"));
    }
    for (path, uri) in [("/api/hello?q", "/?q"), ("/api/hello", "/"), ("/mcp/hello?q", "/mcp?q")] {
        let head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert_eq!(seen(&daemon, &format!("GET {path} {head}")).await["uri"], uri);
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let daemon = daemon(json!({})).await;
    let told = seen(
        &daemon,
        "POST /api/hello/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Check: ok\r\n\r\n",
    )
    .await;
    assert_eq!((&told["body"], &told["trailers"]), (&json!("hello"), &json!([["x-check", "ok"]])));
    let ask = |te: &str| {
        let head = "GET /api/hello/trailers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        let (url, request) = (daemon.url().to_owned(), format!("{head}{te}\r\n"));
        async move { raw::exchange(&url, &request).await.to_lowercase() }
    };
    let answer = ask("TE: trailers\r\n").await;
    assert!(answer.contains("\r\ntrailer: x-sum\r\n"), "{answer}");
    assert!(answer.ends_with("5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"), "{answer}");
    // Who does not take them is not sent any.
    assert!(ask("").await.ends_with("5\r\nhello\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn lines_arrive_one_by_one_and_a_head_keeps_its_length() {
    let daemon = daemon(json!({})).await;
    let mut stream = raw::connect(daemon.url()).await;
    let request = b"GET /api/hello/lines?gate=more HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.expect("the kernel takes it");
    let first = raw::read_until(&mut stream, "{\"line\": 1}\n").await;
    assert!(!first.contains("\"line\": 2"), "{first}");
    let opened = Answer::of(daemon.unsigned("POST", "/api/hello/gate/more")).await;
    assert_eq!(opened.status, 200);
    raw::read_until(&mut stream, "{\"line\": 2}\n").await;

    let head = "HEAD /api/hello/produced HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw::exchange(daemon.url(), head).await;
    assert!(answer.contains("content-length: 1\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn who_asks_before_sending_gets_the_formations_word() {
    let daemon = daemon(json!({})).await;
    let head = |path: &str| {
        format!(
            "POST /api/hello/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    let mut stream = raw::connect(daemon.url()).await;
    stream.write_all(head("refuse").as_bytes()).await.expect("the kernel takes it");
    let answer = raw::read_until(&mut stream, "too much").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "no leave before the refusal: {answer}");

    let mut stream = raw::connect(daemon.url()).await;
    stream.write_all(head("sink").as_bytes()).await.expect("the kernel takes it");
    let leave = raw::read_until(&mut stream, "\r\n\r\n").await;
    assert_eq!(leave, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("the kernel takes it");
    let answer = raw::read_until(&mut stream, "\r\n\r\n5").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Far more than all buffers between a client and a formation hold.
const MUCH: u64 = 64 << 20;
/// What they may hold together.
const BUFFERED_MAX: u64 = 24 << 20;

async fn produced(daemon: &Daemon) -> u64 {
    let answer = Answer::of(daemon.unsigned("GET", "/api/hello/produced")).await;
    answer.text.parse().expect("a number")
}

#[tokio::test]
async fn a_slow_client_slows_the_formation_and_fills_no_memory() {
    let daemon = daemon(json!({})).await;
    let mut stream = raw::connect(daemon.url()).await;
    let request = b"GET /api/hello/endless HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.expect("the kernel takes it");
    raw::read_until(&mut stream, "\r\n\r\n").await;
    let resting = wait_until(PATIENCE, "the formation rests", async || {
        let before = produced(&daemon).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        (before > 0 && produced(&daemon).await == before).then_some(before)
    });
    let resting = resting.await;
    assert!(resting < BUFFERED_MAX, "{resting} bytes are somewhere on the way");
    // It goes on with its reader.
    let mut taken = vec![0; 1 << 20];
    for _ in 0..MUCH >> 20 {
        stream.read_exact(&mut taken).await.expect("an unbroken answer");
    }
    assert!(produced(&daemon).await > resting);
}

#[tokio::test]
async fn a_slow_formation_slows_the_client_and_nothing_is_lost() {
    let daemon = daemon(json!({})).await;
    let mut stream = raw::connect(daemon.url()).await;
    let head = format!(
        "POST /api/hello/sink?gate=more HTTP/1.1\r\nHost: x\r\nContent-Length: {MUCH}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the kernel takes it");
    let chunk = vec![b'x'; 1 << 20];
    let (mut sent, mut at) = (0, 0);
    // One write that does not come to an end is where the way is full.
    while let Ok(count) =
        tokio::time::timeout(Duration::from_millis(500), stream.write(&chunk[at..])).await
    {
        let count = count.expect("an unbroken connection");
        sent += count as u64;
        at = (at + count) % chunk.len();
        assert!(sent < BUFFERED_MAX, "{sent} bytes are somewhere on the way");
    }
    assert!(sent > 0);
    let opened = Answer::of(daemon.unsigned("POST", "/api/hello/gate/more")).await;
    assert_eq!(opened.status, 200);
    while sent < MUCH {
        let rest = usize::try_from(MUCH - sent).expect("it fits").min(chunk.len());
        sent += stream.write(&chunk[..rest]).await.expect("an unbroken connection") as u64;
    }
    raw::read_until(&mut stream, &format!("\r\n\r\n{MUCH}")).await;
}

#[tokio::test]
async fn a_reader_that_never_reads_loses_its_place() {
    let daemon = daemon(json!({"limits": {"write_stall_ms": 300, "connections": 1}})).await;
    let mut stream = raw::connect(daemon.url()).await;
    let request = b"GET /api/hello/endless HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.expect("the kernel takes it");
    // There is one place, so this waits for it.
    daemon.wait_healthy().await;
    let mut taken = Vec::new();
    let rest = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut taken)).await;
    rest.expect("it was ended").ok();
}

#[tokio::test]
async fn only_a_trusted_proxy_says_who_the_client_is() {
    let request = "GET /api/hello/echo HTTP/1.1\r\nHost: internal\r\nConnection: close\r\n\
        X-Forwarded-For: 6.6.6.6, 2001:db8::7\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: app.example\r\nForwarded: for=6.6.6.6\r\n\r\n";
    for (trusted, address, scheme, host) in [
        (json!([]), "127.0.0.1", "http", "internal"),
        (json!(["127.0.0.0/8"]), "2001:db8::7", "https", "app.example"),
    ] {
        let daemon = daemon(json!({"server": {"trusted_proxies": trusted}})).await;
        let told = seen(&daemon, request).await;
        assert_eq!(header(&told, "x-forwarded-for"), Some(address));
        assert_eq!(header(&told, "x-forwarded-proto"), Some(scheme));
        assert_eq!(header(&told, "x-forwarded-host"), Some(host));
        assert_eq!(header(&told, "forwarded"), None);
    }
}

#[tokio::test]
async fn an_sdk_is_told_of_a_newer_version_that_the_operator_knows() {
    let daemon = daemon(json!({"sdk": {"latest": {"python": "1.20300101.0"}}})).await;
    for (sdk, told) in
        [("python/1.0", Some("1.20300101.0")), ("rust/1.0", Some("1.0")), ("nonsense", None)]
    {
        for path in ["/api/hello/echo", "/api/nobody/echo"] {
            let answer = Answer::of(daemon.unsigned("GET", path).header("X-Muxi-SDK", sdk)).await;
            let latest = answer.headers.get("x-muxi-sdk-latest");
            assert_eq!(latest.map(|it| it.to_str().unwrap()), told, "{sdk}");
        }
    }
    let answer = Answer::of(daemon.unsigned("GET", "/api/hello/echo")).await;
    assert!(!answer.headers.contains_key("x-muxi-sdk-latest"));
}
