//! `muxi usage`: what models of a running formation used and cost.

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::client::formation::UserArgs;
use crate::client::query;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::{count, text_of};
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    #[command(flatten)]
    user: UserArgs,
    /// By what sums are told apart
    #[arg(long, value_name = "WHAT", default_value = "model")]
    by: By,
    /// Only calls from this time on, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only calls before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// At most so many rows
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Model,
    Agent,
    User,
    Session,
    Request,
}

// === impl UsageArgs ===

impl UsageArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let (formation, key) = self.user.open_wide(context)?;
        let asked = query([
            ("group_by", Some(self.by.name().to_owned())),
            ("from", self.from.map(|it| moment(&it)).transpose()?),
            ("to", self.to.map(|it| moment(&it)).transpose()?),
            ("limit", self.limit.map(|it| it.to_string())),
        ]);
        let report = formation.get(key, &format!("/usage{asked}")).await?;
        Ok(context.show(&report, |report| shown(report, self.by)))
    }
}

// === impl By ===

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Session => "session",
            Self::Request => "request",
        }
    }

    fn head(self) -> &'static str {
        match self {
            Self::Model => "MODEL",
            Self::Agent => "AGENT",
            Self::User => "USER",
            Self::Session => "SESSION",
            Self::Request => "REQUEST",
        }
    }
}

// === private helpers ===

/// A day alone is its beginning in UTC.
fn moment(text: &str) -> Result<String, Fault> {
    let moment = text.parse::<jiff::Timestamp>();
    let day = format!("{text}T00:00:00Z").parse::<jiff::Timestamp>();
    moment.or(day).map(|it| it.to_string()).map_err(|_| {
        Fault::usage(format!("{text} is no time"))
            .mend("write it as 2026-01-31, which begins in UTC, or as 2026-01-31T12:00:00Z")
    })
}

fn shown(report: &Value, by: By) -> String {
    let groups = table::items(report, "groups");
    if groups.is_empty() {
        return "No model was called in this time.\n".to_owned();
    }
    let currency = text_of(&report["currency"]);
    let mut total = report["total"].clone();
    total[by.name()] = "TOTAL".into();
    let rows: Vec<Vec<String>> = groups
        .iter()
        .chain([&total])
        .map(|sums| {
            let cost = match (sums["unpriced_calls"].as_u64(), sums["cost"].as_f64()) {
                (unpriced, _) if unpriced.is_some() && unpriced == sums["calls"].as_u64() => {
                    "no price".to_owned()
                }
                (_, Some(cost)) => format!("{cost:.4}"),
                (_, None) => "-".to_owned(),
            };
            let counts = ["calls", "prompt_tokens", "completion_tokens", "total_tokens"];
            let counts = counts.map(|it| text_of(&sums[it]));
            [vec![text_of(&sums[by.name()])], counts.to_vec(), vec![cost]].concat()
        })
        .collect();
    let cost = format!("COST ({currency})");
    let heads = [by.head(), "CALLS", "PROMPT", "COMPLETION", "TOKENS", &cost];
    let mut text = table::table(&heads, rows);
    text.push_str(&remarks(&report["total"]));
    text.push_str(&budgets(report, &currency));
    text
}

fn remarks(total: &Value) -> String {
    let calls = |name: &str| {
        let has_some = total[name].as_u64().is_some_and(|it| it > 0);
        has_some.then(|| count(&total[name], "call", "calls"))
    };
    let mut text = String::new();
    if let Some(calls) = calls("unpriced_calls") {
        text.push_str(&format!("\n{calls} of models without a price: not in the cost.\n"));
    }
    if let Some(calls) = calls("estimated_calls") {
        text.push_str(&format!("\nThe tokens of {calls} were estimated.\n"));
    }
    text
}

fn budgets(report: &Value, currency: &str) -> String {
    let budgets = table::items(report, "budgets");
    if budgets.is_empty() {
        return String::new();
    }
    let of = |used: &Value, most: &Value| {
        (!most.is_null()).then(|| format!("{} of {}", text_of(used), text_of(most)))
    };
    let shown: Vec<Value> = budgets
        .iter()
        .map(|budget| {
            let mut shown = budget.clone();
            shown["name"] =
                format!("{} per {}", text_of(&budget["of"]), text_of(&budget["per"])).into();
            shown["tokens"] = of(&budget["used_tokens"], &budget["tokens"]).into();
            let money = of(&budget["used_money"], &budget["money"]);
            shown["money"] = money.map(|it| format!("{it} {currency}")).into();
            shown
        })
        .collect();
    let columns = [
        ("BUDGET", "name"),
        ("TOKENS", "tokens"),
        ("MONEY", "money"),
        ("RESETS", "resets_at|time"),
    ];
    format!("\n{}", table::list(&shown, &columns, ""))
}
