//! Web sockets through `/api/{id}/…`: bytes both ways until a side closes, and not without bounds.

use std::time::Instant;

use futures_util::{SinkExt as _, StreamExt as _};
use muxi_testkit::daemon::{Answer, Daemon, PATIENCE, signal, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::raw;

type Socket = WebSocketStream<TcpStream>;

async fn daemon(config: Value) -> Daemon {
    let daemon = Daemon::builder().fake_formation().config(config).start().await;
    daemon.deploy_formation("hello", "http://127.0.0.1:1").await;
    daemon
}

async fn open(daemon: &Daemon) -> Result<Socket, tungstenite::Error> {
    let url = format!("{}/api/hello/ws", daemon.url()).replace("http://", "ws://");
    let (socket, _) = client_async(url, raw::connect(daemon.url()).await).await?;
    Ok(socket)
}

async fn say(socket: &mut Socket, message: Message) -> Message {
    socket.send(message).await.expect("it is open");
    let answer = tokio::time::timeout(PATIENCE, socket.next()).await;
    answer.expect("an answer in time").expect("an answer").expect("an unbroken connection")
}

/// Waits for the end of a socket, however it comes.
async fn ended(socket: &mut Socket) {
    let reading = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(PATIENCE, reading).await.expect("it ends");
}

#[tokio::test]
async fn a_web_socket_works_until_a_side_closes_it() {
    let daemon = daemon(json!({})).await;
    let mut socket = open(&daemon).await.expect("an upgrade");
    for message in [
        Message::text("hello"),
        Message::text("Grüße 🦀"),
        // More than any buffer on the way.
        Message::binary(vec![7u8; 1 << 20]),
        Message::text("hello again"),
    ] {
        assert_eq!(say(&mut socket, message.clone()).await, message);
    }
    // The formation closes.
    let farewell = say(&mut socket, Message::text("bye")).await;
    assert!(farewell.is_close(), "{farewell:?}");
    ended(&mut socket).await;

    // The client closes, or just goes; the next ones do not notice.
    let mut socket = open(&daemon).await.expect("an upgrade");
    socket.close(None).await.expect("it is open");
    ended(&mut socket).await;
    drop(open(&daemon).await.expect("an upgrade"));
    let mut socket = open(&daemon).await.expect("an upgrade");
    assert_eq!(say(&mut socket, Message::text("on")).await, Message::text("on"));
}

#[tokio::test]
async fn a_formation_that_refuses_is_heard() {
    let daemon = daemon(json!({})).await;
    let ask = |protocol: &str, path: &str| {
        let head = format!(
            "GET /api/hello/{path} HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\n\
             Upgrade: {protocol}\r\nX-Muxi-Client-Key: k\r\n\r\n"
        );
        let url = daemon.url().to_owned();
        async move { raw::exchange(&url, &head).await }
    };
    let refused = ask("websocket", "ws").await;
    assert!(refused.starts_with("HTTP/1.1 426 ") && refused.ends_with("this is a WebSocket"));
    // One that does not care answers as ever; the wish reached it, and HTTP/2 is no such wish.
    for (protocol, arrives) in [("my-protocol/1", true), ("h2c", false)] {
        let answer = ask(protocol, "echo").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(answer.contains(&format!(r#"["upgrade","{protocol}"]"#)), arrives, "{answer}");
        assert_eq!(answer.contains(r#"["connection","upgrade"]"#), arrives, "{answer}");
    }
}

#[tokio::test]
async fn their_number_is_bounded_and_so_is_their_silence() {
    let bounds = json!({"proxy": {"upgrades_max": 1, "upgrade_idle_ms": 1_000}});
    let daemon = daemon(bounds).await;
    let mut first = open(&daemon).await.expect("an upgrade");
    let refused = open(&daemon).await.expect_err("one is open");
    let tungstenite::Error::Http(response) = refused else { panic!("{refused:?}") };
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    let body: Value = serde_json::from_slice(response.body().as_deref().unwrap()).unwrap();
    assert_eq!(
        (&body["error"], &body["side"]),
        (&json!("Formation unavailable"), &json!("manager"))
    );

    assert_eq!(say(&mut first, Message::text("on")).await, Message::text("on"));
    ended(&mut first).await;
    wait_until(PATIENCE, "the place of a silent one is free", async || open(&daemon).await.ok())
        .await;
}

#[tokio::test]
async fn an_open_one_counts_as_a_request_of_its_formation() {
    let daemon = daemon(json!({"proxy": {"concurrency": 1}})).await;
    let socket = open(&daemon).await.expect("an upgrade");
    let ask = async || Answer::of(daemon.unsigned("GET", "/api/hello/echo")).await.status;
    assert_eq!(ask().await, 503);
    drop(socket);
    wait_until(PATIENCE, "its place is free", async || (ask().await == 200).then_some(())).await;
}

#[tokio::test]
async fn it_ends_with_the_managers_grace() {
    let config =
        json!({"limits": {"shutdown_ms": 1_000}, "formations": {"on_manager_stop": "keep"}});
    let mut daemon = daemon(config).await;
    let mut socket = open(&daemon).await.expect("an upgrade");
    let begun = Instant::now();
    signal(daemon.pid(), Signal::TERM);
    wait_until(PATIENCE, "no newcomer is taken", async || {
        TcpStream::connect(daemon.url().trim_start_matches("http://")).await.is_err().then_some(())
    })
    .await;
    // What is open goes on within the grace.
    assert_eq!(say(&mut socket, Message::text("on")).await, Message::text("on"));
    let reading = ended(&mut socket);
    let (status, ()) = futures_util::future::join(daemon.ended(), reading).await;
    assert!(begun.elapsed().as_millis() >= 1_000 && begun.elapsed().as_secs() < 5);
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn bytes_that_came_with_the_question_are_not_lost() {
    let daemon = daemon(json!({})).await;
    let mut stream = raw::connect(daemon.url()).await;
    // A masked text frame `hi` in the same segment as the head.
    let mut sent = b"GET /api/hello/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    sent.extend_from_slice(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    stream.write_all(&sent).await.unwrap();
    let answer = raw::read_until(&mut stream, "\u{2}hi").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // The key of the standard's own example.
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
}
