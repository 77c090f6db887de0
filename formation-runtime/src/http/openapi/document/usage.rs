//! What model calls used and cost.

use muxi_contract::envelope::Envelope;
use muxi_contract::formation::usage::{GroupBy, UsageReport};

use super::parameters::AnyUser;

/// What model calls used and cost
///
/// Of one user; of everybody when the operator names none. Calls are remembered for about three years.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", operation_id = "get_usage",
    security(("client" = []), ("admin" = [])),
    params(AnyUser,
        ("from" = Option<String>, Query, description = "Calls from this time on", format = DateTime),
        ("to" = Option<String>, Query, description = "Calls before this time", format = DateTime),
        ("group_by" = Option<GroupBy>, Query, description = "By what the sums are told apart; by `model` if it is left out"),
        ("limit" = Option<u32>, Query, description = "At most so many groups", minimum = 1, maximum = 1000)),
    extensions(("x-answer" = json!("usage usage.retrieved"))),
    responses((status = 200, description = "The sums, and what is left of the budgets", body = Envelope<UsageReport>)))]
pub(super) fn get() {}
