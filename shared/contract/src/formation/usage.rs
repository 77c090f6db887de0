//! What model calls used and cost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::UserId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// Whose usage it is; null for everybody's.
    pub user_id: Option<UserId>,
    #[schema(example = "USD")]
    pub currency: String,
    /// The beginning of the time that is summed up, if one was named.
    #[schema(format = DateTime)]
    pub from: Option<String>,
    /// Its end, which does not belong to it.
    #[schema(format = DateTime)]
    pub to: Option<String>,
    pub total: UsageSums,
    pub group_by: GroupBy,
    /// Those with the most tokens first.
    pub groups: Vec<UsageGroup>,
    /// The formation's for the operator, the user's for who names one.
    pub budgets: Vec<UsageBudget>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageSums {
    pub calls: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
    /// In the report's currency.
    pub cost: f64,
    /// Calls of models without a price, which are not in the cost.
    pub unpriced_calls: u64,
    /// Calls whose provider did not count tokens, so that they were estimated; they are in the sums.
    pub estimated_calls: u64,
}

/// By what sums are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    Request,
    User,
    Session,
    Agent,
    Model,
}

/// The sums of one request, user, session, agent or model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageGroup {
    #[serde(flatten)]
    pub sums: UsageSums,
    #[serde(flatten)]
    pub of: UsageOf,
}

/// Its id, under the name that the report's `group_by` has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UsageOf {
    Request(String),
    User(String),
    Session(String),
    Agent(String),
    Model(String),
}

/// What may be used up in one hour, day or month of UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageBudget {
    /// `formation` or `user`.
    pub of: String,
    /// `hour`, `day` or `month`.
    pub per: String,
    /// Null if tokens are not limited.
    pub tokens: Option<u64>,
    /// In the report's currency; null if money is not limited.
    pub money: Option<f64>,
    pub used_tokens: u64,
    pub used_money: f64,
    #[schema(format = DateTime)]
    pub resets_at: String,
}

// === impl GroupBy ===

impl GroupBy {
    pub const ALL: [Self; 5] = [Self::Request, Self::User, Self::Session, Self::Agent, Self::Model];

    /// As it stands in questions and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::User => "user",
            Self::Session => "session",
            Self::Agent => "agent",
            Self::Model => "model",
        }
    }

    /// The name of one of these.
    pub const fn of(self, id: String) -> UsageOf {
        match self {
            Self::Request => UsageOf::Request(id),
            Self::User => UsageOf::User(id),
            Self::Session => UsageOf::Session(id),
            Self::Agent => UsageOf::Agent(id),
            Self::Model => UsageOf::Model(id),
        }
    }
}
