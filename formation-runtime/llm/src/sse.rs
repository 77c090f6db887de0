//! Server-sent events out of a response body.
//!
//! The parser of the `eventsource-stream` crate buffers without limit, keeps bytes that are not UTF-8 for
//! ever, reads an unfinished line anew with every piece, and panics on a byte order mark. So a guard
//! stands before it: it lets through whole lines only, bounds the bytes of one event, and gives up on a
//! silent peer.

use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt, stream};

use crate::LlmErrorKind;
use crate::http::{Fault, silent};

/// Some deltas carry an image; far above any of those, and still below what hurts.
pub(crate) const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Events as they arrive. `idle` bounds each silence between bytes; comments count as life.
pub(crate) fn events<S>(bytes: S, idle: Duration) -> impl Stream<Item = Result<Event, Fault>> + Send
where
    S: Stream<Item = Result<Bytes, reqwest::Error>> + Send + 'static,
{
    let state = Some((Box::pin(bytes), Guard::default()));
    let guarded = stream::unfold(state, move |state| async move {
        let (mut bytes, mut guard) = state?;
        let item = match tokio::time::timeout(idle, bytes.next()).await {
            Err(_) => Err(silent(idle)),
            Ok(None) => return guard.finish().err().map(|fault| (Err(fault), None)),
            Ok(Some(Err(error))) => Err(broken(error)),
            Ok(Some(Ok(chunk))) => guard.pass(&chunk),
        };
        Some((item, Some((bytes, guard))))
    });
    guarded.eventsource().map(|event| {
        event.map_err(|error| match error {
            EventStreamError::Transport(fault) => fault,
            EventStreamError::Utf8(_) | EventStreamError::Parser(_) => not_an_event_stream(),
        })
    })
}

// === private helpers ===

#[derive(Debug, Default)]
struct Guard {
    /// The beginning of a line whose end has not come yet.
    unfinished: Vec<u8>,
    started: bool,
    after_cr: bool,
    line: Line,
    line_bytes: usize,
    /// Bytes of the finished lines of the event under way; comments are not kept by the parser.
    event_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Empty,
    Comment,
    Field,
}

impl Guard {
    /// The lines that this chunk completes, possibly none.
    fn pass(&mut self, chunk: &[u8]) -> Result<String, Fault> {
        self.measure(chunk)?;
        let last = chunk.iter().rposition(|byte| matches!(byte, b'\r' | b'\n'));
        let (ends, begins) = chunk.split_at(last.map_or(0, |at| at + 1));
        if ends.is_empty() {
            self.unfinished.extend_from_slice(begins);
            return Ok(String::new());
        }
        let mut bytes = std::mem::replace(&mut self.unfinished, begins.to_vec());
        bytes.extend_from_slice(ends);
        let text = String::from_utf8(bytes).map_err(|_| not_an_event_stream())?;
        if self.started {
            return Ok(text);
        }
        let text = text.trim_start_matches('\u{feff}');
        self.started = !text.is_empty();
        Ok(text.to_owned())
    }

