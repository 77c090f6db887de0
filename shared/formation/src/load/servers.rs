//! The servers with tools: those of the manifest, and those that agents bring along.

use std::collections::BTreeSet;

use serde_yaml::Value;

use super::Reading;
use super::components::{Component, Kind};
use crate::diagnostic::Diagnostic;
use crate::interpolate::user_credentials;
use crate::manifest::{Mcp, McpServer, McpServerFields};
use crate::schema::{MCP_FILE, MCP_INLINE};
use crate::yaml::{Content, Node, Text};

const KIND: Kind = Kind {
    noun: "MCP server",
    article: "an",
    folders: &["mcp", "mcps"],
    key: "mcp.servers",
    is_nested: false,
};

/// What each kind of transport reads of its own.
const OF_COMMAND: [&str; 4] = ["command", "args", "env", "cwd"];
const OF_HTTP: [&str; 3] = ["endpoint", "url", "headers"];

/// The servers so far, with those that have faults.
#[derive(Default)]
pub(super) struct Servers {
    known: Vec<Known>,
}

/// Who describes a server.
#[derive(Clone)]
pub(super) enum Origin {
    Manifest,
    Agent(String),
}

struct Known {
    id: String,
    origin: Origin,
    is_attached: bool,
    needs_user_credentials: Vec<String>,
    fields: Option<McpServerFields>,
}

// === impl Servers ===

impl Servers {
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|it| it.id.as_str())
    }

    pub(super) fn may_attach(&self, id: &str, agent: &str) -> bool {
        self.known.iter().any(|it| {
            it.id == id
                && match &it.origin {
                    Origin::Manifest => true,
                    Origin::Agent(owner) => owner == agent,
                }
        })
    }

    pub(super) fn attach(&mut self, id: &str) {
        for known in self.known.iter_mut().filter(|it| it.id == id) {
            known.is_attached = true;
        }
    }

    /// Once nothing has faults.
    pub(super) fn decided(self, mcp: &Mcp) -> Vec<McpServer> {
        let decided = self.known.into_iter().filter_map(|known| {
            let private_to = match known.origin {
                Origin::Manifest => None,
                Origin::Agent(agent) => Some(agent),
            };
            let (is_global, needs) = (!known.is_attached, known.needs_user_credentials);
            McpServer::new(known.fields?, mcp, private_to, is_global, needs)
        });
        decided.collect()
    }
}

// === impl Reading ===

impl Reading<'_> {
    pub(super) fn servers(&mut self, root: &Node) -> Servers {
        let mut servers = Servers::default();
        let block = match (root.get("mcp"), root.get("mcps")) {
            (Some(_), Some(second)) => {
                let message = "`mcps` is another name of `mcp`";
                let (file, place) = (self.manifest, second.place);
                self.found.push(Diagnostic::error(file, place, message, "keep one of them"));
                None
            }
            (block, other) => block.or(other),
        };
        let list = block.and_then(|it| it.get("servers"));
        for component in self.components(self.manifest, list, &KIND) {
            self.server(&component, Origin::Manifest, &mut servers);
        }
        if let Some(watch) = block.and_then(|it| it.get("watch"))
            && !matches!(watch.content, Content::Bool(false))
            && servers.known.is_empty()
        {
            let message = "`mcp.watch` waits for jobs of servers, and none is listed";
            let mend = "list some in `mcp.servers`, or remove it";
            let (file, place) = (self.manifest, watch.place);
            self.found.push(Diagnostic::error(file, place, message, mend));
        }
        servers
    }

    /// The id of the server, once it is known.
    pub(super) fn server(
        &mut self,
        component: &Component,
        origin: Origin,
        servers: &mut Servers,
    ) -> Option<String> {
        let Component { file, node, path, is_inline, .. } = component;
        let table = if *is_inline { &MCP_INLINE } else { &MCP_FILE };
        let mut fitting = self.checker(file).table(node, path, table);
        let (own, others, needed): (&[&str], &[&str], _) =
            match fitting.get("type").and_then(Value::as_str) {
                Some("command") => (&OF_COMMAND, &OF_HTTP, "command"),
                Some("http") => (&OF_HTTP, &OF_COMMAND, "endpoint"),
                _ => (&[], &[], ""),
            };
        let has = |key: &&&str| node.get(key).is_some();
        if !own.is_empty()
            && !["command", "endpoint", "url"]
                .iter()
                .any(|it| own.contains(it) && node.get(it).is_some())
        {
            let message = format!("a server of this type needs `{needed}`");
            self.found.push(Diagnostic::error(file, node.place, message, "add it"));
        }
        for key in others.iter().filter(has) {
            let place = node.get(key).map_or(node.place, |it| it.place);
            let message = format!("`{key}` has no effect on a server of this type");
            let mend = "remove it, or correct `type`";
            self.found.push(Diagnostic::warning(file, place, message, mend));
            fitting.remove(*key);
        }
        if let Some(url) = fitting.remove("url") {
            if let Some(second) = node.get("endpoint").and(node.get("url")) {
                let message = "`url` is another name of `endpoint`";
                self.found.push(Diagnostic::error(file, second.place, message, "keep one of them"));
            }
            fitting.insert(Value::from("endpoint"), url);
        }
        let id = fitting.get("id")?.as_str()?.to_owned();
        let ids: Vec<String> = servers.ids().map(str::to_owned).collect();
        if let Origin::Agent(_) = &origin
            && ids.contains(&id)
        {
            let message = format!("another server has the id `{id}`");
            let mend =
                "give it another id, or list it once in `mcp.servers` and attach it by its id";
            self.found.push(Diagnostic::error(file, node.place, message, mend));
        } else {
            self.is_first(&ids, &id, component, KIND.noun);
        }
        let fields = self.typed(file, fitting);
        let needs_user_credentials = credentials(node);
        let known =
            Known { id: id.clone(), origin, is_attached: false, needs_user_credentials, fields };
        servers.known.push(known);
        Some(id)
    }
}

// === private helpers ===

/// The services whose credentials of a user the server's values wait for.
fn credentials(node: &Node) -> Vec<String> {
    let mut services = BTreeSet::new();
    let mut node = node.clone();
    node.texts_mut(&mut |_, text: &mut Text| services.extend(user_credentials(&text.written)));
    services.into_iter().collect()
}
