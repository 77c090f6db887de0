//! The document of the API: what no type can say is said here, one function an operation.
//!
//! `cargo xtask openapi` writes it to `formation-runtime/openapi.json`.

#[expect(dead_code, reason = "only their attributes count")]
mod a2a;
#[expect(dead_code, reason = "only their attributes count")]
mod approvals;
#[expect(dead_code, reason = "only their attributes count")]
mod artifacts;
#[expect(dead_code, reason = "only their attributes count")]
mod audit;
#[expect(dead_code, reason = "only their attributes count")]
mod background_jobs;
#[expect(dead_code, reason = "only their attributes count")]
mod buffers;
#[expect(dead_code, reason = "only their attributes count")]
mod chat;
#[expect(dead_code, reason = "only their attributes count")]
mod config;
#[expect(dead_code, reason = "only their attributes count")]
mod credentials;
#[expect(dead_code, reason = "only their attributes count")]
mod events;
#[expect(dead_code, reason = "only their attributes count")]
mod forget;
#[expect(dead_code, reason = "only their attributes count")]
mod grants;
#[expect(dead_code, reason = "only their attributes count")]
mod health;
#[expect(dead_code, reason = "only their attributes count")]
mod mcp;
#[expect(dead_code, reason = "only their attributes count")]
mod memories;
#[expect(dead_code, reason = "only their attributes count")]
mod parameters;
#[expect(dead_code, reason = "only their attributes count")]
mod procedures;
#[expect(dead_code, reason = "only their attributes count")]
mod requests;
#[expect(dead_code, reason = "only their attributes count")]
mod scheduler;
#[expect(dead_code, reason = "only their attributes count")]
mod secrets;
#[expect(dead_code, reason = "only their attributes count")]
mod sessions;
#[expect(dead_code, reason = "only their attributes count")]
mod triggers;
#[expect(dead_code, reason = "only their attributes count")]
mod usage;
#[expect(dead_code, reason = "only their attributes count")]
mod users;

use std::collections::{BTreeMap, BTreeSet};

use muxi_contract::ErrorCode;
use muxi_contract::envelope::{Failure, ValidationError};
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::http::audit::Resource;
use crate::http::unbuilt;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "MUXI formation",
        description = include_str!("document/introduction.md"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers(
        (url = "http://localhost:8000", description = "A formation's own port"),
        (url = "http://localhost:7890/api/hello", description = "The same through the manager"),
    ),
    tags(
        (name = "formation", description = "Whether it serves, and how it is set up"),
        (name = "chat", description = "What is said, and what is answered"),
        (name = "sessions", description = "What was said"),
        (name = "requests", description = "What became of messages"),
        (name = "mcp", description = "Grants of users at servers of tools, and the formation as one"),
        (name = "approvals", description = "What agents may only do when their user agrees"),
        (name = "jobs", description = "What agents have begun and others work on"),
        (name = "buffers", description = "The memory of conversations"),
        (name = "artifacts", description = "Files that were made for a user"),
        (name = "events", description = "What happens, as it happens"),
        (name = "usage", description = "What model calls used and cost"),
        (name = "credentials", description = "What users gave to be used for them"),
        (name = "memories", description = "What is remembered beyond what was said"),
        (name = "users", description = "Who is who"),
        (name = "triggers", description = "Data of other systems that is answered"),
        (name = "scheduler", description = "What is asked at times that were set before"),
        (name = "agents", description = "Who answers, and by what procedures and skills"),
        (name = "secrets", description = "Keys for what the formation calls"),
        (name = "config", description = "The manifest, as its author wrote it"),
        (name = "audit", description = "What operators did"),
        (name = "unbuilt", description = "What is documented for MUXI and not built in this version"),
    ),
    components(schemas(Failure, ValidationError, Resource)),
    paths(
        health::health,
        health::root_health,
        health::page,
        health::api_page,
        health::openapi,
        health::docs,
        chat::chat,
        chat::audio_chat,
        mcp::mcp,
        mcp::mcp_messages,
        mcp::end_mcp_session,
        a2a::card,
        a2a::older_card,
        a2a::call,
        sessions::list,
        sessions::one,
        sessions::delete,
        sessions::messages,
        sessions::restore,
        requests::list,
        requests::one,
        requests::cancel,
        requests::explanation,
        approvals::list,
        approvals::get,
        approvals::decide,
        grants::begin,
        grants::finish,
        background_jobs::list,
        background_jobs::get,
        background_jobs::cancel,
        background_jobs::log,
        buffers::get,
        buffers::clear,
        buffers::clear_session,
        buffers::list,
        buffers::clear_all,
        buffers::stats,
        artifacts::list,
        artifacts::one,
        artifacts::versions,
        artifacts::content,
        artifacts::delete,
        events::all,
        events::of_session,
        events::of_request,
        events::logs,
        usage::get,
        credentials::services,
        credentials::list,
        credentials::create,
        credentials::get,
        credentials::delete,
        memories::list,
        memories::create,
        memories::batch,
        memories::ingestion,
        memories::provenance,
        memories::delete,
        forget::forget,
        forget::job,
        memories::history,
        users::resolve,
        users::get,
        users::link,
        users::list,
        users::unlink,
        triggers::list,
        triggers::get,
        triggers::fire,
        scheduler::settings,
        scheduler::list,
        scheduler::create,
        scheduler::get,
        scheduler::update,
        scheduler::delete,
        scheduler::pause,
        scheduler::resume,
        config::status,
        config::agents,
        config::agent,
        procedures::skills_of_agent,
        procedures::sops,
        procedures::sop,
        procedures::skills,
        procedures::skill,
        config::formation,
        config::config,
        config::overlord,
        config::soul,
        config::llm_settings,
        config::asynchronous,
        config::a2a,
        config::logging,
        config::logging_destinations,
        config::memory,
        config::mcp,
        config::mcp_servers,
        config::mcp_server,
        config::mcp_tools,
        secrets::list,
        secrets::create,
        secrets::reload,
        secrets::get,
        secrets::replace,
        secrets::delete,
        audit::list,
        audit::clear,
    )
)]
struct Described;

