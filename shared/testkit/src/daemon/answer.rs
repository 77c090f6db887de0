//! What came back: a whole answer, or the frames of a stream as they come.

use std::collections::VecDeque;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde_json::Value;

use super::PATIENCE;

/// A whole answer; `body` is null if it was no JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
    pub body: Value,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub event: String,
    /// Empty if it has none.
    pub id: String,
    pub data: Value,
}

/// The events of a stream, one by one, comments left out.
pub struct Frames {
    pub status: u16,
    pub headers: http::HeaderMap,
    body: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: String,
    ready: VecDeque<Frame>,
}

// === impl Answer ===

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::of_response(request.send().await.expect("an answer")).await
    }

    pub async fn of_response(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a whole body");
        let body = serde_json::from_str(&text).unwrap_or_default();
        Self { status, headers, text, body }
    }

    /// The answer if it was a success.
    #[track_caller]
    pub fn data(&self) -> &Value {
        assert!(self.status < 300, "{self:?}");
        &self.body["data"]
    }
}

// === impl Frames ===

impl Frames {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::of_response(request.send().await.expect("the head of an answer"))
    }

    pub fn of_response(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes_stream().boxed(),
            buffer: String::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next frame; `None` at the end of the stream, an error when it broke off.
    pub async fn try_next(&mut self) -> Result<Option<Frame>, reqwest::Error> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await;
            let Some(chunk) = chunk.expect("the stream neither went on nor ended") else {
                assert!(self.buffer.is_empty(), "half a frame at the end: {}", self.buffer);
                return Ok(None);
            };
            self.buffer.push_str(std::str::from_utf8(&chunk?).expect("frames are ASCII"));
            while let Some(end) = self.buffer.find("\n\n") {
                self.ready.extend(parse(&self.buffer[..end]));
                self.buffer.drain(..end + 2);
            }
        }
    }

    pub async fn next(&mut self) -> Option<Frame> {
        self.try_next().await.expect("an unbroken stream")
    }

    /// Reads on to the first frame that fits.
    pub async fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().await.expect("a frame that fits before the end");
            if fits(&frame) {
                return frame;
            }
        }
    }

    /// Reads on to the progress of this stage.
    pub async fn until_stage(&mut self, stage: &str) -> Frame {
        self.until(|frame| frame.data["stage"] == stage).await
    }

    pub async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("status", &self.status).finish_non_exhaustive()
    }
}

fn parse(frame: &str) -> Option<Frame> {
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
    let data = serde_json::from_str(field("data: ")?).expect("frames carry JSON");
    let event = field("event: ").unwrap_or("message").to_owned();
    Some(Frame { event, id: field("id: ").unwrap_or_default().to_owned(), data })
}
