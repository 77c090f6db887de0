//! The secrets of a formation: masked on the way out, never whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretList {
    pub count: usize,
    /// Masked values by name.
    #[schema(example = json!({"OPENAI_API_KEY": "sk-pr••••••9f2c"}))]
    pub secrets: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    #[schema(example = "OPENAI_API_KEY")]
    pub key: String,
    /// Masked.
    #[schema(example = "sk-pr••••••9f2c")]
    pub value: String,
}

/// A secret that was made, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretChanged {
    pub message: String,
    /// The name as it is kept.
    #[schema(example = "OPENAI_API_KEY")]
    pub key: String,
    /// From when on the change counts: `now`, or `next_start` of the formation.
    #[schema(example = "now")]
    pub effective: String,
}

/// What differs from what was in use before: names, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretsReloaded {
    pub message: String,
    pub added: Vec<String>,
    pub overwritten: Vec<String>,
    pub preserved: Vec<String>,
    pub removed: Vec<String>,
    /// Of the changed ones, those that the formation takes in at its start only.
    pub next_start: Vec<String>,
    /// Those in use.
    pub count: usize,
}