/// What every call with a key may be answered with; further ones by what it is.
const WITH_KEY: [u16; 4] = [400, 401, 500, 503];
const WITH_QUERY: [u16; 1] = [422];
const OF_ONE: [u16; 1] = [404];
const WITH_BODY: [u16; 3] = [408, 413, 422];
/// The first is not finished, or had another body.
const REPEATABLE: [u16; 1] = [409];
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
/// Where an operation says what its answers are called; by status, if they are not all called the
/// same, and as a list, if one may be called otherwise.
const ANSWER: &str = "x-answer";
/// Fields of which at least one has to be given.
const EITHER: [(&str, [&str; 2]); 2] =
    [("NewMemory", ["content", "detail"]), ("Forget", ["user_id", "source"])];
/// Fields that are given with another one only.
const TOGETHER: [(&str, &str, &str); 1] = [("NewMemory", "source_id", "source")];

/// The whole document, as it is served.
fn text() -> String {
    let mut document = serde_json::to_value(Described::openapi()).expect("plain data");
    complete(&mut document);
    let mut text = serde_json::to_string_pretty(&document).expect("plain data");
    text.push('\n');
    text
}

/// Adds what is the same everywhere: the keys, their failures, and those of the kind of call.
fn complete(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({
        "client": key("X-Muxi-Client-Key", include_str!("document/client_key.md")),
        "admin": key("X-Muxi-Admin-Key", include_str!("document/admin_key.md")),
    });
    let codes = codes(document);
    let responses: BTreeMap<String, Value> =
        codes.iter().map(|(status, names)| (reference(*status), failure(*status, names))).collect();
    document["components"]["responses"] = json!(responses);
    relate_fields(&mut document["components"]["schemas"]);
    name_unbuilt(document);
    for (path, item) in document["paths"].as_object_mut().expect("paths") {
        for method in METHODS {
            let Some(operation) = item.get_mut(method) else { continue };
            tidy(operation);
            describe_stream(operation);
            name_answers(operation);
            if operation.get("security").is_some() {
                answer(operation, &statuses(path, operation));
            }
        }
    }
}

fn key(header: &str, description: &str) -> Value {
    json!({ "type": "apiKey", "in": "header", "name": header, "description": description })
}

/// What is documented for MUXI and not built here, so that nobody looks for it in vain.
fn name_unbuilt(document: &mut Value) {
    for (methods, path) in unbuilt::UNBUILT {
        for method in *methods {
            let method = method.as_str().to_lowercase();
            let words = path.split(['/', '{', '}']).filter(|it| !it.is_empty() && *it != "v1");
            let id = format!("unbuilt_{method}_{}", words.collect::<Vec<_>>().join("_"));
            let variables = path.split('/').filter_map(|part| {
                let name = part.strip_prefix('{')?.strip_suffix('}')?;
                let schema = json!({ "type": "string" });
                Some(json!({ "name": name, "in": "path", "required": true, "schema": schema }))
            });
            document["paths"][path][method.as_str()] = json!({
                "parameters": variables.collect::<Vec<_>>(),
                "operationId": if path.ends_with('/') { format!("{id}_root") } else { id },
                "summary": "Not built in this version",
                "tags": ["unbuilt"],
                "responses": {
                    "501": { "$ref": format!("#/components/responses/{}", reference(501)) },
                },
            });
        }
    }
}

