//! The agents that the manifest lists, inline or in files of their own.

use crate::check::Checker;
use crate::diagnostic::{Diagnostic, Place};
use crate::manifest::Agent;
use crate::schema::{AGENT_FILE, AGENT_INLINE, Table};
use crate::yaml::{Content, Node};

use super::{Common, Reading, names_text};

const EXTENSIONS: [&str; 3] = [".afs", ".yaml", ".yml"];
/// The other notation for a file, of older bundles.
const INCLUDE: &str = "$include";

/// A file that holds an agent.
struct AgentFile {
    path: String,
    stem: String,
    /// Its `id`, when it could be read.
    id: Option<String>,
    is_listed: bool,
}

// === impl Reading ===

impl Reading<'_> {
    pub(super) fn agents(&mut self, file: &str, root: &Node, common: &Common<'_>) -> Vec<Agent> {
        let mut files = self.agent_files();
        let mut agents: Vec<Agent> = Vec::new();
        let mut ids: Vec<String> = Vec::new();
        let Some(list) = root.get("agents") else { return agents };
        let Content::List(entries) = &list.content else {
            Checker { file, aliases: common.aliases, found: &mut self.found }
                .expected(list, "agents", "a list");
            return agents;
        };
        if entries.is_empty() {
            let message = "`agents` is empty, so nobody would answer";
            self.found.push(Diagnostic::error(file, list.place, message, "list one agent"));
        }
        for (i, entry) in entries.iter().enumerate() {
            let path = format!("agents[{i}]");
            let named = entry.get(INCLUDE).unwrap_or(entry);
            let read = match (&named.content, &entry.content) {
                (Content::Text(name), _) => {
                    self.listed(file, named.place, &name.written, &mut files, common)
                }
                (_, Content::Map(_)) => self.agent(file, entry, &path, &AGENT_INLINE, common),
                _ => {
                    Checker { file, aliases: common.aliases, found: &mut self.found }.expected(
                        entry,
                        &path,
                        "an agent's id or a map",
                    );
                    continue;
                }
            };
            let Some((id, agent)) = read else { continue };
            if ids.contains(&id) {
                let message = format!("the agent `{id}` is listed twice");
                self.found.push(Diagnostic::error(file, entry.place, message, "keep one"));
            }
            ids.push(id);
            agents.extend(agent);
        }
        if let Some(second) = entries.get(1) {
            self.found.push(Diagnostic::error(
                file,
                second.place,
                "routing between several agents is not built yet",
                "list exactly one agent",
            ));
        }
        for unlisted in files.iter().filter(|file| !file.is_listed) {
            self.found.push(Diagnostic::warning(
                &unlisted.path,
                Place::START,
                "the manifest does not list this agent, so it will not be loaded",
                format!("add `{}` to `agents`, or remove the file", unlisted.stem),
            ));
        }
        agents
    }

    fn listed(
        &mut self,
        file: &str,
        place: Place,
        name: &str,
        files: &mut [AgentFile],
        common: &Common<'_>,
    ) -> Option<(String, Option<Agent>)> {
        let is_meant =
            |it: &AgentFile| it.stem == name || it.id.as_deref() == Some(name) || it.path == name;
        let mut meant = files.iter_mut().filter(|it| is_meant(it));
        let Some(first) = meant.next() else {
            self.found.push(Diagnostic::error(
                file,
                place,
                format!("the agent `{name}` has no file"),
                format!("add agents/{name}.afs, or correct the name"),
            ));
            return None;
        };
        first.is_listed = true;
        let path = first.path.clone();
        for second in meant {
            second.is_listed = true;
            self.found.push(Diagnostic::error(
                &second.path,
                Place::START,
                format!("this is a second file of the agent `{name}`, beside {path}"),
                "keep one of them",
            ));
        }
        let node = self.document(&path)?;
        self.agent(&path, &node, "", &AGENT_FILE, common)
    }

    /// The id once it is known, and the agent once nothing is wrong.
    fn agent(
        &mut self,
        file: &str,
        node: &Node,
        path: &str,
        table: &Table,
        common: &Common<'_>,
    ) -> Option<(String, Option<Agent>)> {
        let fitting = Checker { file, aliases: common.aliases, found: &mut self.found }
            .table(node, path, table);
        let id = fitting.get("id")?.as_str()?.to_owned();
        if !common.has_model && !names_text(node.get("llm_models")) {
            self.found.push(Diagnostic::error(
                file,
                node.place,
                format!("the agent `{id}` has no model of the capability `text`"),
                "add `llm.models: [{text: provider/model}]` to the manifest",
            ));
        }
        let agent = self.typed(file, fitting);
        Some((id, agent))
    }

    /// `agents/<stem>.afs` and `agents/<id>/<id>.afs`, in all spellings of the extension.
    fn agent_files(&mut self) -> Vec<AgentFile> {
        let mut files = Vec::new();
        for listed in self.folder.list("agents") {
            if listed.is_dir {
                let folder = &listed.name;
                for extension in EXTENSIONS {
                    let path = format!("agents/{folder}/{folder}{extension}");
                    if self.folder.has(&path) {
                        files.push(self.agent_file(path, folder));
                    }
                }
            } else if let Some(stem) = EXTENSIONS.iter().find_map(|it| listed.name.strip_suffix(it))
            {
                files.push(self.agent_file(format!("agents/{}", listed.name), stem));
            }
        }
        files
    }

    fn agent_file(&self, path: String, stem: &str) -> AgentFile {
        // A file that cannot be read is told of when it is listed.
        let text = self.folder.text(&path).ok().flatten().unwrap_or_default();
        let node = crate::yaml::parse(&path, &text).ok();
        let id = node.and_then(|node| Some(node.get("id")?.as_text()?.written.clone()));
        AgentFile { path, stem: stem.to_owned(), id, is_listed: false }
    }
}
