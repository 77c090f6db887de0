//! An agent as its file or the manifest describes it.

use serde::{Deserialize, Deserializer};

use super::{ModelSettings, Models};
use crate::filter::ToolFilter;

#[derive(Debug, Clone, Deserialize)]
pub struct Agent {
    pub id: String,
    pub name: Option<String>,
    /// What routing goes by, with the role and the specialties.
    pub description: String,
    pub system_message: Option<String>,
    pub role: Option<String>,
    #[serde(default)]
    pub specialties: Vec<String>,
    #[serde(default)]
    pub specialization: Specialization,
    pub specialization_domain: Option<String>,
    #[serde(default)]
    pub specialization_keywords: Vec<String>,
    #[serde(default)]
    pub system_behavior: SystemBehavior,
    /// This and the three after it are for people: shown, and without effect.
    pub version: Option<String>,
    pub author: Option<String>,
    pub url: Option<String>,
    pub license: Option<String>,
    #[serde(default)]
    pub metadata: serde_json::Value,
    #[serde(default, rename = "llm_models")]
    pub models: Models,
    /// Of all models of this agent that do not say otherwise themselves.
    #[serde(default)]
    pub llm_settings: ModelSettings,
    #[serde(default)]
    pub mcp_servers: Vec<Attachment>,
    /// Names of skills that are this agent's and not everybody's.
    #[serde(default)]
    pub skills: Vec<String>,
    #[serde(default)]
    pub a2a: AgentA2a,
    #[serde(default)]
    pub timeout: AgentTimeout,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Specialization {
    pub domain: Option<String>,
    pub subdomain: Option<String>,
    pub expertise_level: Option<String>,
    pub keywords: Vec<String>,
}

/// How the agent behaves, in words of a closed list and in the author's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SystemBehavior {
    pub constraints: Vec<String>,
    pub capabilities: Vec<String>,
    pub interaction_style: Option<String>,
    pub response_length: Option<String>,
    pub error_handling: Option<String>,
}

/// A server whose tools the agent gets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    pub server: String,
    /// Narrows what the server's own filter lets through.
    #[serde(default)]
    pub tools: ToolFilter,
}

/// With whom the agent may work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AgentA2a {
    /// With the other agents of the formation.
    pub internal: bool,
    /// With agents elsewhere.
    pub external: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AgentTimeout {
    /// Of one answer of its model.
    #[serde(rename = "default")]
    pub default_seconds: u32,
    /// Of all its work on a message or a task, with its tools.
    #[serde(rename = "max")]
    pub max_seconds: u32,
}

/// A switch of things that have names: all, none, or some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Selection {
    #[default]
    All,
    Nothing,
    Only(Vec<String>),
}

// === impl SystemBehavior ===

impl SystemBehavior {
    /// As a model is told it, below the system message; `None` when nothing is set.
    pub fn instructions(&self) -> Option<String> {
        let mut lines: Vec<String> = Vec::new();
        for (title, entries) in [
            ("What you can do:", &self.capabilities),
            ("What you must keep to:", &self.constraints),
        ] {
            if !entries.is_empty() {
                lines.push(title.to_owned());
                lines.extend(entries.iter().map(|it| format!("- {}", it.trim())));
            }
        }
        let style = self.interaction_style.as_deref().map(|style| match style {
            "formal" => "Write in a formal tone.",
            "casual" => "Write in a casual tone.",
            "technical" => "Write for readers who know the technical terms.",
            "friendly" => "Write in a warm and friendly tone.",
            _ => "Write in a professional tone.",
        });
        let length = self.response_length.as_deref().map(|length| match length {
            "concise" => "Keep answers short.",
            "detailed" => "Answer in detail.",
            "comprehensive" => "Answer in full, with everything that matters.",
            _ => "Answer at moderate length.",
        });
        let errors = self.error_handling.as_deref().map(|handling| match handling {
            "explicit" => "When something fails, say exactly what failed.",
            "technical" => "When something fails, give the technical details.",
            "user-friendly" => {
                "When something fails, explain it in plain words and say what helps."
            }
            _ => "When something fails, go on with what works and say what is missing.",
        });
        lines.extend([style, length, errors].into_iter().flatten().map(str::to_owned));
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

// === impl AgentA2a ===

impl Default for AgentA2a {
    fn default() -> Self {
        Self { internal: true, external: true }
    }
}

// === impl AgentTimeout ===

impl Default for AgentTimeout {
    fn default() -> Self {
        Self { default_seconds: 300, max_seconds: 600 }
    }
}

// === impl Selection ===

impl Selection {
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Only(names) => names.iter().any(|it| it == name),
        }
    }
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Switch(bool),
            Names(Vec<String>),
        }
        Ok(match Written::deserialize(from)? {
            Written::Switch(true) => Self::All,
            Written::Switch(false) => Self::Nothing,
            Written::Names(names) => Self::Only(names),
        })
    }
}
