//! What is said in a recording, by the transcription route of the `OpenAI` wire.

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use serde::Deserialize;

use crate::http::{Connection, Fault};
use crate::wire::malformed;
use crate::{LlmErrorKind, Usage};

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Providers tell the format by its ending.
    pub name: String,
    /// Such as `audio/mpeg`.
    pub media_type: String,
    pub bytes: Bytes,
    /// ISO 639-1; found out where it is not known.
    pub language: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    pub text: String,
    /// Some providers count tokens, some seconds, some nothing.
    pub usage: Option<Usage>,
}

/// Longer words are no transcript.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(crate) async fn transcribe(
    connection: &Connection,
    model: &str,
    recording: &Recording,
) -> Result<Transcript, Fault> {
    let answer = connection
        .post_form("/audio/transcriptions", || form(model, recording), ANSWER_BYTES_MAX)
        .await?;
    let Answer { text, usage } = serde_json::from_slice(&answer).map_err(malformed)?;
    let usage = usage.filter(|usage| usage.input_tokens.or(usage.output_tokens).is_some());
    Ok(Transcript {
        text,
        usage: usage.map(|usage| Usage {
            prompt_tokens: usage.input_tokens.unwrap_or(0),
            completion_tokens: usage.output_tokens.unwrap_or(0),
        }),
    })
}

fn form(model: &str, recording: &Recording) -> Result<Form, Fault> {
    let part = Part::stream_with_length(recording.bytes.clone(), recording.bytes.len() as u64)
        .file_name(recording.name.clone())
        .mime_str(&recording.media_type)
        .map_err(|_| {
            let message = format!("`{}` is no media type", recording.media_type);
            Fault::new(LlmErrorKind::BadRequest, message)
        })?;
    let form = Form::new()
        .text("model", model.to_owned())
        .text("response_format", "json")
        .part("file", part);
    Ok(match &recording.language {
        Some(language) => form.text("language", language.clone()),
        None => form,
    })
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}
