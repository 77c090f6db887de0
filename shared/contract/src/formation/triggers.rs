//! Triggers: texts that other systems' data is filled in, and that are answered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::chat::Usage;
use crate::formation::artifacts::ArtifactRef;
use crate::ids::{FormationId, RequestId, SessionId, UserId};

/// By name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriggerList {
    pub formation_id: FormationId,
    pub count: usize,
    pub triggers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trigger {
    pub name: String,
    /// The text, with `${{ data.… }}` where the data goes.
    #[schema(example = "Look at issue ${{ data.issue.number }}.")]
    pub content: String,
    /// What the data must have, in order; null if the text takes none.
    #[schema(example = json!(["issue.number"]))]
    pub data_fields: Option<Vec<String>>,
}

/// The data of a trigger, and how it is answered. A body that has no `data`, or anything else beside
/// these three, is itself the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriggerFiring {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Object>)]
    pub data: Option<Map<String, Value>>,
    /// Where it is said and answered; a new session if it is left out.
    pub session_id: Option<SessionId>,
    /// Whether the answer comes later. Wins over `?async=`; true if both are left out.
    pub use_async: Option<bool>,
}

/// The answer to a trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriggerCompleted {
    #[schema(example = "completed")]
    pub status: String,
    /// What was answered.
    pub content: String,
    /// The trigger's name.
    pub trigger: String,
    pub usage: Usage,
    pub user_id: UserId,
    pub session_id: SessionId,
    pub request_id: RequestId,
    /// The files that were made with the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub artifacts: Vec<ArtifactRef>,
    /// What is missing of the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<String>,
}

/// A trigger that is answered later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriggerAccepted {
    #[schema(example = "processing")]
    pub status: String,
    /// The trigger's name.
    pub trigger: String,
    /// Where to look for the answer.
    #[schema(example = "/v1/requests/req_V1StGXR8Z5jdHi6BmyTab")]
    pub poll_url: String,
    pub user_id: UserId,
    pub session_id: SessionId,
    pub request_id: RequestId,
}
