//! From a bundle's folder to a checked formation, or to everything that is wrong with it.

mod agents;
mod coding;
mod components;
mod content;
mod entrusted;
mod heads;
mod procedures;
mod remote;
mod servers;
mod skills;
mod triggers;

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

use crate::MANIFEST_NAMES;
use crate::check::{self, Checker};
use crate::coding::Coding;
use crate::diagnostic::{Diagnostic, Place};
use crate::folder::Folder;
use crate::interpolate::{self, Reference, Resolve, Source};
use crate::manifest::{
    Agent, Capability, ChosenModel, Limits, Manifest, McpServer, OverlordRole, RemoteAgent,
};
use crate::procedure::Procedure;
use crate::schema::{LIMITS, ROOT};
use crate::skill::Skill;
use crate::trigger::Trigger;
use crate::yaml::{self, Content, Node};

/// The persona of a formation that has none of its own.
pub const DEFAULT_SOUL: &str = "You are a helpful assistant. Answer the question that was asked, \
    briefly and in plain words. When you do not know something, say so.";

const SOUL_NAMES: [&str; 2] = ["SOUL.md", "soul.md"];

/// A formation that can be run.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Boxed, since whoever waits with it in hand would otherwise carry all of it.
    pub manifest: Box<Manifest>,
    /// In the manifest's order; at least one.
    pub agents: Vec<Agent>,
    /// Verbatim from SOUL.md, else soul.md, else `overlord.soul`, else [`DEFAULT_SOUL`].
    pub soul: String,
    /// By name.
    pub triggers: Vec<Trigger>,
    /// In the manifest's order, and then those that agents bring along.
    pub mcp_servers: Vec<McpServer>,
    /// By path.
    pub procedures: Vec<Procedure>,
    /// One that several agents list is there for each of them.
    pub skills: Vec<Skill>,
    pub remote_agents: Vec<RemoteAgent>,
    pub coding: Option<Coding>,
    /// Each placeholder once, where it stands first.
    pub references: Vec<Reference>,
    pub warnings: Vec<Diagnostic>,
}

/// Reads and checks the bundle in `folder`. It blocks: call it where blocking is allowed.
///
/// The error holds every fault and every warning, by file, line and column.
pub fn load(folder: &Path, resolve: Resolve<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let folder = Folder::open(folder).map_err(|error| {
        let message = format!("the bundle's folder cannot be opened ({error})");
        vec![Diagnostic::error(MANIFEST_NAMES[0], Place::START, message, "name a folder")]
    })?;
    let file = manifest_name(&folder).map_err(|fault| vec![fault])?;
    let mut reading = Reading::new(&folder, file, resolve);
    let loaded = reading.formation();
    let Reading { references, mut found, .. } = reading;
    found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    match loaded {
        Some(loaded) if !found.iter().any(Diagnostic::is_error) => {
            Ok(Loaded { references, warnings: found, ..loaded })
        }
        _ => Err(found),
    }
}

/// The manifest's own limits alone, from a bundle that was checked before; what cannot be read sets
/// none. It blocks, but only for one small file.
pub fn limits(folder: &Path) -> Limits {
    let read = || {
        let folder = Folder::open(folder).ok()?;
        let file = manifest_name(&folder).ok()?;
        let root = yaml::parse(file, &folder.text(file).ok()??).ok()?;
        let (aliases, mut found) = (BTreeMap::new(), Vec::new());
        let mut checker = Checker { file, aliases: &aliases, found: &mut found };
        let fitting = checker.table(root.get("limits")?, "limits", &LIMITS);
        serde_yaml::from_value(Value::Mapping(fitting)).ok()
    };
    read().unwrap_or_default()
}

/// One pass over a bundle.
struct Reading<'a> {
    folder: &'a Folder,
    /// The manifest's name.
    manifest: &'static str,
    resolve: Resolve<'a>,
    /// `llm.aliases`, once the manifest is read.
    aliases: BTreeMap<String, String>,
    references: Vec<Reference>,
    found: Vec<Diagnostic>,
}

// === impl Loaded ===

impl Loaded {
    /// The skills that an agent may use.
    pub fn skills_of(&self, agent: &str) -> impl Iterator<Item = &Skill> {
        self.skills.iter().filter(move |skill| skill.scope.includes(agent))
    }

    /// What the overlord decides or answers with: its own model, else the formation's, else that of
    /// the first agent that has one.
    pub fn overlord_model(&self, role: OverlordRole) -> Option<ChosenModel> {
        let llm = &self.manifest.llm;
        llm.choose_overlord(&self.manifest.overlord.llm, role)
            .or_else(|| self.agents.iter().find_map(|agent| llm.choose(agent, Capability::Text)))
    }

    /// Keys that stand in the bundle itself, so that no log shows them; what comes from the vault or
    /// the environment is known already.
    pub fn entrusted(&self) -> Vec<SecretString> {
        entrusted::all(self)
    }
}

// === impl Reading ===

impl<'a> Reading<'a> {
    fn new(folder: &'a Folder, manifest: &'static str, resolve: Resolve<'a>) -> Self {
        let (aliases, references, found) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { folder, manifest, resolve, aliases, references, found }
    }

