//! `muxi scheduler`: what a running formation does at certain times.

mod add;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::consent::Consent;
use crate::client::formation::{Key, UserArgs};
use crate::client::{query, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::time;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct SchedulerArgs {
    #[command(flatten)]
    user: UserArgs,
    #[command(subcommand)]
    command: SchedulerCommand,
}

#[derive(Debug, Subcommand)]
enum SchedulerCommand {
    /// How the scheduler is set up
    Status,
    /// All jobs, newest first: the user's with -u, else everybody's
    #[command(alias = "ls")]
    List {
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
    /// One job with its last runs
    #[command(alias = "get")]
    Show {
        /// As `muxi scheduler list` names it
        job: String,
    },
    /// Make a job of the user
    #[command(alias = "create")]
    Add(add::AddArgs),
    /// Delete a job
    #[command(visible_alias = "delete", alias = "rm")]
    Remove {
        /// As `muxi scheduler list` names it
        job: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Leave out a job's runs until it is resumed
    Pause {
        /// As `muxi scheduler list` names it
        job: String,
    },
    /// Go on with a paused job
    Resume {
        /// As `muxi scheduler list` names it
        job: String,
    },
}

// === impl SchedulerArgs ===

impl SchedulerArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        if let SchedulerCommand::List { limit } = &self.command {
            let (formation, key) = self.user.open_wide(context)?;
            let asked = query([("limit", limit.map(|it| it.to_string()))]);
            let listed = formation.get(key, &format!("/scheduler/jobs{asked}")).await?;
            return Ok(context.show(&listed, list));
        }
        let formation = self.user.open(context)?;
        let act = async |method, path: String| {
            formation.ask(Key::Admin, method, &path, None).await.map_err(known)
        };
        match self.command {
            SchedulerCommand::Status => {
                let told = act(Method::GET, "/scheduler".to_owned()).await?;
                Ok(context.show(&told, status))
            }
            SchedulerCommand::List { .. } => unreachable!("it was listed above"),
            SchedulerCommand::Show { job } => {
                let told = act(Method::GET, path(&job, "")).await?;
                Ok(context.show(&told, detail))
            }
            SchedulerCommand::Add(args) => args.run(&formation, context).await,
            SchedulerCommand::Remove { job, consent } => {
                consent.obtain(&format!("Delete job {job} with its history?"), context)?;
                let told = act(Method::DELETE, path(&job, "")).await?;
                Ok(context.done(&told, &format!("Deleted job {job}")))
            }
            SchedulerCommand::Pause { job } => {
                let told = act(Method::POST, path(&job, "/pause")).await?;
                Ok(context.done(&told, &format!("Paused job {job}")))
            }
            SchedulerCommand::Resume { job } => {
                let told = act(Method::POST, path(&job, "/resume")).await?;
                let next = time(&told["next_run_at"]);
                let next = next.map_or_else(String::new, |it| format!(", next run {it}"));
                Ok(context.done(&told, &format!("Resumed job {job}{next}")))
            }
        }
    }
}

// === private helpers ===

fn status(told: &Value) -> String {
    let facts = [
        ("Enabled", "enabled"),
        ("Time zone", "timezone"),
        ("Usual time of day", "default_time"),
        ("Missed runs", "missed_runs"),
        ("Jobs at once", "max_concurrent_jobs"),
        ("Jobs per user", "max_jobs_per_user"),
        ("Failures before a pause", "max_failures_before_pause"),
    ];
    table::facts(told, &facts)
}

fn list(listed: &Value) -> String {
    let columns = [
        ("JOB", "id"),
        ("STATUS", "status"),
        ("USER", "user_id"),
        ("SCHEDULE", "schedule"),
        ("NEXT RUN", "next_run_at|time"),
        ("RUNS", "total_runs"),
        ("TITLE", "title|short"),
    ];
    let jobs: Vec<Value> = table::items(listed, "jobs").iter().map(with_schedule).collect();
    table::list(&jobs, &columns, "No jobs: `muxi scheduler add` makes one.")
}

fn with_schedule(job: &Value) -> Value {
    let mut job = job.clone();
    job["schedule"] = match time(&job["scheduled_for"]) {
        Some(once) if job["is_recurring"] == false => format!("once, {once}").into(),
        _ => job["cron_expression"].clone(),
    };
    job
}

fn detail(job: &Value) -> String {
    let facts = [
        ("Job", "id"),
        ("Title", "title"),
        ("Status", "status"),
        ("User", "user_id"),
        ("Session", "session_id"),
        ("Schedule", "schedule"),
        ("Time zone", "timezone"),
        ("Next run", "next_run_at|time"),
        ("Last run", "last_run_at|time"),
        ("Last status", "last_run_status"),
        ("Last failure", "last_run_failure_message"),
        ("Runs", "total_runs"),
        ("Failures", "total_failures"),
        ("Created", "created_at|time"),
    ];
    let mut text = table::facts(&with_schedule(job), &facts);
    text.push_str(&table::section("Message", job["original_prompt"].as_str().unwrap_or_default()));
    let history = table::items(job, "history");
    if !history.is_empty() {
        let columns = [
            ("RUN", "started_at|time"),
            ("STATUS", "status"),
            ("REQUEST", "request_id"),
            ("ERROR", "error|short"),
        ];
        text.push_str(&format!("\n{}", table::list(history, &columns, "")));
    }
    text
}

fn path(job: &str, rest: &str) -> String {
    format!("/scheduler/jobs/{}{rest}", segment(job))
}

fn known(fault: Fault) -> Fault {
    fault.mend_missing("muxi scheduler list   shows all jobs")
}
