//! The agents that the manifest lists.

use serde_yaml::{Mapping, Value};

use super::components::{Component, Kind};
use super::servers::{Origin, Servers};
use super::{Reading, names_text};
use crate::diagnostic::Diagnostic;
use crate::manifest::Agent;
use crate::schema::{AGENT_FILE, AGENT_INLINE, ATTACHMENT, closest};
use crate::yaml::{Content, Node};

const KIND: Kind =
    Kind { noun: "agent", article: "an", folders: &["agents"], key: "agents", is_nested: true };

/// The agents, and the ids even of those that have faults.
#[derive(Default)]
pub(super) struct Agents {
    pub(super) typed: Vec<Agent>,
    pub(super) ids: Vec<String>,
    /// Skills that agents list, with where.
    pub(super) skills: Vec<(String, Listed)>,
}

/// A name in a file, and the text that gives it.
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) place: crate::diagnostic::Place,
}

// === impl Reading ===

impl Reading<'_> {
    pub(super) fn agents(&mut self, root: &Node, has_model: bool, servers: &mut Servers) -> Agents {
        let mut read = Agents::default();
        let list = root.get("agents");
        if let Some(list) = list
            && matches!(&list.content, Content::List(entries) if entries.is_empty())
        {
            let message = "`agents` is empty, so nobody would answer";
            let (file, mend) = (self.manifest, "list one agent");
            self.found.push(Diagnostic::error(file, list.place, message, mend));
        }
        for component in self.components(self.manifest, list, &KIND) {
            let Some((id, agent)) = self.agent(&component, has_model, servers, &mut read) else {
                continue;
            };
            self.is_first(&read.ids, &id, &component, KIND.noun);
            read.ids.push(id);
            read.typed.extend(agent);
        }
        read
    }

    /// The id once it is known, and the agent once nothing is wrong.
    fn agent(
        &mut self,
        component: &Component,
        has_model: bool,
        servers: &mut Servers,
        read: &mut Agents,
    ) -> Option<(String, Option<Agent>)> {
        let Component { file, node, path, is_inline, .. } = component;
        let table = if *is_inline { &AGENT_INLINE } else { &AGENT_FILE };
        let mut fitting = self.checker(file).table(node, path, table);
        let id = fitting.get("id")?.as_str()?.to_owned();
        self.older_models(component, &mut fitting);
        older_delegation(&mut fitting);
        let models = node.get("llm_models").or(node.get("llm").and_then(|it| it.get("models")));
        if !has_model && !names_text(models) {
            self.found.push(Diagnostic::error(
                file,
                node.place,
                format!("the agent `{id}` has no model of the capability `text`"),
                "add `llm.models: [{text: provider/model}]` to the manifest",
            ));
        }
        if let Some(list) = node.get("mcp_servers") {
            let attached = self.attachments(component, list, &id, servers);
            fitting.insert(Value::from("mcp_servers"), Value::Sequence(attached));
        }
        if let Some(Content::List(names)) = node.get("skills").map(|it| &it.content) {
            let named = names.iter().filter_map(|name| Some((name, name.as_text()?)));
            read.skills.extend(named.map(|(name, text)| {
                let (name, place) = (text.written.clone(), name.place);
                (id.clone(), Listed { name, file: file.clone(), place })
            }));
        }
        let agent = self.typed(file, fitting);
        Some((id, agent))
    }

    /// `llm: {settings, models}`, the other form of `llm_models`.
    fn older_models(&mut self, component: &Component, fitting: &mut Mapping) {
        let Some(Value::Mapping(mut llm)) = fitting.remove("llm") else { return };
        if let Some(settings) = llm.remove("settings") {
            fitting.insert(Value::from("llm_settings"), settings);
        }
        let Some(models) = llm.remove("models") else { return };
        if fitting.contains_key("llm_models") {
            let Component { file, node, .. } = component;
            let place = node.get("llm").map_or(node.place, |it| it.place);
            let message = "`llm.models` is another form of `llm_models`";
            self.found.push(Diagnostic::error(file, place, message, "keep one of them"));
        }
        fitting.insert(Value::from("llm_models"), models);
    }

    /// What an agent attaches, each as `{server, tools}`; servers that it brings along are added.
    fn attachments(
        &mut self,
        component: &Component,
        list: &Node,
        agent: &str,
        servers: &mut Servers,
    ) -> Vec<Value> {
        let Component { file, path, .. } = component;
        let path =
            if path.is_empty() { "mcp_servers".to_owned() } else { format!("{path}.mcp_servers") };
        let Content::List(entries) = &list.content else {
            self.checker(file).expected(list, &path, "a list");
            return Vec::new();
        };
        let mut attached: Vec<Value> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let is_server =
                ["type", "command", "endpoint", "url"].iter().any(|it| entry.get(it).is_some());
            let mut attachment = Mapping::new();
            let server = match &entry.content {
                Content::Text(name) => name.written.clone(),
                Content::Map(_) if is_server => {
                    let own = Component {
                        file: file.clone(),
                        node: entry.clone(),
                        path,
                        place: entry.place,
                        is_inline: true,
                    };
                    let origin = Origin::Agent(agent.to_owned());
                    let Some(id) = self.server(&own, origin, servers) else { continue };
                    id
                }
                Content::Map(_) => {
                    let fitting = self.checker(file).table(entry, &path, &ATTACHMENT);
                    if let Some(tools) = fitting.get("tools") {
                        attachment.insert(Value::from("tools"), tools.clone());
                    }
                    let Some(id) = fitting.get("id").and_then(Value::as_str) else { continue };
                    id.to_owned()
                }
                Content::Null | Content::Bool(_) | Content::Number(_) | Content::List(_) => {
                    self.checker(file).expected(entry, &path, "a server's id or a map");
                    continue;
                }
            };
            if names.contains(&server) {
                let message = format!("the server `{server}` is attached twice");
                self.found.push(Diagnostic::error(file, entry.place, message, "keep one"));
                continue;
            }
            if !servers.may_attach(&server, agent) {
                let meant =
                    closest(&server, servers.ids().filter(|id| servers.may_attach(id, agent)));
                let mend = meant.map_or_else(
                    || format!("add `{server}` to `mcp.servers`, or remove it here"),
                    |meant| format!("did you mean `{meant}`?"),
                );
                let message = format!("the server `{server}` is not one of the formation's");
                self.found.push(Diagnostic::error(file, entry.place, message, mend));
                continue;
            }
            servers.attach(&server);
            attachment.insert(Value::from("server"), Value::from(server.as_str()));
            names.push(server);
            attached.push(Value::Mapping(attachment));
        }
        attached
    }
}

// === private helpers ===

/// Three older keys say what `a2a` says; what they switch off stays off.
fn older_delegation(fitting: &mut Mapping) {
    let is_off = |value: Option<Value>| value == Some(Value::Bool(false));
    let all = is_off(fitting.remove("a2a_enabled"));
    let direct = is_off(fitting.remove("enable_direct_delegation"));
    let never = fitting.remove("delegation_strategy") == Some(Value::from("never"));
    let mut a2a = match fitting.remove("a2a") {
        Some(Value::Mapping(a2a)) => a2a,
        _ => Mapping::new(),
    };
    if all || direct || never {
        a2a.insert(Value::from("internal"), Value::Bool(false));
    }
    if all || never {
        a2a.insert(Value::from("external"), Value::Bool(false));
    }
    fitting.insert(Value::from("a2a"), Value::Mapping(a2a));
}
