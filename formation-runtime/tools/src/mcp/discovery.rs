//! A server's tools, page by page, and what is kept of them.

use std::collections::HashSet;

use rmcp::model::PaginatedRequestParams;
use serde_json::Value;

use super::config::{Limits, ServerConfig};
use super::connection::Lease;
use super::danger::Annotations;
use super::error::{McpError, quoted};

const NAME_SHOWN_CHARS: usize = 80;

/// One tool as its server describes it, bounded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) schema: Value,
    pub(super) annotations: Annotations,
}

/// Asks for all pages. A server that never ends its list gives as much as the limits take.
pub(super) async fn discover(
    lease: &Lease,
    config: &ServerConfig,
    limits: &Limits,
) -> Result<Vec<Found>, McpError> {
    let mut all = Vec::new();
    let mut cursors = HashSet::new();
    let mut cursor: Option<String> = None;
    for _page in 0..limits.pages {
        let asked = cursor.take().map(|it| PaginatedRequestParams::default().with_cursor(Some(it)));
        let asking = Box::pin(lease.peer().list_tools(asked));
        let page = lease.within("the list of its tools", config.timeout, asking).await;
        let page = page.map_err(|fault| fault.error)?;
        all.extend(page.tools);
        if all.len() >= limits.tools_per_server {
            break;
        }
        match page.next_cursor {
            Some(next) if cursors.insert(next.clone()) => cursor = Some(next),
            Some(_) => {
                tracing::warn!(server = config.id, "repeats a cursor; its list ends here");
                break;
            }
            None => break,
        }
    }
    if cursor.is_some() || all.len() > limits.tools_per_server {
        tracing::warn!(server = config.id, taken = all.len(), "has more tools than are taken");
        all.truncate(limits.tools_per_server);
    }
    Ok(kept(config, limits, all))
}

/// What passes the filter and the limits; each tool that is left out is named in the log.
fn kept(config: &ServerConfig, limits: &Limits, tools: Vec<rmcp::model::Tool>) -> Vec<Found> {
    let mut names = HashSet::new();
    let mut kept = Vec::new();
    for tool in tools {
        let leave_out = |why: &str| {
            let tool = quoted(&tool.name, NAME_SHOWN_CHARS);
            tracing::warn!(server = config.id, tool, why, "a tool is left out");
        };
        if tool.name.is_empty() || tool.name.len() > limits.description_bytes {
            leave_out("its name is empty or too long");
        } else if !names.insert(tool.name.clone()) {
            leave_out("its name was there before");
        } else if config.filter.allows(&tool.name) {
            match schema(&tool.input_schema, limits.schema_bytes) {
                Ok(schema) => kept.push(found(&tool, schema, limits)),
                Err(why) => leave_out(why),
            }
        }
    }
    kept
}

fn found(tool: &rmcp::model::Tool, schema: Value, limits: &Limits) -> Found {
    let hints = tool.annotations.as_ref();
    let title = tool.title.as_deref().or_else(|| hints?.title.as_deref()).unwrap_or_default();
    let description = tool.description.as_deref().filter(|it| !it.trim().is_empty());
    Found {
        name: tool.name.clone().into_owned(),
        description: description_of(description.unwrap_or(title), limits.description_bytes),
        schema,
        annotations: Annotations {
            read_only: hints.and_then(|it| it.read_only_hint),
            destructive: hints.and_then(|it| it.destructive_hint),
            idempotent: hints.and_then(|it| it.idempotent_hint),
        },
    }
}

/// Providers want an object with properties, and some refuse a schema without them.
fn schema(given: &serde_json::Map<String, Value>, bytes_max: usize) -> Result<Value, &'static str> {
    let mut schema = given.clone();
    schema.entry("type").or_insert_with(|| "object".into());
    schema.entry("properties").or_insert_with(|| Value::Object(serde_json::Map::new()));
    if schema["type"] != "object" || !schema["properties"].is_object() {
        return Err("its input schema is not one of an object");
    }
    let schema = Value::Object(schema);
    if schema.to_string().len() > bytes_max {
        return Err("its input schema is too large");
    }
    Ok(schema)
}

/// Somebody else's text in a prompt: of bounded length, and without what a terminal or a reader of the
/// prompt would not see.
fn description_of(text: &str, bytes_max: usize) -> String {
    let is_seen = |it: &char| (!it.is_control() || *it == '\n') && !is_invisible(*it);
    let mut clean: String = text.replace("\r\n", "\n").chars().filter(is_seen).collect();
    if clean.len() > bytes_max {
        let ellipsis = '…';
        clean.truncate(clean.floor_char_boundary(bytes_max.saturating_sub(ellipsis.len_utf8())));
        clean.push(ellipsis);
    }
    clean
}

/// Characters that hide or reorder text: zero widths, bidirectional controls and tags.
fn is_invisible(it: char) -> bool {
    matches!(it,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::super::config::{ToolFilter, Transport};
    use super::*;

    fn tool(value: Value) -> rmcp::model::Tool {
        serde_json::from_value(value).unwrap()
    }

    fn config() -> ServerConfig {
        let transport =
            Transport::Http { url: "http://127.0.0.1:1/".to_owned(), headers: [].into() };
        ServerConfig::new("s", transport)
    }

    #[test]
    fn only_what_is_fit_is_kept() {
        let limits = Limits { schema_bytes: 200, ..Limits::default() };
        let filtered =
            ServerConfig { filter: ToolFilter::new(|name| name != "hidden"), ..config() };
        let mut nameless = tool(json!({"name": "x", "inputSchema": {}}));
        nameless.name = Cow::Borrowed("");
        let found = kept(
            &filtered,
            &limits,
            vec![
                tool(json!({"name": "a", "inputSchema": {}})),
                tool(json!({"name": "a", "inputSchema": {"type": "object"}})),
                tool(json!({"name": "hidden", "inputSchema": {}})),
                tool(json!({"name": "list", "inputSchema": {"type": "array"}})),
                tool(json!({"name": "big", "inputSchema": {"description": "x".repeat(300)}})),
                nameless,
            ],
        );
        let names: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(found[0].schema, json!({"type": "object", "properties": {}}));
    }

    #[test]
    fn descriptions_lose_what_nobody_sees() {
        assert_eq!(description_of("a\u{1b}[0m\u{200b}b\r\nc\u{202e}\u{e0041}d", 100), "a[0mb\ncd");
        let long = description_of(&"ä".repeat(100), 21);
        assert!(long.len() <= 21 && long.ends_with('…'), "{long}");
    }

    #[test]
    fn a_title_stands_in_for_a_missing_description() {
        let titled = tool(json!({"name": "a", "inputSchema": {}, "annotations": {
            "title": "Reads", "readOnlyHint": true}}));
        let found = kept(&config(), &Limits::default(), vec![titled]);
        assert_eq!(found[0].description, "Reads");
        assert_eq!(found[0].annotations.read_only, Some(true));
    }
}
