//! A JSON body, read under bounds.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use muxi_contract::ErrorCode;
use muxi_contract::envelope::ValidationError;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::error::Problem;
use crate::app::Parts;

/// How much a body may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// A message of the length that the formation takes, in the widest spelling of JSON.
    Message,
    /// The same with files, as base64.
    Files,
}

/// The right to hold what came in a body that is longer than any message.
pub(crate) type Hold = Option<OwnedSemaphorePermit>;

/// The object in the body. What the content type says is not asked: some callers say nothing.
pub(crate) async fn object(body: Body, app: &Parts) -> Result<Map<String, Value>, Problem> {
    object_of(body, Room::Message, app).await.map(|(fields, _)| fields)
}

pub(crate) async fn object_of(
    body: Body,
    room: Room,
    app: &Parts,
) -> Result<(Map<String, Value>, Hold), Problem> {
    let (bytes, hold) = bytes(body, room, app).await?;
    // No body at all is a request without its fields.
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok((Map::new(), hold));
    }
    match aside(bytes.len(), || serde_json::from_slice(&bytes)) {
        Ok(Value::Object(fields)) => Ok((fields, hold)),
        Ok(_) => Err(Problem::invalid(&[ValidationError {
            field: String::new(),
            message: "the body must be an object".to_owned(),
            kind: "wrong_type".to_owned(),
        }])),
        Err(error) => {
            let message = format!("the body is not JSON: {error}");
            Err(Problem::new(ErrorCode::ParseError, message))
        }
    }
}

/// The whole body.
pub(crate) async fn bytes(
    body: Body,
    room: Room,
    app: &Parts,
) -> Result<(BytesMut, Hold), Problem> {
    let (limits, inputs) = (&app.limits, &app.manifest.input_limits);
    let message_bytes = inputs.max_message_length * ESCAPED_BYTES_MAX;
    let message_max =
        limits.body_bytes.max(message_bytes.saturating_add(limits.body_bytes_besides));
    let bytes_max = match room {
        Room::Message => message_max,
        Room::Files => {
            let files = inputs.max_file_size_bytes.saturating_add(limits.body_bytes_besides);
            message_max.saturating_add(files.div_ceil(3).saturating_mul(4))
        }
    };
    let (mut chunks, mut bytes) = (body.into_data_stream(), BytesMut::new());
    let began = Instant::now();
    let mut large = None;
    loop {
        // What is long may take long, as long as it keeps coming.
        let usual = bytes.len() as u64 / limits.body_bytes_per_second;
        let deadline = began + limits.body_read + Duration::from_secs(usual);
        let late = |_| Problem::new(ErrorCode::Timeout, "the body did not arrive in time");
        let Some(chunk) = timeout_at(deadline, chunks.next()).await.map_err(late)? else {
            return Ok((bytes, large));
        };
        let chunk =
            chunk.map_err(|_| Problem::new(ErrorCode::InvalidRequest, "the body broke off"))?;
        let length = bytes.len().saturating_add(chunk.len());
        if length > bytes_max {
            let message = format!("the body may have {bytes_max} bytes");
            // What is sent in vain is read to its end only for as long as any body may take.
            let _in_vain = timeout_at(deadline, muxi_service::discard(chunks)).await;
            return Err(Problem::new(ErrorCode::PayloadTooLarge, message));
        }
        if length > message_max && large.is_none() {
            let full = |_| Problem::busy("too many large bodies arrive at the same time");
            large = Some(Arc::clone(&app.large_bodies).try_acquire_owned().map_err(full)?);
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// Does what takes a while with so many bytes, and lets others have the thread's other work meanwhile.
pub(crate) fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    const AT_ONCE_BYTES_MAX: usize = 1024 * 1024;
    if bytes > AT_ONCE_BYTES_MAX { tokio::task::block_in_place(work) } else { work() }
}

/// A character beyond the first plane, as two escapes such as `\ud83e\udd80`.
const ESCAPED_BYTES_MAX: usize = 12;
