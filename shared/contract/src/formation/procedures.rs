//! Procedures and skills of a bundle.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SopList {
    pub sops: Vec<SopSummary>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SopSummary {
    /// Also what follows a slash in a chat.
    pub name: String,
    pub title: String,
    /// `template` or `guide`.
    #[serde(rename = "type")]
    pub kind: String,
    pub steps: usize,
    pub agents_used: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sop {
    pub name: String,
    pub title: String,
    /// `template` or `guide`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text below its head, with the files that it names written out.
    pub content: String,
    pub metadata: SopMetadata,
    /// Files that it names, relative to `sops/`.
    pub references: Vec<String>,
    pub agents_used: Vec<String>,
    pub steps: Vec<SopStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SopMetadata {
    pub description: String,
    pub tags: Vec<String>,
    /// Whether it runs without a yes to its plan.
    pub bypass_approval: bool,
    /// Whether its results become one answer; else the last one goes out as it is.
    pub synthesis: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SopStep {
    pub number: u32,
    pub title: Option<String>,
    pub text: String,
    pub agent: Option<String>,
    pub is_parallel: bool,
    pub is_critical: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SkillList {
    pub skills: Vec<SkillSummary>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentSkillList {
    pub skills: Vec<SkillSummary>,
    pub agent_id: String,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SkillSummary {
    pub name: String,
    pub description: String,
    /// `formation`, or the agent whose own it is.
    pub scope: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Skill {
    pub name: String,
    pub description: String,
    /// `formation`, or the agent whose own it is.
    pub scope: String,
    pub license: Option<String>,
    pub compatibility: Option<String>,
    /// Patterns of the only tools that may be used with it; null restricts nothing.
    pub allowed_tools: Option<Vec<String>>,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Files beside its text, relative to its folder.
    pub resources: Vec<String>,
    pub scripts: Vec<String>,
}
