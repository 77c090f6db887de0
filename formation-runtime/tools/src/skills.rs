//! Skills: instructions that a model fetches when it needs them, with files and scripts.
//!
//! A model first sees one line of each skill. It activates one to read the whole, once in a session,
//! reads its files by their names in the list, and runs its scripts in the sandbox.

mod activate;
mod activations;
mod read;
mod run;

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;

use crate::sandbox::Sandbox;
use crate::tool::{Outcome, Tool};

pub use activations::{ActivationFault, Activations, RecentActivations};

/// About a hundred tokens.
const CATALOGUE_LINE_CHARS: usize = 400;
const SKILLS_MAX: usize = 100;
const FILES_MAX: usize = 200;
const DEPTH_MAX: usize = 4;

/// A skill as its loader found it.
#[derive(Debug, Clone)]
pub struct SkillConfig {
    pub name: String,
    pub description: String,
    /// The instructions. Secrets that it refers to are filled in.
    pub body: SecretString,
    /// Of the bundle; it does not change while it is in use.
    pub folder: PathBuf,
    /// Relative to the folder, with `/`.
    pub resources: Vec<String>,
    pub scripts: Vec<String>,
    /// Patterns of tools that may be used while it is active; empty for no restriction.
    pub allowed_tools: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SkillError {
    #[error("there are {0} skills, and at most {SKILLS_MAX} are possible")]
    TooMany(usize),
    #[error("two skills are called `{0}`")]
    Duplicate(String),
    #[error("failed to list the files of a skill in {path}: {source}")]
    Files { path: PathBuf, source: io::Error },
    #[error("the skill in {0} has more than {FILES_MAX} files")]
    TooManyFiles(PathBuf),
}

/// The skills that one agent has.
#[derive(Debug, Clone, Default)]
pub struct Skills(BTreeMap<String, Arc<SkillConfig>>);

/// What is in a skill's folder beside its instructions, both sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SkillFiles {
    pub resources: Vec<String>,
    /// What is below `scripts/`.
    pub scripts: Vec<String>,
}

// === impl Skills ===

impl Skills {
    pub fn new(skills: impl IntoIterator<Item = Arc<SkillConfig>>) -> Result<Self, SkillError> {
        let mut named = BTreeMap::new();
        for skill in skills {
            let name = skill.name.clone();
            if named.insert(name.clone(), skill).is_some() {
                return Err(SkillError::Duplicate(name));
            }
        }
        if named.len() > SKILLS_MAX {
            return Err(SkillError::TooMany(named.len()));
        }
        Ok(Self(named))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Arc<SkillConfig>> {
        self.0.get(name)
    }

    /// For the prompt: one line of each, by name.
    pub fn catalogue(&self) -> String {
        let line = |skill: &Arc<SkillConfig>| {
            let description: Vec<_> = skill.description.split_whitespace().collect();
            let line = format!("- {}: {}", skill.name, description.join(" "));
            match line.char_indices().nth(CATALOGUE_LINE_CHARS) {
                Some((end, _)) => format!("{}…", line[..end].trim_end()),
                None => line,
            }
        };
        self.0.values().map(line).collect::<Vec<_>>().join("\n")
    }

    /// What an agent with these skills can call. Without a sandbox, no script can be run.
    pub fn tools(
        &self,
        activations: Arc<dyn Activations>,
        sandbox: Option<Arc<Sandbox>>,
    ) -> Vec<Arc<dyn Tool>> {
        if self.is_empty() {
            return Vec::new();
        }
        let has_files = |skill: &Arc<SkillConfig>| skill.files().next().is_some();
        let has_scripts = self.0.values().any(|skill| !skill.scripts.is_empty());
        let mut tools: Vec<Arc<dyn Tool>> =
            vec![Arc::new(activate::ActivateSkill::new(self.clone(), activations))];
        if self.0.values().any(has_files) {
            tools.push(Arc::new(read::ReadSkillResource::new(self.clone())));
        }
        if let Some(sandbox) = sandbox.filter(|_| has_scripts) {
            tools.push(Arc::new(run::RunSkill::new(self.clone(), sandbox)));
        }
        tools
    }

    fn find(&self, name: &str) -> Result<&Arc<SkillConfig>, Outcome> {
        self.get(name).ok_or_else(|| {
            let names: Vec<_> = self.0.keys().map(String::as_str).collect();
            Outcome::refused(format!("there is no such skill; there are: {}", names.join(", ")))
        })
    }

    /// For schemas: a model cannot name one that is not there.
    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

// === impl SkillConfig ===

impl SkillConfig {
    fn files(&self) -> impl Iterator<Item = &String> {
        self.resources.iter().chain(&self.scripts)
    }

    /// The path of one of the listed files, if it really lies in the skill's folder.
    fn path_of(&self, listed: &str) -> Result<PathBuf, Outcome> {
        let path = self.folder.join(listed);
        let stays = Path::new(listed).components().all(|part| matches!(part, Component::Normal(_)));
        // A link could lead elsewhere.
        let is_within = match (self.folder.canonicalize(), path.canonicalize()) {
            (Ok(folder), Ok(file)) => file.starts_with(folder),
            (Ok(_), Err(_)) | (Err(_), _) => false,
        };
        if stays && is_within && path.is_file() {
            Ok(path)
        } else {
            Err(Outcome::refused(format!("`{listed}` is no file in the skill's folder")))
        }
    }
}

// === impl SkillFiles ===

impl SkillFiles {
    /// Hidden files and links are left out.
    pub fn of(folder: &Path) -> Result<Self, SkillError> {
        let failed = |source| SkillError::Files { path: folder.to_owned(), source };
        let mut files = Self::default();
        let mut folders = vec![(folder.to_owned(), String::new(), 0)];
        while let Some((path, prefix, depth)) = folders.pop() {
            for entry in std::fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let kind = entry.file_type().map_err(failed)?;
                let relative = format!("{prefix}{name}");
                if name.starts_with('.') || relative == "SKILL.md" {
                    continue;
                }
                if kind.is_dir() && depth < DEPTH_MAX {
                    folders.push((entry.path(), format!("{relative}/"), depth + 1));
                } else if kind.is_file() && relative.starts_with("scripts/") {
                    files.scripts.push(relative);
                } else if kind.is_file() {
                    files.resources.push(relative);
                }
                if files.scripts.len() + files.resources.len() > FILES_MAX {
                    return Err(SkillError::TooManyFiles(folder.to_owned()));
                }
            }
        }
        files.resources.sort();
        files.scripts.sort();
        Ok(files)
    }
}

/// The listed file that a model means, which may leave out the folder or put `./` before it.
fn listed<'a>(
    files: impl Iterator<Item = &'a String>,
    folder: &str,
    named: &str,
) -> Option<&'a str> {
    let named = named.trim().trim_start_matches("./");
    let in_folder = format!("{folder}{named}");
    let mut files = files.map(String::as_str);
    files.find(|file| *file == named || *file == in_folder)
}

#[cfg(test)]
mod tests;
