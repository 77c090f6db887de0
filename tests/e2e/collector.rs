//! A collector of traces: takes OTLP over HTTP and reads as much of it as a test asks for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What a test wants to know of a span; ids in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
}

/// The head and the body of a request.
type Taken = (String, Vec<u8>);

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    port: u16,
    taken: Arc<Mutex<Vec<Taken>>>,
    ended: Arc<AtomicBool>,
}

// === impl Collector ===

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (taken, ended) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let (into, stop) = (Arc::clone(&taken), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(request) = take(stream) {
                    into.lock().expect("no panics").push(request);
                }
            }
        });
        Self { port, taken, ended }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The heads of all requests.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.taken.lock().expect("no panics").iter().map(|(head, _)| head.clone()).collect()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().expect("no panics");
        // Request → resource_spans (1) → scope_spans (2) → spans (2).
        let bodies = taken.iter().map(|(_, body)| body.as_slice());
        let resources = bodies.flat_map(|body| fields(body, 1));
        let scopes = resources.flat_map(|resource| fields(resource, 2));
        scopes.flat_map(|scope| fields(scope, 2)).map(span).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it is over.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// One request a connection, so that nothing is left open.
fn take(stream: TcpStream) -> Option<Taken> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    reader.get_mut().write_all(answer.as_bytes()).ok()?;
    assert!(head.starts_with("post /v1/traces "), "{head}");
    Some((head, body))
}

/// `trace_id` 1, `span_id` 2, `parent_span_id` 4, `name` 5.
fn span(bytes: &[u8]) -> Span {
    let field = |number| fields(bytes, number).next().unwrap_or_default();
    let hex = |number| hex::encode(field(number));
    let name = String::from_utf8(field(5).to_vec()).expect("a name is text");
    Span { name, trace: hex(1), id: hex(2), parent: hex(4) }
}

/// The values of one length-delimited field of a protobuf message.
fn fields(mut bytes: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = match key & 7 {
                0 => {
                    varint(&mut bytes);
                    continue;
                }
                1 => cut(&mut bytes, 8),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).expect("a length");
                    cut(&mut bytes, length)
                }
                5 => cut(&mut bytes, 4),
                other => panic!("wire type {other}"),
            };
            if key >> 3 == wanted && key & 7 == 2 {
                return Some(value);
            }
        }
        None
    })
}

fn cut<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (value, rest) = bytes.split_at(length);
    *bytes = rest;
    value
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = cut(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}
