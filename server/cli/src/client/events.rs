//! A stream of server-sent events, read as it comes.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;

use eventsource_stream::{Event, Eventsource as _};
use futures_util::{Stream, StreamExt as _};
use reqwest::{Response, Url};
use serde_json::Value;

use super::unreachable;
use crate::exit::Exit;
use crate::fault::Fault;

/// Answers come whole in their last frame.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Frames of one answer.
pub(crate) struct Events {
    frames: Pin<Box<dyn Stream<Item = Result<Event, Fault>>>>,
    /// Bytes since the last frame: the parser itself would keep any number of them.
    pending_bytes: Rc<Cell<usize>>,
}

/// One frame: its name, `message` when it has none, and its document.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) name: String,
    pub(crate) data: Value,
}

// === impl Events ===

impl Events {
    pub(crate) fn of(url: Url, response: Response) -> Self {
        let pending_bytes = Rc::new(Cell::new(0));
        let counted = Rc::clone(&pending_bytes);
        let chunks = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(|error| unreachable(&url, &error))?;
            counted.set(counted.get() + chunk.len());
            if counted.get() > EVENT_BYTES_MAX {
                return Err(broken("it sent a frame that is too large"));
            }
            Ok(chunk)
        });
        let frames = chunks.eventsource().map(|event| {
            event.map_err(|error| match error {
                eventsource_stream::EventStreamError::Transport(fault) => fault,
                eventsource_stream::EventStreamError::Utf8(_)
                | eventsource_stream::EventStreamError::Parser(_) => {
                    broken("it sent no server-sent events")
                }
            })
        });
        Self { frames: Box::pin(frames), pending_bytes }
    }

    /// Nothing when the stream has ended. Cancel-safe: a frame that came is kept.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, Fault> {
        let Some(event) = self.frames.next().await.transpose()? else { return Ok(None) };
        self.pending_bytes.set(0);
        let data = serde_json::from_str(&event.data).unwrap_or(Value::String(event.data));
        let name = if event.event.is_empty() { "message".to_owned() } else { event.event };
        Ok(Some(Frame { name, data }))
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

fn broken(why: &str) -> Fault {
    Fault::new(Exit::Unreachable, "BrokenStream", format!("the stream cannot be read: {why}"))
}
