//! `muxi eval`: a formation's cases, run against it.

mod cases;
mod check;
mod judge;
mod other_model;
mod report;
mod run;
mod yaml;

use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _};

use self::cases::Case;
use self::judge::Judge;
use self::other_model::OtherModel;
use self::report::Report;
use self::run::{Run, run};
use crate::client::formation::{Formation, FormationArgs, UserArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::terminal::interrupt::asked_to_end;

/// Whose memory cases may fill, when they name nobody.
const USER: &str = "eval";

/// Run a formation's cases and tell which answers are as expected
///
/// Cases lie in evals/*.yaml of the formation's folder: a list, each with a name, a message (or turns) and what is
/// expected of the last answer:
///
///   - name: greets by name
///     message: Hello, I am Ada.
///     expect: {contains: Ada, tool_not_called: generate_file, max_seconds: 20}
///
/// Keys of a case: name, message or turns, user, session, agent, files, expect. Keys of expect: contains,
/// not_contains, regex, json_schema, tool_called, tool_not_called, agent, approval (ask or none), max_seconds, judge.
/// EVALS.md of the sources tells all of them.
///
/// Each run is a session of its own, of the user `eval` where the case names nobody. The command ends with 1 when a run fails.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct EvalArgs {
    /// Formation's folder, folder of cases, or one file of them [default: evals/ of this folder's formation]
    path: Option<PathBuf>,
    #[command(flatten)]
    formation: FormationArgs,
    /// User of cases that name none [default: eval]
    #[arg(short, long, value_name = "ID")]
    user: Option<String>,
    /// Run a copy of the bundle on this machine, in which this answers in place of each text model
    #[arg(long, value_name = "PROVIDER/MODEL", conflicts_with_all = ["formation", "profile", "url", "draft", "live"])]
    model: Option<String>,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// How often each case is run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// How many conversations at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    parallel: u32,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Endpoint that judges, as OpenAI has it, such as https://models.example.com/v1; its key comes from MUXI_JUDGE_KEY
    #[arg(long, value_name = "URL", requires = "judge_model")]
    judge_url: Option<String>,
    /// Model that judges there
    #[arg(long, value_name = "MODEL", requires = "judge_url")]
    judge_model: Option<String>,
    /// Let the formation judge itself, as the user eval-judge in sessions of their own
    #[arg(long, conflicts_with = "judge_url")]
    judge_self: bool,
}

// === impl EvalArgs ===

impl EvalArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let named =
            self.path.as_ref().map_or_else(|| context.folder.clone(), |it| context.folder.join(it));
        let cases = self.cases(&named, context)?;
        let judge = self.judge(&cases)?;
        // Its folder and its process end with this.
        let mut other = None;
        let report = async {
            let formation = match &self.model {
                Some(model) => {
                    let started =
                        OtherModel::start(&Bundle::required(&named)?, model, self.user()).await?;
                    other.insert(started).formation.clone()
                }
                None => self.open(&named, context)?,
            };
            self.report(&cases, &formation, judge.as_ref(), context).await
        };
        let report = tokio::select! {
            report = report => report,
            () = asked_to_end() => {
                Err(Fault::new(Exit::Interrupted, "Interrupted", "cases were left unfinished"))
            }
        };
        drop(other);
        let report = report?;
        if let Some(file) = &self.junit {
            report.write_junit(&context.folder.join(file))?;
        }
        context.show(&report.to_json(), |_| report.to_text(&context.terminal));
        Ok(if report.failed() == 0 { Exit::Done } else { Exit::Failed })
    }

    fn cases(&self, named: &Path, context: &Context) -> Result<Vec<Case>, Fault> {
        let of_bundle = |it: Bundle| it.folder.join("evals");
        let path = match &self.path {
            None => of_bundle(Bundle::required(&context.folder)?),
            Some(_) => Bundle::at(named).map_or_else(|| named.to_owned(), of_bundle),
        };
        let mut cases = cases::read(&path, &context.folder)?;
        if let Some(text) = &self.filter {
            let known: Vec<String> = cases.iter().map(|it| it.name.clone()).collect();
            cases.retain(|it| it.name.contains(text));
            if cases.is_empty() {
                return Err(Fault::not_found(format!("no case has `{text}` in its name"))
                    .mend(format!("there are: {}", known.join(", "))));
            }
        }
        Ok(cases)
    }

    fn judge(&self, cases: &[Case]) -> Result<Option<Judge>, Fault> {
        if let (Some(url), Some(model)) = (&self.judge_url, &self.judge_model) {
            return Judge::endpoint(url, model.clone()).map(Some);
        }
        if self.judge_self {
            return Ok(Some(Judge::Itself));
        }
        match cases.iter().find(|it| it.expect.judge.is_some()) {
            None => Ok(None),
            Some(case) => Err(Fault::usage(format!("{}: who judges `{}`?", case.place, case.name))
                .mend("--judge-url URL --judge-model MODEL   another model, as OpenAI's API has it")
                .mend("--judge-self   the formation itself, in sessions of their own")
                .mend("--filter TEXT   leaves cases out")),
        }
    }

    fn user(&self) -> &str {
        self.user.as_deref().unwrap_or(USER)
    }

    /// The formation of the folder that was named, not of where the command was given.
    fn open(&self, named: &Path, context: &Context) -> Result<Formation, Fault> {
        let folder = if named.is_dir() { named } else { named.parent().unwrap_or(named) };
        let context = Context { folder: folder.to_owned(), ..context.clone() };
        let (formation, user) = (self.formation.clone(), Some(self.user().to_owned()));
        UserArgs { formation, user }.open(&context)
    }

    async fn report(
        &self,
        cases: &[Case],
        formation: &Formation,
        judge: Option<&Judge>,
        context: &Context,
    ) -> Result<Report, Fault> {
        let repeats = 0..self.repeat;
        let all = cases
            .iter()
            .enumerate()
            .flat_map(|(at, case)| repeats.clone().map(move |_| (at, case)));
        let runs = futures_util::stream::iter(all).map(|(at, case)| async move {
            let run = run(case, formation, judge).await?;
            if context.terminal.is_live() {
                let mark = if run.failures.is_empty() {
                    context.terminal.tick()
                } else {
                    context.terminal.cross()
                };
                context.terminal.note(&format!("  {mark} {}", case.name));
            }
            Ok::<_, Fault>((at, run))
        });
        let runs: Vec<(usize, Run)> = runs.buffered(self.parallel as usize).try_collect().await?;
        Ok(Report::new(cases, runs))
    }
}
