//! An answer on its way to the client: counted, and over only when its last byte is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::gate::{Gate, Slot};
use super::observe::Passed;
use super::upload::Meter;

/// One request that the formation works on; dropped at its end, however that comes.
pub(super) struct Flow {
    gate: Arc<Gate>,
    begun: Instant,
    upload: Arc<Meter>,
    answer: Option<Answer>,
    _active: Slot,
}

struct Answer {
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    whole: bool,
}

/// The body of an answer.
pub(super) struct Download {
    body: Incoming,
    flow: Flow,
}

// === impl Flow ===

impl Flow {
    pub(super) fn new(gate: Arc<Gate>, active: Slot, upload: Arc<Meter>, begun: Instant) -> Self {
        Self { gate, begun, upload, answer: None, _active: active }
    }

    /// From here on the request counts as answered.
    pub(super) fn answered(&mut self, status: u16) {
        self.gate.traffic.on_head(self.begun.elapsed());
        self.answer = Some(Answer { status, bytes_in: 0, bytes_out: 0, whole: false });
    }

    pub(super) fn count(&mut self, bytes_in: u64, bytes_out: u64) {
        if let Some(answer) = &mut self.answer {
            answer.bytes_in += bytes_in;
            answer.bytes_out += bytes_out;
        }
    }

    fn finish(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.whole = true;
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // Without an answer it was refused, which is counted there.
        let Some(answer) = &self.answer else { return };
        self.gate.traffic.on_end(Passed {
            status: answer.status,
            bytes_in: answer.bytes_in + self.upload.bytes(),
            bytes_out: answer.bytes_out,
            duration: self.begun.elapsed(),
            whole: answer.whole,
        });
    }
}

// === impl Download ===

impl Download {
    pub(super) fn new(body: Incoming, mut flow: Flow) -> Self {
        if body.is_end_stream() {
            flow.finish();
        }
        Self { body, flow }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.flow.count(0, bytes);
                if self.body.is_end_stream() {
                    self.flow.finish();
                }
            }
            Some(Err(_)) => {}
            None => self.flow.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
