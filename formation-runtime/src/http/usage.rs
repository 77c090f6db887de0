//! What model calls used and cost: by whom and by what, and what is left of the budgets.

use axum::extract::State;
use axum::http::Uri;
use jiff::Timestamp;
use muxi_contract::UserId;
use muxi_contract::formation::usage::{GroupBy, UsageBudget, UsageGroup, UsageReport, UsageSums};
use muxi_memory::{Spent, UsageFilter};

use super::answer::Answer;
use super::auth::{Caller, NamedUser};
use super::error::Problem;
use super::query::Parameters;
use crate::app::{App, Parts};
use crate::usage::{self, money};

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

pub(crate) async fn get(
    caller: Caller,
    NamedUser(user): NamedUser,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = query.number("limit", 1..=LIMIT_MAX, LIMIT);
    let (from, to) = (query.parsed::<Timestamp>("from"), query.parsed::<Timestamp>("to"));
    let group = query.text("group_by").map(str::to_owned).and_then(|name| {
        let group = GroupBy::ALL.into_iter().find(|group| group.name() == name);
        if group.is_none() {
            let names: Vec<&str> = GroupBy::ALL.iter().map(|group| group.name()).collect();
            query.fault("group_by", format!("must be one of {}", names.join(", ")));
        }
        group
    });
    query.finish()?;
    let filter = UsageFilter {
        user: caller.user().cloned(),
        from_ms: from.map(Timestamp::as_millisecond),
        to_ms: to.map(Timestamp::as_millisecond),
    };
    let group = group.unwrap_or(GroupBy::Model);
    let total = app.store.spent(filter.clone()).await?;
    let groups = app.store.spent_by(filter, group, limit).await?.into_iter();
    let data = UsageReport {
        user_id: user,
        currency: app.manifest.usage.currency.clone(),
        from: from.map(|time| time.to_string()),
        to: to.map(|time| time.to_string()),
        total: sums(&total),
        group_by: group,
        groups: groups
            .map(|(id, spent)| UsageGroup { sums: sums(&spent), of: group.of(id) })
            .collect(),
        budgets: budgets(&app, &caller).await?,
    };
    Ok(Answer::new("usage", "usage.retrieved", &data))
}

/// The formation's for the operator, the user's for who is one.
async fn budgets(app: &Parts, caller: &Caller) -> Result<Vec<UsageBudget>, Problem> {
    let configured = &app.manifest.usage.budgets;
    let of_formation = configured.formation.filter(|_| matches!(caller, Caller::Admin(_)));
    let of_user = configured.user.zip(caller.user());
    let held = [
        of_formation.map(|budget| ("formation", budget, None)),
        of_user.map(|(budget, user)| ("user", budget, Some(user))),
    ];
    let mut shown = Vec::new();
    for (whose, budget, user) in held.into_iter().flatten() {
        let (begin, end) = usage::period(budget.per, app.clock.now());
        let user: Option<UserId> = user.cloned();
        let filter = UsageFilter { user, from_ms: Some(begin.as_millisecond()), to_ms: None };
        let spent = app.store.spent(filter).await?;
        shown.push(UsageBudget {
            of: whose.to_owned(),
            per: budget.per.as_str().to_owned(),
            tokens: budget.tokens,
            money: budget.money,
            used_tokens: spent.prompt_tokens + spent.completion_tokens,
            used_money: money(spent.cost_nano),
            resets_at: end.to_string(),
        });
    }
    Ok(shown)
}

fn sums(spent: &Spent) -> UsageSums {
    UsageSums {
        calls: spent.calls,
        prompt_tokens: spent.prompt_tokens,
        completion_tokens: spent.completion_tokens,
        total_tokens: spent.prompt_tokens + spent.completion_tokens,
        cost: money(spent.cost_nano),
        unpriced_calls: spent.unpriced_calls,
        estimated_calls: spent.estimated_calls,
    }
}