    /// A line without an end is part of no event, but it may tell that there never were any.
    fn finish(self) -> Result<(), Fault> {
        match std::str::from_utf8(&self.unfinished) {
            Err(error) if error.error_len().is_some() => Err(not_an_event_stream()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn measure(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        for &byte in chunk {
            let ends_crlf = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            match (byte, self.line) {
                // The second half of a line end that was counted already.
                (b'\n', _) if ends_crlf => {}
                (b'\r' | b'\n', line) => {
                    self.event_bytes = match line {
                        Line::Empty => 0,
                        Line::Comment => self.event_bytes,
                        Line::Field => self.event_bytes + self.line_bytes,
                    };
                    self.line = Line::Empty;
                    self.line_bytes = 0;
                }
                (b':', Line::Empty) => self.line = Line::Comment,
                (_, Line::Empty) => self.line = Line::Field,
                (_, Line::Comment | Line::Field) => {}
            }
            self.line_bytes += 1;
            if self.event_bytes + self.line_bytes > EVENT_BYTES_MAX {
                let message = format!("sent an event of more than {EVENT_BYTES_MAX} bytes");
                return Err(Fault::new(LlmErrorKind::Protocol, message));
            }
        }
        Ok(())
    }
}

fn broken(error: reqwest::Error) -> Fault {
    Fault {
        kind: LlmErrorKind::Interrupted,
        message: "the connection broke in the middle of the answer".to_owned(),
        source: Some(error.without_url().into()),
    }
}

fn not_an_event_stream() -> Fault {
    Fault::new(LlmErrorKind::Protocol, "sent something that is not an event stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (Vec<String>, Option<LlmErrorKind>);

    /// The data of all events, and the fault that ended the stream, if any.
    fn read(chunks: Vec<Bytes>) -> Read {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let bytes = stream::iter(chunks.into_iter().map(Ok));
            let mut events = Box::pin(events(bytes, Duration::from_secs(10)));
            let mut seen = Vec::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => seen.push(event.data),
                    Err(fault) => return (seen, Some(fault.kind)),
                }
            }
            (seen, None)
        })
    }

    fn whole(bytes: &[u8]) -> Read {
        read(vec![Bytes::copy_from_slice(bytes)])
    }

    #[test]
    fn a_split_at_any_byte_changes_nothing() {
        let lines =
            ["\u{feff}: hello", "data: Grüße", "", "event: x", "data: 日本", "data: 🎌", "", ""];
        for end_of_line in ["\n", "\r\n", "\r"] {
            let text = lines.join(end_of_line) + end_of_line;
            let bytes = Bytes::from(text);
            let expected = whole(&bytes);
            assert_eq!(expected.0, ["Grüße", "日本\n🎌"], "{end_of_line:?}");
            assert_eq!(expected.1, None);
            for at in 0..=bytes.len() {
                let split = read(vec![bytes.slice(..at), bytes.slice(at..)]);
                assert_eq!(split, expected, "{end_of_line:?} split at {at}");
            }
            let single = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
            assert_eq!(read(single), expected, "{end_of_line:?} byte by byte");
        }
    }

    #[test]
    fn byte_order_marks_do_no_harm() {
        for text in ["\u{feff}", "\u{feff}\u{feff}data: x\n\n", "\u{feff}data: x\n\n"] {
            let expected = if text.len() > 3 { vec!["x"] } else { vec![] };
            assert_eq!(whole(text.as_bytes()).0, expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_end_the_stream() {
        for bytes in [&b"data: \xff\n\n"[..], b"data: a\xc3\x28\n\n", b"\x80"] {
            assert_eq!(whole(bytes), (vec![], Some(LlmErrorKind::Protocol)), "{bytes:?}");
        }
    }

    #[test]
    fn the_cap_counts_one_event_and_forgets_comments() {
        let line = |bytes: usize| format!("data:{}\n", "x".repeat(bytes - 6));
        let comment = format!(":{}\n", "c".repeat(1000));
        let events = EVENT_BYTES_MAX / 1024 + 100;
        let cases = [
            ("as large as allowed", line(EVENT_BYTES_MAX) + "\n", false),
            ("a byte more", line(EVENT_BYTES_MAX + 1) + "\n", true),
            ("in many lines", line(1024).repeat(EVENT_BYTES_MAX / 1024 + 1), true),
            ("many events", (line(1024) + "\n").repeat(events), false),
            ("many events, CRLF", (line(1024) + "\n").replace('\n', "\r\n").repeat(events), false),
            ("many comments", comment.repeat(events + events / 10), false),
        ];
        for (name, text, refused) in cases {
            let chunks = text.as_bytes().chunks(8192).map(Bytes::copy_from_slice).collect();
            let expected = refused.then_some(LlmErrorKind::Protocol);
            assert_eq!(read(chunks).1, expected, "{name}");
        }
    }
}
