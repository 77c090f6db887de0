//! Lines of bounded length out of a pipe.

use tokio::io::{AsyncRead, AsyncReadExt as _};

#[derive(Debug)]
pub(super) struct Lines<R> {
    /// Nothing once it is over.
    from: Option<R>,
    chunk: Box<[u8]>,
    /// The part of the chunk that is not yet in a line.
    unread: std::ops::Range<usize>,
    line: Vec<u8>,
    line_bytes_max: usize,
}

const CHUNK_BYTES: usize = 16 * 1024;

// === impl Lines ===

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: Option<R>, line_bytes_max: usize) -> Self {
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        Self { from, chunk, unread: 0..0, line: Vec::new(), line_bytes_max }
    }

    pub(super) const fn is_over(&self) -> bool {
        self.from.is_none()
    }

    /// The next line without its end, cut if it is too long; nothing at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let unread = &self.chunk[self.unread.clone()];
            let end = unread.iter().position(|byte| *byte == b'\n');
            let part = &unread[..end.unwrap_or(unread.len())];
            let room = self.line_bytes_max - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if let Some(end) = end {
                self.unread.start += end + 1;
                return Some(std::mem::take(&mut self.line));
            }
            self.unread = 0..0;
            let from = self.from.as_mut()?;
            // A pipe that fails is one that has ended.
            let read = from.read(&mut self.chunk).await.unwrap_or(0);
            if read == 0 {
                self.from = None;
                let last = std::mem::take(&mut self.line);
                return (!last.is_empty()).then_some(last);
            }
            self.unread = 0..read;
        }
    }
}
