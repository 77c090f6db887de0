//! Data as text that programs read.

use serde_json::Value;

use crate::error::RenderError;
use crate::limits::{LIMITS, most};

pub(crate) fn json(value: &Value) -> Result<Vec<u8>, RenderError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(unwritable)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// One line for each entry of a list.
pub(crate) fn json_lines(value: &Value) -> Result<Vec<u8>, RenderError> {
    let Value::Array(entries) = value else {
        return Err(RenderError::argument("data", "JSON Lines are made of a list"));
    };
    most("the number of lines", entries.len(), LIMITS.rows)?;
    let mut bytes = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut bytes, entry).map_err(unwritable)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

pub(crate) fn yaml(value: &Value) -> Result<Vec<u8>, RenderError> {
    serde_yaml::to_string(value).map(String::into_bytes).map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> RenderError {
    RenderError::argument("data", error.to_string())
}
