//! The skills of the formation and of single agents.

use serde::Deserialize;
use serde_json::{Map, Value as Json};
use serde_yaml::Value;

use super::Reading;
use super::agents::Listed;
use super::heads::Headed;
use crate::diagnostic::{Diagnostic, Place};
use crate::interpolate::{Reference, Resolve, placeholders};
use crate::manifest::ModelName;
use crate::schema::{SKILL, closest};
use crate::skill::{Skill, SkillScope};
use crate::yaml::{Content, Node};

const FOLDER: &str = "skills";
const FILE: &str = "SKILL.md";
/// The skills that come with this version.
pub(crate) const BUILTIN: [&str; 3] = ["file-generation", "compute", "generative-ui"];
/// Of all formations' and agents' skills together.
const SKILLS_MAX: usize = 500;
/// Of one skill, with its resources and scripts.
const FILES_MAX: usize = 1_000;
const DEPTH_MAX: usize = 8;

#[derive(Default, Deserialize)]
struct Head {
    name: Option<String>,
    description: Option<String>,
    license: Option<String>,
    compatibility: Option<String>,
    #[serde(rename = "allowed-tools")]
    allowed_tools: Option<Vec<String>>,
    #[serde(default)]
    metadata: Option<Map<String, Json>>,
    model: Option<ModelName>,
}

/// A folder with a skill, and whose it is.
struct Found {
    name: String,
    folder: String,
    scopes: Vec<SkillScope>,
}

// === impl Reading ===

