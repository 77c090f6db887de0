//! Lines of bounded length from a stream that may never end one.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// Reads one line after another. Dropping a read loses nothing: what was read stays for the next.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    bytes_max: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// Nothing more is read after it.
    TooLong,
    /// A last line without an end is part of it.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new(), bytes_max }
    }

    pub(super) async fn next(&mut self) -> std::io::Result<Line> {
        loop {
            if self.line.len() > self.bytes_max {
                return Ok(Line::TooLong);
            }
            // Cancel-safe: nothing is consumed before the copy, and no wait lies between them.
            let read = self.reader.fill_buf().await?;
            if read.is_empty() {
                return Ok(Line::End);
            }
            let end = memchr::memchr(b'\n', read);
            let taken = end.map_or(read.len(), |at| at + 1);
            self.line.extend_from_slice(&read[..end.unwrap_or(taken)]);
            self.reader.consume(taken);
            if end.is_some() && self.line.len() <= self.bytes_max {
                if self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
                return Ok(Line::Whole(std::mem::take(&mut self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &[u8], bytes_max: usize) -> Vec<Line> {
        let mut lines = Lines::new(text, bytes_max);
        let mut all = Vec::new();
        loop {
            let line = lines.next().await.unwrap();
            let is_last = !matches!(line, Line::Whole(_));
            all.push(line);
            if is_last {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn lines_come_whole_whatever_ends_them() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(
            read(b"a\nbc\r\n\nrest", 10).await,
            [whole("a"), whole("bc"), whole(""), Line::End]
        );
        assert_eq!(read(b"12345\n123456\n", 5).await, [whole("12345"), Line::TooLong]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up_at_the_bound() {
        let endless = tokio::io::repeat(b'x');
        let mut lines = Lines::new(endless, 100_000);
        assert_eq!(lines.next().await.unwrap(), Line::TooLong);
        assert!(lines.line.capacity() < 1_000_000);
        assert_eq!(lines.next().await.unwrap(), Line::TooLong);
    }
}
