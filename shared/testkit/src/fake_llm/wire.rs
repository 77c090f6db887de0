//! The two wires as their providers document them: frames of a stream, whole answers, errors.

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};

use super::script::{Reply, Tokens};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    OpenAi,
    Anthropic,
}

impl Wire {
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

    pub(super) fn opening(self, model: &str, reply: &Reply, tokens: Option<Tokens>) -> Vec<Bytes> {
        match self {
            Self::OpenAi => {
                vec![data(&completion(model, &json!({ "role": "assistant", "content": "" }), None))]
            }
            Self::Anthropic => {
                let start = event(
                    "message_start",
                    &json!({ "type": "message_start", "message": {
                        "id": "msg_fake", "type": "message", "role": "assistant", "model": model,
                        "content": [], "stop_reason": null,
                        "usage": {
                            "input_tokens": tokens.unwrap_or_default().prompt_tokens,
                            "output_tokens": 1,
                        },
                    } }),
                );
                let block = json!({ "type": "text", "text": "" });
                let text = reply.has_text_block().then(|| block_start(0, &block));
                let ping = event("ping", &json!({ "type": "ping" }));
                [start].into_iter().chain(text).chain([ping]).collect()
            }
        }
    }

    /// The calls of a reply: each begins with its name, and then come the pieces of its arguments.
    pub(super) fn calls(self, model: &str, reply: &Reply) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let blocks_before = usize::from(reply.has_text_block());
        for (place, call) in reply.tool_calls.iter().enumerate() {
            let (id, name, index) = (call.id(place), &call.name, place + blocks_before);
            let pieces = reply.split.cut(&call.arguments());
            match self {
                Self::OpenAi => {
                    let piece = |call: Value| {
                        data(&completion(model, &json!({ "tool_calls": [call] }), None))
                    };
                    frames.push(piece(json!({
                        "index": place, "id": id, "type": "function",
                        "function": { "name": name, "arguments": "" },
                    })));
                    frames.extend(pieces.iter().map(|text| {
                        piece(json!({ "index": place, "function": { "arguments": text } }))
                    }));
                }
                Self::Anthropic => {
                    let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                    let start = block_start(index, &block);
                    let before = index.checked_sub(1).map(block_stop).unwrap_or_default();
                    frames.push(Bytes::from([before, start].concat()));
                    frames.extend(pieces.iter().map(|text| {
                        event(
                            "content_block_delta",
                            &json!({ "type": "content_block_delta", "index": index,
                                "delta": { "type": "input_json_delta", "partial_json": text } }),
                        )
                    }));
                }
            }
        }
        frames
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

    pub(super) fn closing(self, model: &str, reply: &Reply, tokens: Option<Tokens>) -> Vec<Bytes> {
        let reason = self.reason(reply);
        match self {
            Self::OpenAi => {
                let last = completion(model, &json!({}), Some(reason));
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
                block_stop(reply.tool_calls.len() + usize::from(reply.has_text_block()) - 1),
                event(
                    "message_delta",
                    &json!({ "type": "message_delta",
                        "delta": { "stop_reason": reason },
                        "usage": {
                            "output_tokens": tokens.unwrap_or_default().completion_tokens,
                        } }),
                ),
                event("message_stop", &json!({ "type": "message_stop" })),
            ],
        }
    }

    /// The answer to a request that did not ask for a stream.
    pub(super) fn whole(self, model: &str, reply: &Reply, tokens: Tokens) -> Value {
        let (text, reason) = (reply.chunks().concat(), self.reason(reply));
        let calls = reply.tool_calls.iter().enumerate();
        match self {
            Self::OpenAi => {
                let calls = calls.map(|(place, call)| {
                    json!({ "id": call.id(place), "type": "function",
                        "function": { "name": call.name, "arguments": call.arguments() } })
                });
                let mut message = json!({ "role": "assistant", "content": text });
                if !reply.tool_calls.is_empty() {
                    message["tool_calls"] = calls.collect();
                }
                json!({
                    "id": "chatcmpl-fake", "object": "chat.completion", "created": 0, "model": model,
                    "choices": [{ "index": 0, "message": message, "finish_reason": reason }],
                    "usage": usage(tokens),
                })
            }
            Self::Anthropic => {
                let calls = calls.map(|(place, call)| {
                    let input: Value = serde_json::from_str(&call.arguments()).unwrap_or_default();
                    json!({ "type": "tool_use",
                        "id": call.id(place), "name": call.name, "input": input })
                });
                let text = reply.has_text_block().then(|| json!({ "type": "text", "text": text }));
                json!({
                    "id": "msg_fake", "type": "message", "role": "assistant", "model": model,
                    "content": text.into_iter().chain(calls).collect::<Value>(),
                    "stop_reason": reason,
                    "usage": {
                        "input_tokens": tokens.prompt_tokens,
                        "output_tokens": tokens.completion_tokens,
                    },
                })
            }
        }
    }

    fn reason(self, reply: &Reply) -> &str {
        reply.finish_reason.as_deref().unwrap_or(match (self, reply.tool_calls.is_empty()) {
            (Self::OpenAi, true) => "stop",
            (Self::OpenAi, false) => "tool_calls",
            (Self::Anthropic, true) => "end_turn",
            (Self::Anthropic, false) => "tool_use",
        })
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

fn block_start(index: usize, block: &Value) -> Bytes {
    let start = json!({ "type": "content_block_start", "index": index, "content_block": block });
    event("content_block_start", &start)
}

fn block_stop(index: usize) -> Bytes {
    event("content_block_stop", &json!({ "type": "content_block_stop", "index": index }))
}

fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

fn event(name: &str, value: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {value}\n\n"))
}
