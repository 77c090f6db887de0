//! A JSON body, read under bounds.

use axum::body::Body;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use muxi_contract::ErrorCode;
use muxi_contract::envelope::ValidationError;
use serde_json::{Map, Value};

use super::error::Problem;
use crate::app::Parts;

/// The object in the body. What the content type says is not asked: some callers say nothing.
pub(crate) async fn object(body: Body, app: &Parts) -> Result<Map<String, Value>, Problem> {
    let bytes = bytes(body, app).await?;
    // No body at all is a request without its fields.
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
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
pub(crate) async fn bytes(body: Body, app: &Parts) -> Result<BytesMut, Problem> {
    let limits = &app.limits;
    // A message of the length that the formation takes must fit, in the widest spelling of JSON.
    let message_bytes = app.manifest.input_limits.max_message_length * ESCAPED_BYTES_MAX;
    let bytes_max = limits.body_bytes.max(message_bytes.saturating_add(limits.body_bytes_besides));
    let reading = tokio::time::timeout(limits.body_read, read(body, bytes_max)).await;
    reading.unwrap_or_else(|_| {
        Err(Problem::new(ErrorCode::Timeout, "the body did not arrive in time"))
    })
}

async fn read(body: Body, bytes_max: usize) -> Result<BytesMut, Problem> {
    let (mut chunks, mut bytes) = (body.into_data_stream(), BytesMut::new());
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| Problem::new(ErrorCode::InvalidRequest, "the body broke off"))?;
        if bytes.len().saturating_add(chunk.len()) > bytes_max {
            muxi_service::discard(chunks).await;
            let message = format!("the body may have {bytes_max} bytes");
            return Err(Problem::new(ErrorCode::PayloadTooLarge, message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A character beyond the first plane, as two escapes such as `\ud83e\udd80`.
const ESCAPED_BYTES_MAX: usize = 12;
