//! Puts the calls of one answer together, however the provider cut them, and passes them on whole.
//!
//! Servers disagree on the pieces: some leave out the index or the id, some repeat name and id with each
//! piece, some number several whole calls alike. Where the pieces leave it open which call they belong to,
//! the names that were offered and the JSON of the arguments decide.

use std::collections::HashSet;

use serde_json::Value;

use crate::http::Fault;
use crate::{Chunk, FinishReason, LlmErrorKind, ToolCall, ToolSpec, Usage};

pub(crate) const CALLS_MAX: usize = 64;
/// Of all calls of one answer together; a file that a model writes comes as an argument.
pub(crate) const CALL_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub(crate) struct ToolCalls {
    offered: Vec<String>,
    calls: Vec<Numbered>,
    bytes: usize,
}

/// Part of a call; what it does not carry is empty.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) index: Option<u64>,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

#[derive(Debug)]
struct Numbered {
    index: Option<u64>,
    call: ToolCall,
}

// === impl ToolCalls ===

impl ToolCalls {
    pub(crate) fn of(tools: &[ToolSpec]) -> Self {
        let offered = tools.iter().map(|tool| tool.name.clone()).collect();
        Self { offered, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(crate) fn add(&mut self, piece: Piece) -> Result<(), Fault> {
        self.bytes += piece.id.len() + piece.name.len() + piece.arguments.len();
        if self.bytes > CALL_BYTES_MAX {
            let message = format!("asked for tools in more than {CALL_BYTES_MAX} bytes");
            return Err(Fault::new(LlmErrorKind::Protocol, message));
        }
        let found = self.find(&piece).filter(|at| !self.is_next(&self.calls[*at].call, &piece));
        let Some(at) = found else {
            if self.calls.len() == CALLS_MAX {
                let message = format!("asked for more than {CALLS_MAX} tools in one answer");
                return Err(Fault::new(LlmErrorKind::Protocol, message));
            }
            let Piece { index, id, name, arguments } = piece;
            self.calls.push(Numbered { index, call: ToolCall { id, name, arguments } });
            return Ok(());
        };
        let named = self.is_offered(&self.calls[at].call.name);
        let call = &mut self.calls[at].call;
        // Whose arguments have begun has its name; what comes now is repeated.
        if call.arguments.is_empty() {
            if call.name.is_empty() || call.id != piece.id {
                call.id.push_str(&piece.id);
            }
            if !named || call.name != piece.name {
                call.name.push_str(&piece.name);
            }
        }
        call.arguments.push_str(&piece.arguments);
        Ok(())
    }

    /// The last chunks of an answer: its calls, and why it ended.
    pub(crate) fn finish(
        &mut self,
        reason: Option<FinishReason>,
        usage: Option<Usage>,
    ) -> Result<Vec<Chunk>, Fault> {
        let mut calls: Vec<_> = self.calls.drain(..).map(|it| it.call).collect();
        let mut reason = reason.unwrap_or(FinishReason::Stop);
        match &reason {
            // What the limit cut is not what the model meant.
            FinishReason::Length | FinishReason::ContentFilter => calls.retain(is_whole),
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other(_) => {
                // Some servers announce a call and then send none.
                calls.retain(|call| !call.name.is_empty() || !call.arguments.is_empty());
                if !calls.is_empty() {
                    reason = FinishReason::ToolCalls;
                } else if reason == FinishReason::ToolCalls {
                    reason = FinishReason::Other("tool_calls".to_owned());
                }
            }
        }
        if calls.iter().any(|call| call.name.is_empty()) {
            let message = "asked for a tool without naming it";
            return Err(Fault::new(LlmErrorKind::Protocol, message));
        }
        let mut ids = HashSet::new();
        for call in &mut calls {
            while call.id.is_empty() || !ids.insert(call.id.clone()) {
                call.id = made_id();
            }
        }
        let calls = calls.into_iter().map(Chunk::ToolCall);
        Ok(calls.chain([Chunk::Finished { reason, usage }]).collect())
    }

    /// The call that a piece belongs to, if it is a further piece of one.
    fn find(&self, piece: &Piece) -> Option<usize> {
        let known = |it: &Numbered| match piece.index {
            Some(index) => it.index == Some(index),
            None => !piece.id.is_empty() && it.call.id == piece.id,
        };
        // Of several with one number the latest is under way.
        let last = || self.calls.len().checked_sub(1);
        self.calls
            .iter()
            .rposition(known)
            .or_else(|| if piece.index.is_none() { last() } else { None })
    }

    /// Whether the piece begins another call although nothing but its own words says so.
    fn is_next(&self, call: &ToolCall, piece: &Piece) -> bool {
        let whole =
            if call.arguments.is_empty() { self.is_offered(&call.name) } else { is_whole(call) };
        if !whole || piece.name.is_empty() {
            return false;
        }
        if !piece.id.is_empty() {
            return !call.id.is_empty() && call.id != piece.id;
        }
        let others = call.name != piece.name && self.is_offered(&piece.name);
        let again = !call.arguments.is_empty() && !piece.arguments.trim().is_empty();
        piece.index.is_none() && (others || again)
    }

    fn is_offered(&self, name: &str) -> bool {
        self.offered.iter().any(|offered| offered == name)
    }
}

/// Some servers write arguments as JSON within JSON, as the wire has it, some as plain JSON.
pub(crate) fn arguments(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

// === private helpers ===

/// As the wires of several providers demand it: of letters and digits, and short.
fn made_id() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(MADE_ID_CHARS).collect()
}

const MADE_ID_CHARS: usize = 9;

fn is_whole(call: &ToolCall) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(&call.arguments).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Index, id, name, arguments.
    type Written<'a> = (Option<u64>, &'a str, &'a str, &'a str);
    /// What it is, its pieces, and the names and arguments of the calls that come of them.
    type Case<'a> = (&'a str, &'a [Written<'a>], &'a [(&'a str, &'a str)]);

    fn offering(names: &[&str]) -> ToolCalls {
        let spec = |name: &&str| ToolSpec {
            name: (*name).to_owned(),
            description: String::new(),
            parameters: json!({"type": "object"}).into(),
        };
        ToolCalls::of(&names.iter().map(spec).collect::<Vec<_>>())
    }

    fn finish(
        calls: &mut ToolCalls,
        reason: FinishReason,
    ) -> Result<(Vec<ToolCall>, FinishReason), Fault> {
        let mut chunks = calls.finish(Some(reason), None)?;
        let Some(Chunk::Finished { reason, .. }) = chunks.pop() else { panic!("{chunks:?}") };
        let call = |chunk| {
            let Chunk::ToolCall(call) = chunk else { panic!("{chunk:?}") };
            call
        };
        Ok((chunks.into_iter().map(call).collect(), reason))
    }

    fn put_together(pieces: &[Written]) -> Vec<(String, String)> {
        let mut calls = offering(&["look", "look_up", "ping"]);
        for &(index, id, name, arguments) in pieces {
            let [id, name, arguments] = [id, name, arguments].map(str::to_owned);
            calls.add(Piece { index, id, name, arguments }).unwrap();
        }
        let (calls, _) = finish(&mut calls, FinishReason::Stop).unwrap();
        let ids: HashSet<_> = calls.iter().map(|call| &call.id).collect();
        assert!(ids.len() == calls.len() && !ids.contains(&String::new()), "{calls:?}");
        calls.into_iter().map(|call| (call.name, call.arguments)).collect()
    }

    #[test]
    fn servers_disagree_on_pieces_but_calls_come_out_whole() {
        let (a, b) = (Some(0), Some(1));
        let cases: &[Case] = &[
            ("none", &[], &[]),
            (
                "as documented",
                &[(a, "1", "look", ""), (a, "", "", "{\"a\""), (a, "", "", ":1}")],
                &[("look", "{\"a\":1}")],
            ),
            (
                "interleaved",
                &[(a, "1", "look", "{"), (b, "2", "ping", "["), (a, "", "", "}"), (b, "", "", "]")],
                &[("look", "{}"), ("ping", "[]")],
            ),
            (
                "all repeated",
                &[
                    (a, "1", "look", ""),
                    (a, "1", "look", "{"),
                    (a, "1", "look", "}"),
                    (a, "1", "look", ""),
                ],
                &[("look", "{}")],
            ),
            (
                "all repeated, no index",
                &[(None, "1", "look", "{"), (None, "1", "look", "}")],
                &[("look", "{}")],
            ),
            (
                "name repeated, no index and no id",
                &[(None, "", "look", "{"), (None, "", "look", "}")],
                &[("look", "{}")],
            ),
            (
                "a name that another begins with",
                &[(a, "1", "look", ""), (a, "", "_up", ""), (a, "", "", "{}")],
                &[("look_up", "{}")],
            ),
            (
                "id and name cut together",
                &[(a, "ca", "lo", ""), (a, "ll", "ok", "{}")],
                &[("look", "{}")],
            ),
            (
                "whole ones under one number",
                &[(a, "1", "look", "{}"), (a, "2", "ping", "{}")],
                &[("look", "{}"), ("ping", "{}")],
            ),
            (
                "whole ones without arguments",
                &[(a, "1", "ping", ""), (a, "2", "ping", "")],
                &[("ping", ""), ("ping", "")],
            ),
            (
                "whole ones without a number",
                &[(None, "1", "look", "{}"), (None, "2", "look", "{}")],
                &[("look", "{}"), ("look", "{}")],
            ),
            (
                "whole ones, names only",
                &[(None, "", "look", "{}"), (None, "", "look", "{}"), (None, "", "ping", "")],
                &[("look", "{}"), ("look", "{}"), ("ping", "")],
            ),
            (
                "a new number is a new call",
                &[(a, "", "ping", ""), (b, "", "ping", "")],
                &[("ping", ""), ("ping", "")],
            ),
            (
                "one id for two",
                &[(a, "1", "ping", ""), (b, "1", "ping", "")],
                &[("ping", ""), ("ping", "")],
            ),
            ("an empty announcement", &[(a, "1", "", "")], &[]),
            ("not offered", &[(a, "1", "fly", "{oops")], &[("fly", "{oops")]),
        ];
        for (name, pieces, expected) in cases {
            let expected: Vec<_> =
                expected.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
            assert_eq!(put_together(pieces), expected, "{name}");
        }
    }

    #[test]
    fn the_reason_tells_whether_there_are_calls() {
        let whole = ("ping", "{}");
        let cases = [
            (FinishReason::Stop, whole, 1, FinishReason::ToolCalls),
            (FinishReason::ToolCalls, whole, 1, FinishReason::ToolCalls),
            (FinishReason::Other("eos_token".into()), whole, 1, FinishReason::ToolCalls),
            (FinishReason::Length, whole, 1, FinishReason::Length),
            (FinishReason::Length, ("ping", "{\"a"), 0, FinishReason::Length),
            (FinishReason::Length, ("pi", ""), 0, FinishReason::Length),
            (FinishReason::ToolCalls, ("", ""), 0, FinishReason::Other("tool_calls".into())),
        ];
        for (told, (name, arguments), count, expected) in cases {
            let mut calls = offering(&["ping"]);
            let piece =
                Piece { name: name.into(), arguments: arguments.into(), ..Piece::default() };
            calls.add(piece).unwrap();
            let (whole, reason) = finish(&mut calls, told.clone()).unwrap();
            assert_eq!((whole.len(), reason), (count, expected), "{told:?} {name} {arguments}");
        }
    }

    #[test]
    fn too_much_and_the_nameless_are_refused() {
        let mut calls = offering(&[]);
        let call = |index| Piece { index: Some(index), name: "ping".into(), ..Piece::default() };
        for index in 0..CALLS_MAX as u64 {
            calls.add(call(index)).unwrap();
        }
        let fault = calls.add(call(u64::MAX)).unwrap_err();
        assert!(fault.message.contains("64 tools"), "{}", fault.message);

        let mut calls = offering(&[]);
        let text = |bytes: usize| Piece { arguments: "x".repeat(bytes), ..call(0) };
        calls.add(text(CALL_BYTES_MAX - 8)).unwrap();
        assert_eq!(calls.add(text(1)).unwrap_err().kind, LlmErrorKind::Protocol);

        let mut calls = offering(&[]);
        calls.add(Piece { arguments: "{}".into(), ..Piece::default() }).unwrap();
        assert!(finish(&mut calls, FinishReason::Stop).is_err());
    }
}
