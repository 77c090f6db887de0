//! The `coding` block, its adapter, and what the manifest says of approvals.

use camino::Utf8Path;
use serde_yaml::{Mapping, Value};

use super::Reading;
use super::servers::Servers;
use crate::coding::{Adapter, AdapterFields, BUNDLED, Coding, CodingFields};
use crate::diagnostic::Diagnostic;
use crate::interpolate::{Resolve, Source, placeholders};
use crate::schema::{ADAPTER, CODING, closest};
use crate::yaml::{self, Content, Node, Text};

const FOLDER: &str = "coding";
const EXTENSIONS: [&str; 2] = [".yaml", ".yml"];
/// The keys of an adapter that is written into the block.
const INLINE: [&str; 4] = ["command", "args", "output", "parse"];

// === impl Reading ===

impl Reading<'_> {
    /// `None` when there is no block, or a fault was told.
    pub(super) fn coding(&mut self, root: &Node) -> Option<Coding> {
        let block = root.get(FOLDER)?;
        let file = self.manifest;
        let mut fitting = self.checker(file).table(block, FOLDER, &CODING);
        self.secrets_of_coding(block);
        self.workdirs(block);
        let written = INLINE.iter().find_map(|key| block.get(key));
        let adapter = match (block.get("client"), written) {
            (Some(_), Some(second)) => {
                let message = "`coding` names a client and describes one";
                let mend = "keep `client`, or `command` with `args`";
                self.found.push(Diagnostic::error(file, second.place, message, mend));
                None
            }
            (None, None) => {
                let message = "`coding` does not say which client does the work";
                let mend = "write `client: claude-code`, or `command` with `args`";
                self.found.push(Diagnostic::error(file, block.place, message, mend));
                None
            }
            (Some(client), None) => self.client(client, fitting.get("client")),
            (None, Some(_)) => self.inline_adapter(block, &fitting),
        };
        for key in INLINE.into_iter().chain(["client"]) {
            fitting.remove(key);
        }
        let fields: Option<CodingFields> = self.typed(file, fitting);
        let adapter = adapter?;
        if let Some(Content::List(extra)) = block.get("extra_args").map(|it| &it.content) {
            for (node, text) in extra.iter().filter_map(|it| Some((it, it.as_text()?))) {
                if adapter.forbids(&text.written) {
                    let message = format!(
                        "`{}` would change how `{}` is called or read",
                        text.written, adapter.name
                    );
                    self.found.push(Diagnostic::error(file, node.place, message, "remove it"));
                }
            }
        }
        if let Some(model) = block.get("model")
            && adapter.args.model.is_empty()
        {
            let message = format!("`coding.model` has no effect: `{}` takes none", adapter.name);
            self.found.push(Diagnostic::warning(file, model.place, message, "remove it"));
        }
        Some(Coding::new(fields?, adapter))
    }

    /// The adapter of a file in the bundle, else the one that comes with this version.
    fn client(&mut self, node: &Node, name: Option<&Value>) -> Option<Adapter> {
        let name = name?.as_str()?;
        let own = EXTENSIONS.map(|it| format!("{FOLDER}/{name}{it}"));
        if let Some(file) = own.iter().find(|it| self.folder.has(it)) {
            let document = self.document(file)?;
            return self.adapter(file, name, &document);
        }
        if let Some((_, text)) = BUNDLED.iter().find(|(bundled, _)| *bundled == name) {
            let document = yaml::parse(name, text).ok()?;
            return self.adapter(name, name, &document);
        }
        let mend = match closest(name, BUNDLED.iter().map(|(name, _)| *name)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => {
                format!("add {}, or write one of {}", own[0], BUNDLED.map(|it| it.0).join(", "))
            }
        };
        let message = format!("there is no adapter for the client `{name}`");
        self.found.push(Diagnostic::error(self.manifest, node.place, message, mend));
        None
    }

    fn adapter(&mut self, file: &str, name: &str, document: &Node) -> Option<Adapter> {
        let fitting = self.checker(file).table(document, "", &ADAPTER);
        let fields: AdapterFields = self.typed(file, fitting)?;
        self.adapter_faults(file, "", document, &fields).then(|| fields.into_adapter(name))
    }

    fn inline_adapter(&mut self, block: &Node, fitting: &Mapping) -> Option<Adapter> {
        let file = self.manifest;
        for key in ["command", "args"] {
            if block.get(key).is_none() {
                let message = format!("`{FOLDER}.{key}` is missing");
                self.found.push(Diagnostic::error(file, block.place, message, "add it"));
            }
        }
        let own =
            INLINE.iter().filter_map(|key| Some((Value::from(*key), fitting.get(key)?.clone())));
        let fields: AdapterFields = self.typed(file, own.collect())?;
        let command = fields.command.clone();
        let is_good = self.adapter_faults(file, "coding.", block, &fields);
        is_good.then(|| fields.into_adapter(&command))
    }

    fn adapter_faults(
        &mut self,
        file: &str,
        prefix: &str,
        node: &Node,
        fields: &AdapterFields,
    ) -> bool {
        let faults = fields.faults();
        for (key, message, mend) in &faults {
            let found = key.split('.').try_fold(node, |node, key| node.get(key));
            let place = found.map_or(node.place, |it| it.place);
            let message = format!("`{prefix}{key}` {message}");
            self.found.push(Diagnostic::error(file, place, message, *mend));
        }
        faults.is_empty()
    }

    /// Arguments are seen by everybody on a machine, so secrets go through the environment alone.
    fn secrets_of_coding(&mut self, block: &Node) {
        let Content::Map(entries) = &block.content else { return };
        let (file, found) = (self.manifest, &mut self.found);
        for entry in entries.iter().filter(|it| it.key != "env") {
            entry.value.clone().texts_mut(&mut |place, text: &mut Text| {
                let is_secret = |it: &(Source, &str)| it.0 == Source::Secrets;
                if placeholders(&text.written).iter().any(is_secret) {
                    let message = format!("`{FOLDER}.{}` cannot have a secret", entry.key);
                    let mend = "only `coding.env` can: give it as a variable";
                    found.push(Diagnostic::error(file, place, message, mend));
                }
            });
        }
    }

    /// They must be there, which only the machine that runs the formation can tell.
    fn workdirs(&mut self, block: &Node) {
        let Some(node) = block.get("workdirs") else { return };
        let Content::List(entries) = &node.content else { return };
        let file = self.manifest;
        if entries.is_empty() {
            let message = "`coding.workdirs` is empty, so no job has a place to work";
            self.found.push(Diagnostic::error(file, node.place, message, "list one folder"));
        }
        for (node, text) in entries.iter().filter_map(|it| Some((it, it.as_text()?))) {
            if text.is_kept() {
                continue;
            }
            let path = Utf8Path::new(text.value());
            let is_outside =
                path.is_relative() && crate::schema::path_inside(path.as_str()).is_err();
            let is_missing = matches!(self.resolve, Resolve::With(_))
                && if path.is_absolute() {
                    !path.is_dir()
                } else {
                    !self.folder.has_folder(path.as_str())
                };
            let (message, mend) = if is_outside {
                ("leads out of the bundle", "write the whole path, or one below the bundle")
            } else if is_missing {
                ("is not a folder of this machine", "make it, or correct the path")
            } else {
                continue;
            };
            let message = format!("the work folder `{}` {message}", text.written);
            self.found.push(Diagnostic::error(file, node.place, message, mend));
        }
    }

    /// The servers that `approvals` names.
    pub(super) fn approvals(&mut self, root: &Node, servers: &Servers) {
        let Some(block) = root.get("approvals") else { return };
        let trusted = block.get("trusted_servers").map(Node::items).unwrap_or_default();
        for (node, text) in trusted.iter().filter_map(|it| Some((it, it.as_text()?))) {
            if servers.ids().any(|id| id == text.written) {
                continue;
            }
            let mend = match closest(&text.written, servers.ids()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "list it in `mcp.servers`, or remove it here".to_owned(),
            };
            let message = format!("the server `{}` is not one of the formation's", text.written);
            self.found.push(Diagnostic::error(self.manifest, node.place, message, mend));
        }
        let rules = block.get("rules").map(Node::items).unwrap_or_default();
        let tools = rules.iter().filter_map(|rule| rule.get("tool"));
        for (node, text) in tools.filter_map(|it| Some((it, it.as_text()?))) {
            let Some((server, _)) = text.written.split_once('/') else { continue };
            if !servers.ids().any(|id| crate::pattern::matches(server, id)) {
                let message = format!("`{}` fits no server of the formation", text.written);
                let mend = "correct the name before the slash, or remove the rule";
                self.found.push(Diagnostic::warning(self.manifest, node.place, message, mend));
            }
        }
    }
}
