//! `/v1/requests/{id}/explanation`: why a request went as it did.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::chat::Usage;
use crate::ids::RequestId;

/// From what was written down while it was worked on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    pub request_id: RequestId,
    pub status: String,
    /// Who answered, for as long as the session is kept.
    pub agent_id: Option<String>,
    /// In the order in which they were made.
    pub decisions: Vec<Decision>,
    /// In the order in which they ended.
    pub tools_called: Vec<ToolCalled>,
    pub model_calls: Vec<ModelCall>,
    /// The sum of the calls.
    pub usage: Usage,
    /// What came of the parts of a plan.
    pub tasks: Vec<TaskOutcome>,
    /// Requests in which the work went on after it had asked its user.
    pub went_on_in: Vec<RequestId>,
}

/// One choice, and its reason in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// What was decided, in a word.
    #[schema(example = "agent")]
    pub step: String,
    #[schema(example = "researcher")]
    pub choice: String,
    pub reason: String,
    /// What it was chosen from, if that was kept.
    #[schema(value_type = Option<Object>)]
    pub detail: Option<Value>,
    /// ISO 8601.
    pub at: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToolCalled {
    pub tool: String,
    /// In words.
    pub outcome: String,
    /// Who called it and how long it took, as far as that was kept.
    #[schema(value_type = Option<Object>)]
    pub detail: Option<Value>,
    /// ISO 8601.
    pub at: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelCall {
    #[schema(example = "openai/gpt-5-mini")]
    pub model: String,
    /// For whom; `overlord` where it was the formation itself, such as to choose who answers.
    pub agent_id: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// In the currency of the manifest; absent where the model has no price.
    pub cost: Option<f64>,
    /// Whether the tokens were estimated, since the call ended before its provider told them.
    pub is_estimated: bool,
    /// ISO 8601.
    pub at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskOutcome {
    pub id: String,
    /// `completed`, `failed` or `skipped`.
    pub status: String,
    /// ISO 8601.
    pub at: String,
}
