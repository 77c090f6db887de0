//! What the formation offers as tools: one line each, and the route that does the work.
//!
//! A tool that is a route has its rules, its limits and its words, so nothing is said twice. Pure.

use axum::http::Method;
use reqwest::Url;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

/// One tool that a route does the work of.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    title: &'static str,
    description: &'static str,
    effect: Effect,
    method: Method,
    /// With arguments in braces.
    path: &'static str,
    arguments: &'static [Argument],
    is_of_user: bool,
    /// Its answer is a file and no envelope.
    pub(super) is_file: bool,
}

/// What a call does to the formation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Adds,
    Ends,
}

/// An argument of a tool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Argument {
    name: &'static str,
    kind: &'static str,
    place: Place,
    is_required: bool,
    description: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    Body,
}

/// A call of a route, in its own words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    pub(super) body: Option<Value>,
}

/// The argument by which a caller without the header names the user.
pub(super) const USER: &str = "user_id";

const USER_DESCRIPTION: &str =
    "On whose behalf. Not needed where the client sends the header X-Muxi-User-ID.";

const LIMIT: Argument = query("limit", "integer", "How many at most, the newest first.");
const SESSION: Argument = path("session_id", "The id of the conversation.");
const REQUEST: Argument = path("request_id", "The id of the request.");
const ARTIFACT: Argument = path("artifact_id", "The id of the file.");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "list_sessions",
        title: "List conversations",
        description: "The user's conversations with this formation, the newest first.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/sessions",
        arguments: &[LIMIT],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "get_session_messages",
        title: "Read a conversation",
        description: "The messages of one conversation of the user.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/sessions/{session_id}/messages",
        arguments: &[SESSION, LIMIT],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "search_memories",
        title: "Search memories",
        description: "What is remembered of the user across conversations; without a query, the newest of it.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/memories",
        arguments: &[query("query", "string", "What to look for."), LIMIT],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "create_memory",
        title: "Remember something",
        description: "Writes down something that is to be remembered of the user in all conversations.",
        effect: Effect::Adds,
        method: Method::POST,
        path: "/v1/memories",
        arguments: &[
            needed(body("content", "string", "What is to be remembered, in one sentence.")),
            body("type", "string", "What kind of thing it is, such as `fact` or `preference`."),
        ],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "list_procedures",
        title: "List procedures",
        description: "The procedures by which the formation does certain work. To have one followed, \
                      ask for that work with `chat`.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/sops",
        arguments: &[],
        is_of_user: false,
        is_file: false,
    },
    Operation {
        name: "list_triggers",
        title: "List triggers",
        description: "The names of the formation's triggers: messages that are prepared and filled with data.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/triggers",
        arguments: &[],
        is_of_user: false,
        is_file: false,
    },
    Operation {
        name: "fire_trigger",
        title: "Fire a trigger",
        description: "Fills a trigger with data and has the formation answer it. By default that happens \
                      later: ask `get_request` with the id that comes back.",
        effect: Effect::Adds,
        method: Method::POST,
        path: "/v1/triggers/{name}",
        arguments: &[
            path("name", "The trigger's name."),
            needed(body("data", "object", "What the trigger's text is filled with.")),
            body("session_id", "string", "The conversation that it belongs to; else a new one."),
            body("use_async", "boolean", "False to wait for the answer."),
        ],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "list_requests",
        title: "List requests",
        description: "The user's requests with what became of them, the newest first.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/requests",
        arguments: &[LIMIT],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "get_request",
        title: "Look at a request",
        description: "The status of one request of the user, and its answer once it has one.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/requests/{request_id}",
        arguments: &[REQUEST],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "cancel_request",
        title: "Cancel a request",
        description: "Ends the work on one request of the user.",
        effect: Effect::Ends,
        method: Method::DELETE,
        path: "/v1/requests/{request_id}",
        arguments: &[REQUEST],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "list_artifacts",
        title: "List files",
        description: "The files that were made for the user.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/artifacts",
        arguments: &[LIMIT],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "get_artifact",
        title: "Look at a file",
        description: "Name, type, size and age of one file that was made for the user.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/artifacts/{artifact_id}",
        arguments: &[ARTIFACT],
        is_of_user: true,
        is_file: false,
    },
    Operation {
        name: "get_artifact_content",
        title: "Read a file",
        description: "What is in one file that was made for the user: text as text, pictures as pictures.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/artifacts/{artifact_id}/content",
        arguments: &[
            ARTIFACT,
            query("version", "integer", "An earlier version, counted from 1; else the newest."),
        ],
        is_of_user: true,
        is_file: true,
    },
    Operation {
        name: "list_approvals",
        title: "List approvals",
        description: "What agents want to do for the user and may not without a yes. Answer with `chat`, in the \
                      conversation that waits: yes, no, or what is to be done instead.",
        effect: Effect::Reads,
        method: Method::GET,
        path: "/v1/approvals",
        arguments: &[
            query(
                "status",
                "string",
                "`open`, `approved`, `denied`, `expired` or `all`; else the open ones.",
            ),
            LIMIT,
        ],
        is_of_user: true,
        is_file: false,
    },
];

