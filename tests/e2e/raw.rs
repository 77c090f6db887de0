//! Connections whose single steps a test must see: connected, sent, answered.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use muxi_testkit::daemon::{CLIENT_KEY, PATIENCE};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A chat request that is on its way: the kernel has taken every byte of it.
pub(crate) struct SentChat {
    stream: TcpStream,
}

/// Connects to a port again and again; no attempt may be refused.
pub(crate) struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u32, ErrorKind>>,
}

/// Connects to the server of a URL.
pub(crate) async fn connect(url: &str) -> TcpStream {
    let address = url.strip_prefix("http://").expect("an address");
    TcpStream::connect(address).await.expect("it listens")
}

/// Sends these bytes on a connection of their own and reads until the other side closes it; they
/// should ask for that.
pub(crate) async fn exchange(url: &str, request: &str) -> String {
    let mut stream = connect(url).await;
    stream.write_all(request.as_bytes()).await.expect("the kernel takes it");
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    reading.expect("an answer in time").expect("an unbroken answer");
    String::from_utf8(answer).expect("UTF-8")
}

/// Reads on until this text has come, and gives everything up to there.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut taken = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&taken).contains(text) {
            let mut buffer = [0; 1_024];
            let count = stream.read(&mut buffer).await.expect("an unbroken connection");
            let so_far = String::from_utf8_lossy(&taken);
            assert!(count > 0, "the end before {text:?}: {so_far:?}");
            taken.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it comes in time");
    String::from_utf8_lossy(&taken).into_owned()
}

/// Often enough to meet every gap, and too seldom to fill the backlog of a formation that is down.
const PROBE_PAUSE: Duration = Duration::from_millis(10);

// === impl SentChat ===

impl SentChat {
    pub(crate) async fn send(port: u16, message: &str) -> Self {
        let body = json!({"message": message, "session_id": "s", "stream": false}).to_string();
        let head = format!(
            "POST /v1/chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\
             X-Muxi-Client-Key: {CLIENT_KEY}\r\nX-Muxi-User-ID: alice\r\n\r\n",
            body.len()
        );
        let mut stream =
            TcpStream::connect(("127.0.0.1", port)).await.expect("the port never refuses");
        stream.write_all((head + &body).as_bytes()).await.expect("the kernel takes it");
        Self { stream }
    }

    /// Status and body of the answer.
    pub(crate) async fn answer(mut self) -> (u16, Value) {
        let mut text = String::new();
        let reading = tokio::time::timeout(PATIENCE, self.stream.read_to_string(&mut text));
        reading.await.expect("an answer in time").expect("an unbroken answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
        (status, serde_json::from_str(body).expect("JSON"))
    }
}

// === impl Prober ===

impl Prober {
    pub(crate) fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let thread = std::thread::spawn(move || {
            let mut connected = 0;
            while !stopped.load(Ordering::Relaxed) {
                BlockingStream::connect_timeout(&address, PATIENCE).map_err(|it| it.kind())?;
                connected += 1;
                std::thread::sleep(PROBE_PAUSE);
            }
            Ok(connected)
        });
        Self { stop, thread }
    }

    /// Asserts that no attempt was refused.
    pub(crate) fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let connected = self.thread.join().expect("the prober does not panic");
        assert!(connected.is_ok_and(|count| count > 0), "the port refused: {connected:?}");
    }
}