/// Which failures a call may be answered with, besides those that it names itself.
fn statuses(path: &str, operation: &Value) -> BTreeSet<u16> {
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    let has = |key: &str, value: &str| parameters.iter().any(|it| it[key] == value);
    let mut found = BTreeSet::from(WITH_KEY);
    if has("in", "query") {
        found.extend(WITH_QUERY);
    }
    if path.contains('{') {
        found.extend(OF_ONE);
    }
    if operation.get("requestBody").is_some() {
        found.extend(WITH_BODY);
    }
    if has("name", "X-Muxi-Idempotency-Key") {
        found.extend(REPEATABLE);
    }
    found
}

/// What the generator has no words for.
fn tidy(operation: &mut Value) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        // An optional parameter is left out; it is never null.
        let schema = &mut parameter["schema"];
        if let Some(only) = schema["type"].as_array().and_then(|it| it.first()).cloned() {
            schema["type"] = only;
        }
        let inner =
            schema["oneOf"].as_array().and_then(|it| it.iter().find(|it| it.get("$ref").is_some()));
        if let Some(inner) = inner.cloned() {
            *schema = inner;
        }
    }
}

/// What streams carry, by their operation: the names of their frames, words, an example.
const STREAMS: &[(&str, &[&str], &str, &str)] = &[
    (
        "chat",
        &["message", "done", "error"],
        "With `events`: `{token: {type, content, stage, …}}` for each, `type` being `progress`, `thinking`, \
         `content`, `completed`, `cancelled` or `failed`. With `tokens`: `{token: text}`. Then `done`, or after \
         a failure `error` (`{error, type, code, message}`).",
        "data: {\"token\":\"Hello\"}\n\nevent: done\ndata: {\"finished\":true}\n\n",
    ),
    (
        "audio_chat",
        &["message", "done", "error"],
        "As those of a message.",
        "data: {\"token\":\"Hello\"}\n\nevent: done\ndata: {\"finished\":true}\n\n",
    ),
    (
        "call_agent",
        &["message"],
        "Answers of JSON-RPC: the task, pieces of its answer, and its last status.",
        "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"statusUpdate\":{…}}}\n\n",
    ),
    (
        "mcp",
        &["message"],
        "JSON-RPC messages: notifications of progress, then the answer.",
        "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{…}}\n\n",
    ),
    (
        "mcp_messages",
        &["message"],
        "JSON-RPC messages: the formation's own notifications.",
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n",
    ),
    (
        "stream_events",
        &["message", "gap", "error"],
        "`message` for each event: `{type, timestamp, message, session_id, request_id, user_id, agent_id, \
         data}`. `gap` where some are no longer kept, `error` for a reader that was too slow.",
        "id: 7\ndata: {\"type\":\"chat.completed\",\"timestamp\":1769860800.5,\"session_id\":\"s\",…}\n\n",
    ),
    (
        "stream_session_events",
        &["message", "gap", "error"],
        "As those of all sessions.",
        "id: 7\ndata: {\"type\":\"chat.completed\",\"timestamp\":1769860800.5,\"session_id\":\"s\",…}\n\n",
    ),
    (
        "stream_request",
        &["message"],
        "`type` is `stream_open`, then those of a streamed answer (`progress`, `content`, …, and one of \
         `completed`, `failed` and `cancelled`), then `stream_completed`.",
        "id: 2\ndata: {\"type\":\"content\",\"content\":\"Hello\",\"stage\":\"response_generation\",…}\n\n",
    ),
    (
        "stream_logs",
        &["log", "gap", "error"],
        "`log` for each event: `{timestamp, level, event_type, user_id, session_id, request_id, agent_id, \
         message, data}`. `gap` where some are no longer kept, `error` for a reader that was too slow.",
        "id: 7\nevent: log\ndata: {\"timestamp\":1769860800500,\"level\":\"info\",\"event_type\":\"chat.completed\",…}\n\n",
    ),
];

/// The schema is of one frame: a tool that reads streams checks each of them.
fn describe_stream(operation: &mut Value) {
    let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
    for response in operation["responses"].as_object_mut().expect("responses").values_mut() {
        let Some(stream) = response.pointer_mut("/content/text~1event-stream") else { continue };
        let (_, frames, description, example) =
            STREAMS.iter().find(|(operation, ..)| *operation == name).expect("a stream with words");
        *stream = json!({
            "schema": {
                "type": "object",
                "description": description,
                "required": ["data"],
                "properties": {
                    "id": { "type": "string", "description": "For `Last-Event-ID`." },
                    "event": { "type": "string", "enum": frames, "description": "What `data` is." },
                    "data": { "type": "string", "contentMediaType": "application/json" },
                },
            },
            "example": example,
        });
    }
}

