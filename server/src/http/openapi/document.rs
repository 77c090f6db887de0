//! The document of the API: what no type can say is said here, one function an operation.
//!
//! `cargo xtask openapi` writes it to `server/openapi.json`.

#[expect(dead_code, reason = "only their attributes count")]
mod audit;
#[expect(dead_code, reason = "only their attributes count")]
mod drafts;
#[expect(dead_code, reason = "only their attributes count")]
mod events;
#[expect(dead_code, reason = "only their attributes count")]
mod formations;
#[expect(dead_code, reason = "only their attributes count")]
mod keys;
#[expect(dead_code, reason = "only their attributes count")]
mod logs;
#[expect(dead_code, reason = "only their attributes count")]
mod manager;
#[expect(dead_code, reason = "only their attributes count")]
mod operations;

use std::collections::{BTreeMap, BTreeSet};

use muxi_contract::events::Event;
use muxi_contract::logs::{LogConnected, LogEnd, LogEvent, LogGap};
use muxi_contract::management::{Completed, Failed, Problem, ProblemKind, Progress};
use serde_json::{Value, json};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "MUXI server",
        description = include_str!("document/introduction.md"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "http://localhost:7890", description = "A manager on this machine")),
    tags(
        (name = "manager", description = "The manager itself"),
        (name = "formations", description = "What is deployed"),
        (name = "operations", description = "Acts on formations, under way and done"),
        (name = "logs", description = "What formations wrote, and their files"),
        (name = "events", description = "What happened, and who is told"),
        (name = "keys", description = "Who may manage"),
        (name = "audit", description = "What was asked of the manager"),
        (name = "drafts", description = "Formations that are made and tried on the manager"),
    ),
    components(schemas(
        Problem, Progress, Completed, Failed, Event, LogConnected, LogEvent, LogGap, LogEnd
    )),
    paths(
        manager::health,
        manager::ping,
        manager::ready,
        manager::metrics,
        manager::openapi,
        manager::docs,
        manager::status,
        formations::list,
        formations::deploy,
        formations::one,
        formations::delete,
        formations::update,
        formations::start,
        formations::start_stream,
        formations::stop,
        formations::restart,
        formations::restart_stream,
        formations::rollback,
        formations::rollback_stream,
        formations::cancel_update,
        logs::logs,
        logs::follow,
        logs::download,
        operations::list,
        operations::one,
        operations::stream,
        events::list,
        events::webhooks,
        events::test_webhook,
        events::deliveries,
        events::retry_delivery,
        drafts::files,
        drafts::run,
        drafts::stop,
        drafts::deploy,
        drafts::deploy_stream,
        drafts::update,
        drafts::update_stream,
        keys::list,
        keys::add,
        keys::revoke,
        keys::rotate,
        audit::list,
        audit::logs,
    )
)]
struct Described;

/// Routes whose failures may have a form of their own.
const OWN_FAILURES: [(&str, &str); 3] = [
    ("/rpc/formations/{id}/draft/files", "DraftReply"),
    ("/rpc/dev/run", "DevRun"),
    ("/rpc/dev/stop", "DevStop"),
];
/// What every signed call may be answered with; further ones by what it does.
const SIGNED: [u16; 5] = [401, 403, 429, 500, 503];
const WITH_PARAMETERS: [u16; 1] = [400];
const OF_ONE: [u16; 1] = [404];
const WITH_BODY: [u16; 4] = [400, 408, 413, 507];
const THAT_CHANGE: [u16; 2] = [409, 507];
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The whole document, as it is served.
fn text() -> String {
    let mut document = serde_json::to_value(Described::openapi()).expect("plain data");
    complete(&mut document);
    let mut text = serde_json::to_string_pretty(&document).expect("plain data");
    text.push('\n');
    text
}

/// Adds what is the same everywhere: the signature, its failures, and those of the kind of call.
fn complete(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({ "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": include_str!("document/signature.md"),
    }});
    let names = problems(document);
    let responses: BTreeMap<String, Value> =
        names.iter().map(|(status, names)| (reference(*status), problem(*status, names))).collect();
    document["components"]["responses"] = json!(responses);
    for (path, item) in document["paths"].as_object_mut().expect("paths") {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method).filter(|_| path.starts_with("/rpc/")) {
                operation["security"] = json!([{ "signature": [] }]);
                tidy(operation, path);
                answer(operation, &statuses(path, method, operation));
                let own = OWN_FAILURES.iter().find(|(own, _)| own == path);
                if let Some((_, schema)) = own {
                    describe_failures(operation, schema);
                }
            }
        }
    }
}

/// Which problems a call may be answered with, besides those that it names itself.
fn statuses(path: &str, method: &str, operation: &Value) -> BTreeSet<u16> {
    let mut found = BTreeSet::from(SIGNED);
    if operation.get("parameters").is_some() {
        found.extend(WITH_PARAMETERS);
    }
    if path.contains("{id}") {
        found.extend(OF_ONE);
    }
    if operation.get("requestBody").is_some() {
        found.extend(WITH_BODY);
    }
    if method != "get" {
        found.extend(THAT_CHANGE);
    }
    found
}