    /// `None` only when a fault was told.
    fn formation(&mut self) -> Option<Loaded> {
        let file = self.manifest;
        let root = self.document(file)?;
        self.aliases = check::aliases(&root);
        let mut fitting = self.checker(file).table(&root, "", &ROOT);
        self.checker(file).logging(&root);
        if let Some(mcp) = fitting.remove("mcps") {
            fitting.insert(Value::from("mcp"), mcp);
        }
        let models = root.get("llm").and_then(|llm| llm.get("models"));
        let mut servers = self.servers(&root);
        let agents = self.agents(&root, names_text(models), &mut servers);
        let skills = self.skills(&root, &agents.ids, &agents.skills);
        let remote = self.remote_agents(&root);
        let coding = self.coding(&root);
        let procedures = self.procedures(&agents.ids, &servers, &skills);
        self.approvals(&root, &servers);
        let soul = self.soul(&fitting);
        let triggers = self.triggers();
        content::refuse_unbuilt(self.folder, &mut self.found);
        self.secrets();
        let manifest: Box<Manifest> = self.typed(file, fitting)?;
        let remote = remote.into_iter().map(|it| RemoteAgent::new(it, &manifest.a2a.outbound));
        Some(Loaded {
            agents: agents.typed,
            soul,
            triggers,
            mcp_servers: servers.decided(&manifest.mcp),
            procedures,
            skills,
            remote_agents: remote.collect(),
            coding,
            references: Vec::new(),
            warnings: Vec::new(),
            manifest,
        })
    }

    /// Parses a file that must be there and fills in its placeholders.
    fn document(&mut self, file: &str) -> Option<Node> {
        let text = match self.folder.text(file) {
            Ok(text) => text?,
            Err(fault) => {
                self.found.push(fault);
                return None;
            }
        };
        match yaml::parse(file, &text) {
            Ok(mut node) => {
                let (references, found) = (&mut self.references, &mut self.found);
                interpolate::fill(file, &mut node, self.resolve, references, found);
                Some(node)
            }
            Err(faults) => {
                self.found.extend(faults);
                None
            }
        }
    }

    /// The typed form of a checked map; nothing while the bundle has faults.
    fn typed<T: DeserializeOwned>(&mut self, file: &str, fitting: Mapping) -> Option<T> {
        if self.found.iter().any(Diagnostic::is_error) {
            return None;
        }
        let typed = serde_yaml::from_value(Value::Mapping(fitting));
        // The table and the types agree, so this is for the day they do not. The parser's own words
        // are left out because they could quote a secret.
        if typed.is_err() {
            let message = "the file does not fit the schema in a way that has no place";
            self.found.push(Diagnostic::error(file, Place::START, message, "report this fault"));
        }
        typed.ok()
    }

    fn soul(&mut self, root: &Mapping) -> String {
        for name in SOUL_NAMES {
            match self.folder.text(name) {
                Ok(Some(soul)) if soul.trim().is_empty() => self.found.push(Diagnostic::warning(
                    name,
                    Place::START,
                    "the file is empty and has no effect",
                    "write the formation's persona or remove the file",
                )),
                Ok(Some(soul)) => return soul,
                Ok(None) => {}
                Err(fault) => self.found.push(fault),
            }
        }
        let inline = root.get("overlord").and_then(|overlord| overlord.get("soul")?.as_str());
        inline.unwrap_or(DEFAULT_SOUL).to_owned()
    }

    /// Secrets may also come from the runtime's environment, so their absence is only a warning.
    fn secrets(&mut self) {
        let mut secrets = self.references.iter().filter(|it| it.source == Source::Secrets);
        if let Resolve::With(look_up) = self.resolve
            && secrets.clone().all(|it| look_up(it.source, &it.name).is_some())
        {
            return;
        }
        let Some(first) = secrets.next() else { return };
        let (message, mend) = match (self.folder.has("secrets.enc"), self.folder.has(".key")) {
            (true, true) => return,
            (true, false) => ("secrets.enc is there without its key", "put .key beside it"),
            (false, _) => (
                "secrets are used and there is no secrets.enc",
                "add it, or set them in the environment of the runtime",
            ),
        };
        let place = Place { line: first.line, column: first.column };
        self.found.push(Diagnostic::warning(&first.file, place, message, mend));
    }
}

// === private helpers ===

/// Whether a model for text is named; what is wrong with it is told elsewhere.
fn names_text(models: Option<&Node>) -> bool {
    match models.map(|node| &node.content) {
        Some(Content::List(entries)) => entries.iter().any(|entry| entry.get("text").is_some()),
        Some(Content::Map(_)) => models.is_some_and(|models| models.get("text").is_some()),
        Some(Content::Null) | None => false,
        Some(Content::Bool(_) | Content::Number(_) | Content::Text(_)) => true,
    }
}

fn manifest_name(folder: &Folder) -> Result<&'static str, Diagnostic> {
    let present: Vec<&str> = MANIFEST_NAMES.into_iter().filter(|name| folder.has(name)).collect();
    match present[..] {
        [name] => Ok(name),
        [] => Err(Diagnostic::error(
            MANIFEST_NAMES[0],
            Place::START,
            "the bundle has no manifest",
            format!("add one of {}", MANIFEST_NAMES.join(", ")),
        )),
        [first, second, ..] => Err(Diagnostic::error(
            second,
            Place::START,
            format!("the bundle has a second manifest beside {first}"),
            "keep one of them",
        )),
    }
}
