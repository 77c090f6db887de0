//! Skills: instructions that an agent reads when it needs them, with files and scripts beside them.

use serde_json::{Map, Value};

use crate::manifest::ModelName;

/// One folder with a `SKILL.md`.
#[derive(Debug, Clone, PartialEq)]
pub struct Skill {
    pub name: String,
    /// What a model chooses by.
    pub description: String,
    pub license: Option<String>,
    pub compatibility: Option<String>,
    /// Patterns of the only tools that may be used with it; `None` restricts nothing.
    pub allowed_tools: Option<Vec<String>>,
    pub metadata: Map<String, Value>,
    pub model: Option<ModelName>,
    /// The text below the head, placeholders and all: they are filled in when the skill is activated.
    pub body: String,
    /// Relative to the bundle.
    pub folder: String,
    /// Files beside `SKILL.md` that are no scripts, relative to the folder.
    pub resources: Vec<String>,
    /// Files below `scripts/`, relative to the folder.
    pub scripts: Vec<String>,
    pub scope: SkillScope,
}

/// Whose a skill is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkillScope {
    Formation,
    Agent(String),
}

// === impl SkillScope ===

impl SkillScope {
    pub fn includes(&self, agent: &str) -> bool {
        match self {
            Self::Formation => true,
            Self::Agent(owner) => owner == agent,
        }
    }
}

// === impl Skill ===

impl Skill {
    /// The script that a procedure or a model names, with or without its folder.
    pub fn script(&self, name: &str) -> Option<&str> {
        let is_meant = |it: &&String| *it == name || it.strip_prefix("scripts/") == Some(name);
        self.scripts.iter().find(is_meant).map(String::as_str)
    }
}
