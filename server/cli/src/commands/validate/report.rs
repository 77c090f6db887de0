//! What a sound bundle comes to: models, tools, secrets, knowledge, as a document and as tables.

use std::path::Path;

use muxi_formation::manifest::{Capability, ChosenModel, OverlordRole};
use muxi_formation::{Loaded, Source, ToolFilter, tool_table};
use serde_json::{Value, json};

use super::{knowledge, place};
use crate::check::Checked;
use crate::terminal::table;

pub(super) fn document(folder: &Path, checked: &Checked) -> Value {
    let found = |is_error: bool| -> Vec<Value> {
        let found = checked.found.iter().filter(|it| it.is_error() == is_error);
        found.map(|it| json!(it)).collect()
    };
    let is_open = checked.faults().all(|it| it.file != muxi_vault::SECRETS_FILE);
    let placeholders: Vec<Value> = checked
        .placeholders
        .iter()
        .map(|it| {
            let at = it.place.as_ref().map(|(file, line, column)| place(file, *line, *column));
            // Nobody knows what stands in secrets that cannot be opened.
            let is_set = (is_open || it.source == Source::Env).then_some(it.is_set);
            let shown = it.place.as_ref().map(|(file, line, _)| format!("{file}:{line}"));
            json!({"name": it.name, "from": it.source.to_string(), "set": is_set, "used_at": shown, "place": at})
        })
        .collect();
    let mut document = json!({
        "folder": folder.display().to_string(),
        "valid": checked.faults().next().is_none(),
        "faults": found(true),
        "warnings": found(false),
        "placeholders": placeholders,
        "knowledge": knowledge::sources(folder),
    });
    if let Some(loaded) = checked.sound() {
        document["id"] = json!(loaded.manifest.id);
        document["version"] = json!(loaded.manifest.version);
        document["models"] = json!(models(loaded));
        document["tools"] = json!(tools(loaded));
        document["content"] = content(loaded);
    }
    document
}

/// Below the verdict, each table behind an empty line.
pub(super) fn text(document: &Value, is_verbose: bool) -> String {
    let items = |key: &str| document[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut models =
        vec![("USED BY", "of"), ("FOR", "for"), ("MODEL", "model"), ("FALLBACK", "fallback")];
    if is_verbose {
        models.extend([
            ("TEMPERATURE", "temperature"),
            ("MAX TOKENS", "max_tokens"),
            ("TIMEOUT", "timeout_seconds"),
            ("RETRIES", "max_retries"),
        ]);
    }
    let tables: [(&str, &[table::Column]); 4] = [
        ("models", &models),
        ("tools", &[("AGENT", "agent"), ("SERVER", "server"), ("TOOLS", "tools")]),
        (
            "placeholders",
            &[("PLACEHOLDER", "name"), ("FROM", "from"), ("SET", "set"), ("USED AT", "used_at")],
        ),
        (
            "knowledge",
            &[
                ("KNOWLEDGE", "path"),
                ("NAMED IN", "file"),
                ("THERE", "there"),
                ("INDEXED", "indexed_count"),
                ("SKIPPED", "skipped_count"),
            ],
        ),
    ];
    let mut text = String::new();
    for (key, columns) in tables {
        if !items(key).is_empty() {
            text.push_str(&format!("\n{}", table::list(items(key), columns, "")));
        }
    }
    for source in items("knowledge") {
        let skipped = source["skipped"].as_array().into_iter().flatten();
        for it in skipped.filter_map(Value::as_str) {
            let path = source["path"].as_str().unwrap_or_default();
            text.push_str(&format!("  skipped in {path}: {it}\n"));
        }
    }
    if is_verbose && document["content"].is_object() {
        let facts = [
            ("Agents", "agents"),
            ("Procedures", "procedures"),
            ("Triggers", "triggers"),
            ("Skills", "skills"),
            ("Remote agents", "remote_agents"),
        ];
        text.push_str(&format!("\n{}", table::facts(&document["content"], &facts)));
    }
    text
}

// === private helpers ===

/// What each agent and the overlord really ask.
fn models(loaded: &Loaded) -> Vec<Value> {
    let llm = &loaded.manifest.llm;
    let row = |of: &str, what: &str, model: ChosenModel| {
        json!({
            "of": of, "for": what, "model": model.model.as_str(),
            "fallback": model.fallback_model.as_ref().map(|it| it.as_str().to_owned()),
            "temperature": model.temperature, "max_tokens": model.max_tokens,
            "timeout_seconds": model.timeout_seconds, "max_retries": model.max_retries,
        })
    };
    let mut rows = Vec::new();
    for (role, what) in [(OverlordRole::Base, "decisions"), (OverlordRole::Synthesis, "synthesis")]
    {
        rows.extend(loaded.overlord_model(role).map(|model| row("the overlord", what, model)));
    }
    for agent in &loaded.agents {
        for capability in Capability::ALL {
            rows.extend(
                llm.choose(agent, capability).map(|it| row(&agent.id, capability.name(), it)),
            );
        }
    }
    rows.extend(llm.choose_embedding().map(|model| row("the memory", "embedding", model)));
    rows
}

fn tools(loaded: &Loaded) -> Vec<Value> {
    let mut rows = Vec::new();
    for agent in tool_table(loaded) {
        for (server, filter) in &agent.servers {
            let layers: Vec<String> = filter.layers.iter().filter_map(layer).collect();
            let tools =
                if layers.is_empty() { "all".to_owned() } else { layers.join("; of these ") };
            rows.push(json!({"agent": agent.agent, "server": server, "tools": tools}));
        }
    }
    rows
}

fn layer(filter: &ToolFilter) -> Option<String> {
    let allowed = filter
        .allow
        .as_ref()
        .map(|it| if it.is_empty() { "none".to_owned() } else { it.join(", ") });
    let denied = (!filter.deny.is_empty()).then(|| filter.deny.join(", "));
    match (allowed, denied) {
        (None, None) => None,
        (Some(allowed), None) => Some(allowed),
        (None, Some(denied)) => Some(format!("all but {denied}")),
        (Some(allowed), Some(denied)) => Some(format!("{allowed}, but not {denied}")),
    }
}

fn content(loaded: &Loaded) -> Value {
    json!({
        "agents": loaded.agents.iter().map(|it| &it.id).collect::<Vec<_>>(),
        "procedures": loaded.procedures.iter().map(|it| &it.id).collect::<Vec<_>>(),
        "triggers": loaded.triggers.iter().map(|it| &it.name).collect::<Vec<_>>(),
        "skills": loaded.skills.iter().map(|it| &it.name).collect::<Vec<_>>(),
        "remote_agents": loaded.remote_agents.iter().map(|it| &it.id).collect::<Vec<_>>(),
    })
}
