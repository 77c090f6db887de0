//! `muxi scheduler add`: a new job.

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::json;

use crate::client::formation::{Formation, Key};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::{text_of, time};

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Whether it has one run or many [default: what the schedule looks like]
    kind: Option<Kind>,
    /// When: a time such as 2027-01-31T09:00, or for many runs a cron expression such as '0 9 * * 1-5'
    #[arg(conflicts_with = "schedule")]
    when: Option<String>,
    /// What is asked then
    #[arg(conflicts_with = "message")]
    what: Option<String>,
    /// The same as WHEN
    #[arg(long, value_name = "WHEN")]
    schedule: Option<String>,
    /// The same as WHAT
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// What to call it [default: made of the message]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Time zone of the schedule, such as Europe/Berlin [default: the formation's]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    #[value(alias = "one_time", alias = "one-time")]
    Once,
    Recurring,
}

// === impl AddArgs ===

impl AddArgs {
    pub(super) async fn run(self, formation: &Formation, context: &Context) -> Result<Exit, Fault> {
        let missing = |what: &str| like_this(Fault::usage(format!("{what} is missing")));
        let schedule = self.when.or(self.schedule).ok_or_else(|| missing("the schedule"))?;
        let message = self.what.or(self.message).ok_or_else(|| missing("the message"))?;
        let kind = self.kind.unwrap_or_else(|| Kind::of(&schedule));
        let body = json!({
            "type": kind.name(),
            "schedule": schedule,
            "message": message,
            "title": self.title,
            "timezone": self.timezone,
        });
        let job = formation.ask(Key::Admin, Method::POST, "/scheduler/jobs", Some(&body)).await;
        let job = job.map_err(|fault| match fault.code() {
            "VALIDATION_ERROR" => like_this(fault),
            _ => fault,
        })?;
        let id = text_of(&job["id"]);
        let next = time(&job["next_run_at"]);
        let next = next.map_or_else(String::new, |it| format!(", next run {it}"));
        Ok(context.done(&job, &format!("Made job {id} of {}{next}", formation.user)))
    }
}

fn like_this(fault: Fault) -> Fault {
    fault
        .mend("muxi scheduler add once 2027-01-31T09:00 'Wish a good year'")
        .mend("muxi scheduler add recurring '0 9 * * 1-5' 'What is new?'")
}

// === impl Kind ===

impl Kind {
    /// A cron expression has several fields, a time has none but a blank before its hour.
    fn of(schedule: &str) -> Self {
        if schedule.split_whitespace().count() > 2 { Self::Recurring } else { Self::Once }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Once => "one_time",
            Self::Recurring => "recurring",
        }
    }
}
