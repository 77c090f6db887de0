//! Procedures and skills, which a bundle cannot have yet.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SopList {
    pub sops: Vec<SopSummary>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SopSummary {
    pub name: String,
    pub title: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub steps: u32,
    pub agents_used: Vec<String>,
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
    pub scope: String,
}
