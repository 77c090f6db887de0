//! The formation's agents.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// In the manifest's order: the first one answers messages that name none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentList {
    pub agents: Vec<Agent>,
    pub count: usize,
}

/// An agent as its author wrote it, with its placeholders and without keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    #[schema(example = "helper")]
    pub id: String,
    pub name: Option<String>,
    pub description: String,
    pub system_message: Option<String>,
    pub role: Option<String>,
    pub specialties: Vec<String>,
    pub specialization: AgentSpecialization,
    #[schema(example = "openai/gpt-4o")]
    pub model: String,
    pub settings: AgentSettings,
    pub version: Option<String>,
    pub author: Option<String>,
    pub url: Option<String>,
    pub license: Option<String>,
    /// Whatever its author wrote; null if that is nothing.
    pub metadata: Value,
    /// Always `formation`.
    #[schema(example = "formation")]
    pub source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentSpecialization {
    pub domain: Option<String>,
    pub subdomain: Option<String>,
    pub expertise_level: Option<String>,
    pub keywords: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentSettings {
    pub temperature: f64,
    pub max_tokens: u32,
}
