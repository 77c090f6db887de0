//! A JSON body, read under bounds.

use axum::body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use muxi_contract::ErrorCode;
use muxi_contract::envelope::ValidationError;
use serde_json::{Map, Value};

use super::error::Problem;
use crate::limits::Limits;

/// The object in the body. What the content type says is not asked: some callers say nothing.
pub(crate) async fn object(body: Body, limits: &Limits) -> Result<Map<String, Value>, Problem> {
    let reading = Limited::new(body, limits.body_bytes).collect();
    let bytes = match tokio::time::timeout(limits.body_read, reading).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body may have {} bytes", limits.body_bytes);
            return Err(Problem::new(ErrorCode::PayloadTooLarge, message));
        }
        Ok(Err(_)) => {
            return Err(Problem::new(ErrorCode::InvalidRequest, "the body broke off"));
        }
        Err(_) => {
            return Err(Problem::new(ErrorCode::Timeout, "the body did not arrive in time"));
        }
    };
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
