//! The two wires as their providers document them: frames of a stream, whole answers, errors.

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};

use super::script::Tokens;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    OpenAi,
    Anthropic,
}

impl Wire {
    /// Why the real provider would refuse this request, if it would.
    pub(super) fn objection(self, headers: &HeaderMap, body: &Value) -> Option<String> {
        if !body["model"].is_string() {
            return Some("model: a string is required".to_owned());
        }
        let Some(messages) = body["messages"].as_array().filter(|list| !list.is_empty()) else {
            return Some("messages: at least one message is required".to_owned());
        };
        let roles: &[&str] = match self {
            Self::OpenAi => &["system", "developer", "user", "assistant", "tool"],
            Self::Anthropic => &["user", "assistant"],
        };
        for (index, message) in messages.iter().enumerate() {
            let role = message["role"].as_str().unwrap_or_default();
            if !roles.contains(&role) {
                return Some(format!("messages.{index}.role: `{role}` is not one of {roles:?}"));
            }
            if message["content"].is_null() {
                return Some(format!("messages.{index}.content: required"));
            }
        }
        if self == Self::Anthropic {
            if !body["max_tokens"].is_u64() {
                return Some("max_tokens: required".to_owned());
            }
            if !headers.contains_key("anthropic-version") {
                return Some("anthropic-version: header is required".to_owned());
            }
            if body["temperature"].as_f64().is_some_and(|it| !(0.0..=1.0).contains(&it)) {
                return Some("temperature: range 0 to 1".to_owned());
            }
        }
        None
    }

    pub(super) fn key(self, headers: &HeaderMap) -> Option<&str> {
        match self {
            Self::OpenAi => headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer "),
            Self::Anthropic => headers.get("x-api-key")?.to_str().ok(),
        }
    }

    pub(super) fn error(self, status: u16, message: &str) -> Value {
        let kind = match status {
            401 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        };
        match self {
            Self::OpenAi => json!({ "error": { "message": message, "type": kind } }),
            Self::Anthropic => {
                json!({ "type": "error", "error": { "type": kind, "message": message } })
            }
        }
    }

    pub(super) fn error_event(self, error: &Value) -> Bytes {
        match self {
            Self::OpenAi => data(error),
            Self::Anthropic => event("error", error),
        }
    }

    pub(super) fn opening(self, model: &str, tokens: Option<Tokens>) -> Vec<Bytes> {
        match self {
            Self::OpenAi => {
                vec![data(&completion(model, &json!({ "role": "assistant", "content": "" }), None))]
            }
            Self::Anthropic => vec![
                event(
                    "message_start",
                    &json!({ "type": "message_start", "message": {
                        "id": "msg_fake", "type": "message", "role": "assistant", "model": model,
                        "content": [], "stop_reason": null,
                        "usage": {
                            "input_tokens": tokens.unwrap_or_default().prompt_tokens,
                            "output_tokens": 1,
                        },
                    } }),
                ),
                event(
                    "content_block_start",
                    &json!({ "type": "content_block_start", "index": 0,
                        "content_block": { "type": "text", "text": "" } }),
                ),
                event("ping", &json!({ "type": "ping" })),
            ],
        }
    }

    pub(super) fn chunk(self, model: &str, text: &str) -> Bytes {
        match self {
            Self::OpenAi => data(&completion(model, &json!({ "content": text }), None)),
            Self::Anthropic => event(
                "content_block_delta",
                &json!({ "type": "content_block_delta", "index": 0,
                    "delta": { "type": "text_delta", "text": text } }),
            ),
        }
    }

    pub(super) fn thought(self, model: &str, text: &str) -> Bytes {
        match self {
            Self::OpenAi => data(&completion(model, &json!({ "reasoning_content": text }), None)),
            Self::Anthropic => event(
                "content_block_delta",
                &json!({ "type": "content_block_delta", "index": 0,
                    "delta": { "type": "thinking_delta", "thinking": text } }),
            ),
        }
    }

    pub(super) fn closing(
        self,
        model: &str,
        reason: Option<&str>,
        tokens: Option<Tokens>,
    ) -> Vec<Bytes> {
        match self {
            Self::OpenAi => {
                let last = completion(model, &json!({}), Some(reason.unwrap_or("stop")));
                let mut frames = vec![data(&last)];
                if let Some(tokens) = tokens {
                    let mut frame = completion(model, &json!({}), None);
                    frame["choices"] = json!([]);
                    frame["usage"] = usage(tokens);
                    frames.push(data(&frame));
                }
                frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
                frames
            }
            Self::Anthropic => vec![
                event("content_block_stop", &json!({ "type": "content_block_stop", "index": 0 })),
                event(
                    "message_delta",
                    &json!({ "type": "message_delta",
                        "delta": { "stop_reason": reason.unwrap_or("end_turn") },
                        "usage": {
                            "output_tokens": tokens.unwrap_or_default().completion_tokens,
                        } }),
                ),
                event("message_stop", &json!({ "type": "message_stop" })),
            ],
        }
    }

    /// The answer to a request that did not ask for a stream.
    pub(super) fn whole(
        self,
        model: &str,
        text: &str,
        reason: Option<&str>,
        tokens: Tokens,
    ) -> Value {
        match self {
            Self::OpenAi => json!({
                "id": "chatcmpl-fake", "object": "chat.completion", "created": 0, "model": model,
                "choices": [{
                    "index": 0,
                    "message": { "role": "assistant", "content": text },
                    "finish_reason": reason.unwrap_or("stop"),
                }],
                "usage": usage(tokens),
            }),
            Self::Anthropic => json!({
                "id": "msg_fake", "type": "message", "role": "assistant", "model": model,
                "content": [{ "type": "text", "text": text }],
                "stop_reason": reason.unwrap_or("end_turn"),
                "usage": {
                    "input_tokens": tokens.prompt_tokens,
                    "output_tokens": tokens.completion_tokens,
                },
            }),
        }
    }

    /// Whether the client asked for counts at the end of its stream.
    pub(super) fn counts(self, body: &Value) -> bool {
        match self {
            Self::OpenAi => body["stream_options"]["include_usage"] == true,
            Self::Anthropic => true,
        }
    }
}

fn completion(model: &str, delta: &Value, reason: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 0, "model": model,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }],
    })
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.prompt_tokens,
        "completion_tokens": tokens.completion_tokens,
        "total_tokens": tokens.prompt_tokens + tokens.completion_tokens,
    })
}

fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

fn event(name: &str, value: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {value}\n\n"))
}