/// What the generator has no words for.
fn tidy(operation: &mut Value, path: &str) {
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
    if let Some(gzip) = operation.pointer_mut("/requestBody/content/application~1gzip") {
        gzip["schema"] = json!({ "type": "string", "format": "binary" });
    }
    if let Some(zip) = operation.pointer_mut("/responses/200/content/application~1zip") {
        zip["schema"] = json!({ "type": "string", "format": "binary" });
    }
    for response in operation["responses"].as_object_mut().expect("responses").values_mut() {
        if let Some(stream) = response.pointer_mut("/content/text~1event-stream") {
            let (_, names, description, example) =
                STREAMS.iter().find(|(prefix, ..)| path.starts_with(prefix)).expect("a stream");
            let mut name = json!({ "type": "string", "description": "What `data` is." });
            if !names.is_empty() {
                name["enum"] = json!(names);
            }
            *stream = json!({
                // Of one event: a tool that reads streams checks each of them.
                "schema": {
                    "type": "object",
                    "description": description,
                    "required": ["event", "data"],
                    "properties": {
                        "id": { "type": "string", "description": "For `Last-Event-ID`." },
                        "event": name,
                        "data": { "type": "string", "contentMediaType": "application/json" },
                    },
                },
                "example": example,
            });
        }
    }
}

/// What streams carry, by the beginning of their path: names, words, an example. The first that fits
/// counts; no names means many.
const STREAMS: &[(&str, &[&str], &str, &str)] = &[
    (
        "/rpc/formations/{id}/logs",
        &["connected", "log", "gap", "end"],
        "One `connected` (`LogConnected`), then `log` for each line (`LogEvent`), `gap` where rotation \
         was faster (`LogGap`), and `end` (`LogEnd`). The id of an event is the place after it.",
        "event: connected\ndata: {\"formation_id\":\"hello\"}\n\n\
         event: log\ndata: {\"formation_id\":\"hello\",\"line\":\"hi\",\"stream\":\"stderr\",…}\n\n",
    ),
    (
        "/rpc/events",
        &[],
        "Events named by their type, each with an `Event` and its number as id.",
        "id: 7\nevent: formation.deployed\ndata: {\"id\":\"evt_…\",\"type\":\"formation.deployed\",…}\n\n",
    ),
    (
        "/rpc/",
        &["progress", "complete", "error"],
        "Any number of `progress` events (`Progress`), then one `complete` (`Completed`) or one \
         `error` (`Failed`).",
        "event: progress\ndata: {\"stage\":\"spawning\",\"message\":\"Starting the formation's process\"}\n\n\
         event: complete\ndata: {\"formation_id\":\"hello\",\"port\":8000,\"status\":\"running\",…}\n\n",
    ),
];

fn answer(operation: &mut Value, statuses: &BTreeSet<u16>) {
    let responses = operation["responses"].as_object_mut().expect("responses");
    for status in statuses {
        responses.entry(status.to_string()).or_insert_with(
            || json!({ "$ref": format!("#/components/responses/{}", reference(*status)) }),
        );
    }
}

/// What the route itself refuses looks like its answers; what comes before it is a problem.
fn describe_failures(operation: &mut Value, own: &str) {
    let own = json!({ "$ref": format!("#/components/schemas/{own}") });
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    for response in operation["responses"].as_object_mut().expect("responses").values_mut() {
        if response.get("$ref").is_some() {
            *response = json!({
                "description": "The reason, in the route's own form or as a problem",
                "content": { "application/json": { "schema": { "anyOf": [own, problem] } } },
            });
        }
    }
}

/// The names of problems by their status: the wire's own list, so that none is forgotten.
fn problems(document: &Value) -> BTreeMap<u16, Vec<String>> {
    let schema = &document["components"]["schemas"]["ProblemKind"];
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for name in names(schema) {
        let kind: ProblemKind = serde_json::from_value(json!(name)).expect("one of the kinds");
        found.entry(kind.status()).or_default().push(name);
    }
    assert!(found.len() > 5, "the schema of ProblemKind is written otherwise now: {schema}");
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
    format!("Problem{status}")
}

fn problem(status: u16, names: &[String]) -> Value {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let mut answer = json!({
        "description": names.join(", "),
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    if status == 401 {
        answer["headers"] = json!({ "WWW-Authenticate": {
            "description": "The scheme that is asked for.",
            "schema": { "type": "string", "const": "MUXI-HMAC" },
        }});
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../../openapi.json");
    const ROUTES: &str = include_str!("../mod.rs");
    /// Whatever is below these belongs to formations; the introduction tells of it.
    const PREFIXES: [&str; 3] = ["/api/", "/draft/", "/mcp/"];

    /// Set by `cargo xtask openapi`: where the document is to be written.
    const WRITE_TO: &str = "MUXI_OPENAPI_WRITE_TO";

    #[test]
    fn the_committed_document_is_what_the_types_say() {
        let now = text();
        if let Some(path) = std::env::var_os(WRITE_TO) {
            std::fs::write(path, &now).unwrap();
            return;
        }
        let same = now == COMMITTED;
        assert!(same, "server/openapi.json is out of date; run: cargo xtask openapi");
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
        let routed: Vec<&str> =
            routed.filter(|path| !PREFIXES.iter().any(|prefix| path.starts_with(prefix))).collect();
        let lines = routed.len();
        let routed: BTreeSet<&str> = routed.into_iter().collect();
        assert_eq!(lines, routed.len(), "a path stands there twice");
        assert!(routed.len() > 10, "{routed:?}");
        assert_eq!(documented, routed);
    }

    #[test]
    fn names_and_examples_are_whole() {
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