impl Reading<'_> {
    /// `of_agents` are the skills that agents list.
    pub(super) fn skills(
        &mut self,
        root: &Node,
        agents: &[String],
        of_agents: &[(String, Listed)],
    ) -> Vec<Skill> {
        let names = self.skill_folders(FOLDER);
        let listed = self.listed_skills(root, &names);
        let mut found: Vec<Found> = Vec::new();
        for name in &names {
            let owners = of_agents.iter().filter(|(_, listed)| listed.name == *name);
            let mut scopes: Vec<SkillScope> =
                owners.map(|(agent, _)| SkillScope::Agent(agent.clone())).collect();
            let is_common = match &listed {
                Some(listed) => listed.contains(name),
                // An agent that lists a skill keeps it from the others, as with servers.
                None => scopes.is_empty(),
            };
            if is_common {
                scopes = vec![SkillScope::Formation];
            }
            let folder = format!("{FOLDER}/{name}");
            if scopes.is_empty() {
                let message = "the manifest does not list this skill, so it will not be loaded";
                let mend = format!("add `{name}` to `skills`, or remove the folder");
                let file = format!("{folder}/{FILE}");
                self.found.push(Diagnostic::warning(&file, Place::START, message, mend));
            }
            found.push(Found { name: name.clone(), folder, scopes });
        }
        for agent in agents {
            let parent = format!("agents/{agent}/{FOLDER}");
            for name in self.skill_folders(&parent) {
                let scopes = vec![SkillScope::Agent(agent.clone())];
                found.push(Found { folder: format!("{parent}/{name}"), name, scopes });
            }
        }
        self.unowned_skills(agents);
        for (agent, Listed { name, file, place }) in of_agents {
            let is_private = |it: &Found| it.scopes.contains(&SkillScope::Agent(agent.clone()));
            let is_there = found.iter().any(|it| {
                it.name == *name && (is_private(it) || it.scopes.contains(&SkillScope::Formation))
            });
            if !is_there && !BUILTIN.contains(&name.as_str()) {
                let known = names.iter().map(String::as_str);
                self.unknown_skill(file, *place, name, known);
            }
        }
        let mut skills = Vec::new();
        for Found { name, folder, scopes } in found.into_iter().take(SKILLS_MAX) {
            let Some(skill) = self.skill(&name, &folder) else { continue };
            skills.extend(scopes.into_iter().map(|scope| Skill { scope, ..skill.clone() }));
        }
        skills
    }

    /// The names that the manifest lists, if it has a list.
    fn listed_skills(&mut self, root: &Node, names: &[String]) -> Option<Vec<String>> {
        let block = root.get("skills")?;
        let list = block.get("names").unwrap_or(block);
        // A map without names leaves all of them in; what is no list is told elsewhere.
        let Content::List(list) = &list.content else { return None };
        let mut listed = Vec::new();
        for entry in list {
            let Some(text) = entry.as_text() else { continue };
            let name = text.written.trim();
            if !names.iter().any(|it| it == name) && !BUILTIN.contains(&name) {
                let file = self.manifest;
                self.unknown_skill(file, entry.place, name, names.iter().map(String::as_str));
            }
            listed.push(name.to_owned());
        }
        Some(listed)
    }

    fn unknown_skill<'n>(
        &mut self,
        file: &str,
        place: Place,
        name: &str,
        known: impl Iterator<Item = &'n str>,
    ) {
        let mend = match closest(name, known.chain(BUILTIN)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("add {FOLDER}/{name}/{FILE}, or correct the name"),
        };
        let message = format!("the skill `{name}` has no folder");
        self.found.push(Diagnostic::error(file, place, message, mend));
    }

    /// Private skills of agents that are not there.
    fn unowned_skills(&mut self, agents: &[String]) {
        for listed in self.folder.list("agents").into_iter().filter(|it| it.is_dir) {
            if agents.contains(&listed.name) {
                continue;
            }
            let parent = format!("agents/{}/{FOLDER}", listed.name);
            for name in self.skill_folders(&parent) {
                let message =
                    format!("the agent `{}` is not loaded, so nobody has this skill", listed.name);
                let mend = "list the agent, or move the folder to `skills/`";
                let file = format!("{parent}/{name}/{FILE}");
                self.found.push(Diagnostic::warning(&file, Place::START, message, mend));
            }
        }
    }

    fn skill_folders(&self, parent: &str) -> Vec<String> {
        let folders = self.folder.list(parent).into_iter().filter(|it| it.is_dir);
        let names = folders.map(|it| it.name);
        names.filter(|name| self.folder.has(&format!("{parent}/{name}/{FILE}"))).collect()
    }

    /// `None` when it is left out, which is told.
    fn skill(&mut self, folder_name: &str, folder: &str) -> Option<Skill> {
        let file = format!("{folder}/{FILE}");
        let headed = self.headed(&file)?;
        let node = self.head(&file, &headed.head);
        let head: Head = match &node {
            Some(node) => {
                let fitting = self.checker(&file).table(node, "", &SKILL);
                // Whatever else is at fault: procedures that name the skill must find it.
                serde_yaml::from_value(Value::Mapping(fitting)).unwrap_or_default()
            }
            None => Head::default(),
        };
        let Some(description) = head.description else {
            let message = "the skill has no `description`, so it will not be loaded";
            let mend = "say in its head when it is to be used";
            self.found.push(Diagnostic::warning(&file, Place::START, message, mend));
            return None;
        };
        if let Some(name) = head.name.as_deref().filter(|it| *it != folder_name) {
            let message = format!("`name` is `{name}` and the folder is `{folder_name}`");
            let place = node.and_then(|it| it.get("name").map(|it| it.place));
            let mend = "rename one of them; the folder's name is used";
            self.found.push(Diagnostic::warning(
                &file,
                place.unwrap_or(Place::START),
                message,
                mend,
            ));
        }
        self.placeholders_of_body(&file, &headed);
        let mut files = Vec::new();
        self.files_below(folder, "", 0, &mut files);
        if files.len() > FILES_MAX {
            let message = format!("the skill has more than {FILES_MAX} files");
            self.found.push(Diagnostic::error(&file, Place::START, message, "remove some"));
        }
        let (scripts, resources): (Vec<String>, Vec<String>) =
            files.into_iter().filter(|it| it != FILE).partition(|it| it.starts_with("scripts/"));
        Some(Skill {
            name: folder_name.to_owned(),
            description,
            license: head.license,
            compatibility: head.compatibility,
            allowed_tools: head.allowed_tools,
            metadata: head.metadata.unwrap_or_default(),
            model: head.model,
            body: headed.body().trim().to_owned(),
            folder: folder.to_owned(),
            resources,
            scripts,
            scope: SkillScope::Formation,
        })
    }

    /// They are filled in when the skill is activated; here only what is missing is told.
    fn placeholders_of_body(&mut self, file: &str, headed: &Headed) {
        for (source, name) in placeholders(headed.body()) {
            let at = headed.body().find(name).unwrap_or_default();
            let place = headed.place(headed.body_start + at);
            if self.references.iter().any(|it| it.source == source && it.name == name) {
                continue;
            }
            if let Resolve::With(look_up) = self.resolve
                && look_up(source, name).is_none()
            {
                let message = format!("`{source}.{name}` is not set, and the skill will lack it");
                self.found.push(Diagnostic::warning(file, place, message, "set it"));
                continue;
            }
            self.references.push(Reference::new(source, name, file, place));
        }
    }

    fn files_below(&self, folder: &str, inner: &str, depth: usize, files: &mut Vec<String>) {
        let parent = if inner.is_empty() { folder.to_owned() } else { format!("{folder}/{inner}") };
        for listed in self.folder.list(&parent) {
            let path =
                if inner.is_empty() { listed.name } else { format!("{inner}/{}", listed.name) };
            if !listed.is_dir {
                files.push(path);
            } else if depth < DEPTH_MAX {
                self.files_below(folder, &path, depth + 1, files);
            }
            if files.len() > FILES_MAX {
                return;
            }
        }
    }
}
