//! A receiver of logs that answers as a test says, and one that never answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The head in small letters, and the body.
type Taken = (String, Vec<u8>);

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    header: String,
    body: &'static str,
}

/// Listens until it is dropped. The last of its answers is given from then on.
#[derive(Debug)]
pub(crate) struct Collector {
    port: u16,
    taken: Arc<Mutex<Vec<Taken>>>,
    ended: Arc<AtomicBool>,
}

// === impl Answer ===

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, header: String::new(), body: "" }
    }

    pub(crate) fn header(self, line: &str) -> Self {
        Self { header: format!("{line}\r\n"), ..self }
    }

    pub(crate) fn body(self, body: &'static str) -> Self {
        Self { body, ..self }
    }
}

// === impl Collector ===

impl Collector {
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        Self::serve(move |stream, count, _| {
            let answer = answers[count.min(answers.len() - 1)].clone();
            let taken = take(&stream);
            let Answer { status, header, body } = answer;
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} x\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            (&stream).write_all(head.as_bytes()).ok();
            taken
        })
    }

    /// Takes every request and says nothing.
    pub(crate) fn hanging() -> Self {
        Self::serve(|stream, _, held| {
            let taken = take(&stream);
            held.push(stream);
            taken
        })
    }

    fn serve(
        answer: impl Fn(TcpStream, usize, &mut Vec<TcpStream>) -> Option<Taken> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (taken, ended) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let (into, stop) = (Arc::clone(&taken), Arc::clone(&ended));
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let count = into.lock().unwrap().len();
                if let Some(request) = answer(stream, count, &mut held) {
                    into.lock().unwrap().push(request);
                }
            }
        });
        Self { port, taken, ended }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    pub(crate) async fn was_called(&self) {
        while self.taken.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it is over.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn take(stream: &TcpStream) -> Option<Taken> {
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
    Some((head, body))
}
