//! Server-sent events as real clients can read them.
//!
//! Frames are pure ASCII, since one published client cuts lines at U+2028 and another breaks
//! characters that are split over two network chunks. The connection closes after the last frame,
//! since no published client stops at `done`.

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::time::{Instant, Sleep};

/// A comment that tells proxies and clients that the stream lives.
pub const KEEPALIVE: &[u8] = b": keepalive\n\n";

/// One frame: an optional `event:` line, one `data:` line of compact ASCII JSON, a blank line.
pub fn frame(event: Option<&str>, data: &impl Serialize) -> Bytes {
    frame_after(BytesMut::with_capacity(256), event, data)
}

/// The same with an `id:` line before it, with which clients come back as `Last-Event-ID`.
pub fn numbered_frame(number: impl Display, event: &str, data: &impl Serialize) -> Bytes {
    let mut buffer = BytesMut::with_capacity(512);
    buffer.put_slice(format!("id: {number}\n").as_bytes());
    frame_after(buffer, Some(event), data)
}

/// The `Last-Event-ID` of a client that comes back.
pub fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().map(str::trim).filter(|id| !id.is_empty())
}

fn frame_after(mut buffer: BytesMut, event: Option<&str>, data: &impl Serialize) -> Bytes {
    if let Some(event) = event {
        buffer.put_slice(b"event: ");
        buffer.put_slice(event.as_bytes());
        buffer.put_u8(b'\n');
    }
    buffer.put_slice(b"data: ");
    let mut writer = (&mut buffer).writer();
    let mut serializer = serde_json::Serializer::with_formatter(&mut writer, AsciiFormatter);
    data.serialize(&mut serializer).expect("our own types always serialise to memory");
    buffer.put_slice(b"\n\n");
    buffer.freeze()
}

/// Whether any Accept header asks for an event stream; clients may send several.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let values = headers.get_all(http::header::ACCEPT).iter();
    values.filter_map(|value| value.to_str().ok()).any(|text| text.contains("text/event-stream"))
}

/// The answer that carries `frames`, with a comment whenever `keepalive` passes without one.
pub fn response<S>(frames: S, keepalive: Duration) -> Response
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    let frames = KeepAlive::new(frames, keepalive).map(Ok::<_, Infallible>);
    let mut response = Body::from_stream(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Escapes everything beyond ASCII, so that no byte of a frame needs its neighbours.
struct AsciiFormatter;

struct KeepAlive<S> {
    frames: Pin<Box<S>>,
    period: Duration,
    timer: Pin<Box<Sleep>>,
}

// === impl AsciiFormatter ===

impl serde_json::ser::Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain_from = 0;
        for (at, character) in
            fragment.char_indices().filter(|(_, c)| !c.is_ascii() || *c == '\u{7f}')
        {
            writer.write_all(&fragment.as_bytes()[plain_from..at])?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain_from = at + character.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain_from..])
    }
}

// === impl KeepAlive ===

impl<S> KeepAlive<S> {
    fn new(frames: S, period: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(period));
        Self { frames: Box::pin(frames), period, timer }
    }
}

impl<S: Stream<Item = Bytes>> Stream for KeepAlive<S> {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let frame = self.frames.as_mut().poll_next(context);
        let due = frame.is_ready() || self.timer.as_mut().poll(context).is_ready();
        if due {
            let next = Instant::now() + self.period;
            self.timer.as_mut().reset(next);
        }
        match frame {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending if due => Poll::Ready(Some(Bytes::from_static(KEEPALIVE))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_are_one_line_of_ascii() {
        let data = json!({"token": "Grüße \u{2028} 🦀\n"});
        let frame = frame(Some("done"), &data);
        let text = std::str::from_utf8(&frame).unwrap();
        assert_eq!(
            text,
            "event: done\ndata: {\"token\":\"Gr\\u00fc\\u00dfe \\u2028 \\ud83e\\udd80\\n\"}\n\n"
        );
        let payload = text.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(payload).unwrap(), data);
    }

    #[test]
    fn a_number_comes_first() {
        let frame = numbered_frame(7, "ping", &json!({"a": 1}));
        assert_eq!(frame, "id: 7\nevent: ping\ndata: {\"a\":1}\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_comments() {
        let frames = futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            Bytes::from_static(b"x")
        });
        let all: Vec<_> = KeepAlive::new(frames, Duration::from_secs(1)).collect().await;
        assert_eq!(all, [KEEPALIVE, KEEPALIVE, b"x"]);
    }

    #[test]
    fn every_accept_header_counts() {
        let mut headers = HeaderMap::new();
        headers.append("accept", HeaderValue::from_static("application/json"));
        assert!(!is_asked_for(&headers));
        headers.append("accept", HeaderValue::from_static("text/event-stream"));
        assert!(is_asked_for(&headers));
    }
}