/// The tool that talks to the formation; it is no route, since it tells how far it is.
pub(super) const CHAT: &str = "chat";

// === impl Operation ===

impl Operation {
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }

    pub(super) fn tool(&self) -> Tool {
        let mut properties: Map<String, Value> = self
            .arguments
            .iter()
            .map(|it| {
                let schema = json!({"type": it.kind, "description": it.description});
                (it.name.to_owned(), schema)
            })
            .collect();
        if self.is_of_user {
            properties.insert(USER.to_owned(), user_schema());
        }
        let required = self.arguments.iter().filter(|it| it.is_required).map(|it| it.name);
        let schema = schema(&properties, &required.collect::<Vec<_>>());
        let annotations = ToolAnnotations::with_title(self.title)
            .read_only(self.effect == Effect::Reads)
            .destructive(self.effect == Effect::Ends)
            .open_world(self.name == "fire_trigger");
        Tool::new(self.name, self.description, schema)
            .with_title(self.title)
            .with_annotations(annotations)
    }

    /// The call of the route that a call of the tool is; or what is wrong with its arguments.
    pub(super) fn wanted(&self, mut given: JsonObject) -> Result<Wanted, String> {
        // Whoever calls this has read it.
        given.remove(USER);
        let missing = self
            .arguments
            .iter()
            .find(|it| it.is_required && given.get(it.name).is_none_or(Value::is_null));
        if let Some(missing) = missing {
            return Err(format!("`{}` is missing", missing.name));
        }
        let mut target = Url::parse("http://formation/").expect("a constant");
        let mut body = Map::new();
        for segment in self.path.split('/').skip(1) {
            let name = segment.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
            let text = match name.and_then(|name| given.remove(name)) {
                Some(value) => path_segment(name.unwrap_or_default(), &value)?,
                None => segment.to_owned(),
            };
            let mut segments = target.path_segments_mut().expect("it has a host");
            segments.pop_if_empty().push(&text);
        }
        for (name, value) in given {
            let known = self.arguments.iter().find(|it| it.name == name);
            let Some(argument) = known else {
                return Err(format!("`{}` does not take `{name}`", self.name));
            };
            match argument.place {
                Place::Query if value.is_null() => {}
                Place::Query => {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    target.query_pairs_mut().append_pair(&name, &text);
                }
                Place::Body | Place::Path => {
                    body.insert(name, value);
                }
            }
        }
        let has_body = self.arguments.iter().any(|it| it.place == Place::Body);
        let query = target.query().map(|it| format!("?{it}")).unwrap_or_default();
        Ok(Wanted {
            method: self.method.clone(),
            target: format!("{}{query}", target.path()),
            body: has_body.then_some(Value::Object(body)),
        })
    }
}

/// All tools, in the order in which they are listed.
pub(super) fn tools() -> Vec<Tool> {
    std::iter::once(chat_tool()).chain(OPERATIONS.iter().map(Operation::tool)).collect()
}

// === private helpers ===