/// What no type can say of the fields of a body.
fn relate_fields(schemas: &mut Value) {
    for (schema, fields) in EITHER {
        schemas[schema]["anyOf"] = fields.iter().map(|it| json!({ "required": [it] })).collect();
    }
    for (schema, field, needed) in TOGETHER {
        schemas[schema]["dependentRequired"] = json!({ field: [needed] });
    }
}

/// Envelopes have one form; what tells them apart is how they call their data.
fn name_answers(operation: &mut Value) {
    let Some(named) = operation.as_object_mut().and_then(|it| it.remove(ANSWER)) else { return };
    for (status, response) in operation["responses"].as_object_mut().expect("responses") {
        let json = response.pointer_mut("/content/application~1json/schema");
        if let Some(schema) = json.filter(|_| status.starts_with('2')) {
            let named = named.get(status).unwrap_or(&named);
            *schema = json!({ "allOf": [schema.take(), name(named)] });
        }
    }
}

fn name(named: &Value) -> Value {
    if let Some(names) = named.as_array() {
        return json!({ "oneOf": names.iter().map(name).collect::<Vec<_>>() });
    }
    let (object, kind) =
        named.as_str().and_then(|it| it.split_once(' ')).expect("two words, as everywhere");
    json!({ "properties": { "object": { "const": object }, "type": { "const": kind } } })
}

fn answer(operation: &mut Value, statuses: &BTreeSet<u16>) {
    let responses = operation["responses"].as_object_mut().expect("responses");
    for status in statuses {
        responses.entry(status.to_string()).or_insert_with(
            || json!({ "$ref": format!("#/components/responses/{}", reference(*status)) }),
        );
    }
}

/// The names of failures by their status: the wire's own list, so that none is forgotten.
fn codes(document: &Value) -> BTreeMap<u16, Vec<String>> {
    let schema = &document["components"]["schemas"]["ErrorCode"];
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for name in names(schema) {
        let code: ErrorCode = serde_json::from_value(json!(name)).expect("one of the codes");
        found.entry(code.status()).or_default().push(name);
    }
    assert!(found.len() > 5, "the schema of ErrorCode is written otherwise now: {schema}");
    found
}

/// An enumeration is written as one list, or, where its values have descriptions, as one value each.
fn names(schema: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(list) = schema["enum"].as_array() {
        return list.iter().filter_map(text).collect();
    }
    let each = schema["oneOf"].as_array().into_iter().flatten();
    each.filter_map(|one| text(&one["const"]).or_else(|| text(&one["enum"][0]))).collect()
}

fn reference(status: u16) -> String {
    format!("Failure{status}")
}

fn failure(status: u16, names: &[String]) -> Value {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let mut answer = json!({
        "description": names.join(", "),
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Failure" } } },
    });
    if status == 401 {
        answer["headers"] = json!({ "WWW-Authenticate": {
            "description": "The header that is asked for.",
            "schema": { "type": "string" },
        }});
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../../openapi.json");
    const ROUTES: &str = include_str!("../../http.rs");

    /// Set by `cargo xtask openapi`: where the document is to be written.
    const WRITE_TO: &str = "MUXI_FORMATION_OPENAPI_WRITE_TO";

    #[test]
    fn the_committed_document_is_what_the_types_say() {
        let now = text();
        if let Some(path) = std::env::var_os(WRITE_TO) {
            std::fs::write(path, &now).unwrap();
            return;
        }
        let same = now == COMMITTED;
        assert!(same, "formation-runtime/openapi.json is out of date; run: cargo xtask openapi");
    }

    #[test]
    fn every_route_is_documented_and_every_document_is_a_route() {
        let document: Value = serde_json::from_str(&text()).unwrap();
        let documented: BTreeSet<&str> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        // Routes are added in that file alone, each as a literal behind `.route(`.
        let routed = ROUTES.split(".route(").skip(1).filter_map(|rest| {
            let literal = rest.trim_start().strip_prefix('"')?;
            literal.split('"').next()
        });
        // With a slash at its end, the same.
        let unbuilt = unbuilt::UNBUILT.iter().map(|(_, path)| *path);
        let routed: BTreeSet<&str> =
            routed.filter(|path| path.len() == 1 || !path.ends_with('/')).chain(unbuilt).collect();
        assert!(routed.len() > 40, "{routed:?}");
        assert_eq!(documented, routed);
    }

    #[test]
    fn names_are_whole() {
        let document: Value = serde_json::from_str(&text()).unwrap();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{method} {path}: {id} twice");
                for part in ["summary", "tags"] {
                    assert!(operation.get(part).is_some(), "{method} {path} has no {part}");
                }
            }
        }
    }
}
