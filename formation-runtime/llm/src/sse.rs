//! Server-sent events out of a response body.
//!
//! The parser of the `eventsource-stream` crate buffers without limit, keeps bytes that are not UTF-8 for
//! ever, and panics on a byte order mark. So a guard stands before it: it lets through whole
//! characters only, bounds the bytes of one event, and gives up on a silent peer.

use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt, stream};

use crate::LlmErrorKind;
use crate::http::{Fault, silent};

/// Far above any real delta, far below what hurts.
pub(crate) const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Events as they arrive. `idle` bounds each silence between bytes; comments count as life.
pub(crate) fn events<S>(bytes: S, idle: Duration) -> impl Stream<Item = Result<Event, Fault>> + Send
where
    S: Stream<Item = Result<Bytes, reqwest::Error>> + Send + 'static,
{
    let guarded = stream::unfold((Box::pin(bytes), Guard::default()), move |state| async move {
        let (mut bytes, mut guard) = state;
        let item = match tokio::time::timeout(idle, bytes.next()).await {
            Err(_) => Err(silent(idle)),
            Ok(None) => return None,
            Ok(Some(Err(error))) => Err(broken(error)),
            Ok(Some(Ok(chunk))) => guard.pass(&chunk),
        };
        Some((item, (bytes, guard)))
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
    /// The first bytes of a character whose rest has not come yet: three at most.
    partial: Vec<u8>,
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
    /// The text that this chunk completes, possibly empty.
    fn pass(&mut self, chunk: &[u8]) -> Result<String, Fault> {
        self.measure(chunk)?;
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(chunk);
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let fault = error.utf8_error();
                if fault.error_len().is_some() {
                    return Err(not_an_event_stream());
                }
                let mut bytes = error.into_bytes();
                self.partial = bytes.split_off(fault.valid_up_to());
                String::from_utf8(bytes).map_err(|_| not_an_event_stream())?
            }
        };
        if self.started {
            return Ok(text);
        }
        let text = text.trim_start_matches('\u{feff}');
        self.started = !text.is_empty();
        Ok(text.to_owned())
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