fn chat_tool() -> Tool {
    let text = |description: &str| json!({"type": "string", "description": description});
    let properties = Map::from_iter([
        ("message".to_owned(), text("What to say, in the user's words.")),
        ("session_id".to_owned(), text("The conversation to go on with; else a new one begins.")),
        ("agent_id".to_owned(), text("The agent that must answer; else the formation chooses.")),
        (USER.to_owned(), user_schema()),
    ]);
    let description = "Talks to the formation: its agents answer, with their tools, memories and \
                       procedures. Give the session_id of the answer to go on. While the work is under \
                       way progress is told; cancelling the call ends the work.";
    let annotations =
        ToolAnnotations::with_title("Chat").read_only(false).destructive(true).open_world(true);
    let output = json!({
        "type": "object",
        "properties": {
            "response": {"type": "string", "description": "The answer."},
            "session_id": {"type": "string"},
            "request_id": {"type": "string"},
            "artifacts": {"type": "array", "items": {"type": "object"},
                "description": "Files that were made; read them with get_artifact_content."},
            "warnings": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["response", "session_id", "request_id"],
    });
    Tool::new(CHAT, description, schema(&properties, &["message"]))
        .with_title("Chat")
        .with_annotations(annotations)
        .with_raw_output_schema(object(output).into())
}

fn user_schema() -> Value {
    json!({"type": "string", "description": USER_DESCRIPTION})
}

fn schema(properties: &Map<String, Value>, required: &[&str]) -> JsonObject {
    object(json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    }))
}

fn object(value: Value) -> JsonObject {
    if let Value::Object(object) = value { object } else { JsonObject::new() }
}

/// A segment that a path would be read otherwise with is refused.
fn path_segment(name: &str, value: &Value) -> Result<String, String> {
    match value.as_str() {
        None => Err(format!("`{name}` must be a text")),
        Some("" | "." | "..") => Err(format!("`{name}` is no id")),
        Some(text) => Ok(text.to_owned()),
    }
}

const fn path(name: &'static str, description: &'static str) -> Argument {
    Argument { name, kind: "string", place: Place::Path, is_required: true, description }
}

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Argument {
    Argument { name, kind, place: Place::Query, is_required: false, description }
}

const fn body(name: &'static str, kind: &'static str, description: &'static str) -> Argument {
    Argument { name, kind, place: Place::Body, is_required: false, description }
}

const fn needed(argument: Argument) -> Argument {
    Argument { is_required: true, ..argument }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(tool: &str, given: Value) -> Result<(String, String, Option<Value>), String> {
        let found = Operation::find(tool).unwrap().wanted(object(given));
        found.map(|it| (it.method.to_string(), it.target, it.body))
    }

    fn check(tool: &str, given: Value, method: &str, target: &str, body: Option<Value>) {
        assert_eq!(wanted(tool, given), Ok((method.to_owned(), target.to_owned(), body)));
    }

    #[test]
    fn a_call_of_a_tool_is_the_call_of_its_route() {
        check(
            "list_sessions",
            json!({"limit": 3, "user_id": "ann"}),
            "GET",
            "/v1/sessions?limit=3",
            None,
        );
        check("list_sessions", json!({"limit": null}), "GET", "/v1/sessions", None);
        let (path, data) = ("/v1/triggers/say", json!({"data": {"a": 1}}));
        check("fire_trigger", json!({"name": "say", "data": {"a": 1}}), "POST", path, Some(data));
        // What stands in an argument never becomes another part of the path.
        let path = "/v1/sessions/a%2F..%2Fb%3Fc%23d/messages";
        check("get_session_messages", json!({"session_id": "a/../b?c#d"}), "GET", path, None);
        let target = "/v1/memories?query=a%26limit%3D1+%C3%BC";
        check("search_memories", json!({"query": "a&limit=1 ü"}), "GET", target, None);
    }

    #[test]
    fn arguments_that_are_wrong_are_named() {
        assert_eq!(wanted("get_request", json!({})).unwrap_err(), "`request_id` is missing");
        assert_eq!(
            wanted("get_request", json!({"request_id": ".."})).unwrap_err(),
            "`request_id` is no id"
        );
        assert_eq!(
            wanted("get_request", json!({"request_id": 7})).unwrap_err(),
            "`request_id` must be a text"
        );
        assert_eq!(
            wanted("list_requests", json!({"limits": 1})).unwrap_err(),
            "`list_requests` does not take `limits`"
        );
    }

    #[test]
    fn every_argument_of_a_path_is_declared() {
        for operation in OPERATIONS {
            let braces = operation.path.split(['{', '}']).skip(1).step_by(2);
            let declared = operation.arguments.iter().filter(|it| it.place == Place::Path);
            assert_eq!(braces.collect::<Vec<_>>(), declared.map(|it| it.name).collect::<Vec<_>>());
        }
    }
}
