//! The verbs: one file each, which holds its arguments, what it asks for, and how it shows the answer.

mod agents;
mod approvals;
mod artifacts;
mod audit;
mod bump;
mod chat;
mod completions;
mod config;
mod consent;
mod credentials;
mod deploy;
mod dev;
mod diff;
mod doctor;
mod download;
mod eval;
mod explain;
mod formations;
mod info;
mod jobs;
mod knowledge;
mod logs;
mod mcp;
mod memory;
mod new;
mod profiles;
mod published;
mod registry;
mod remote;
mod requests;
mod scheduler;
mod secrets;
mod server;
mod sessions;
mod set;
mod skills;
mod sops;
mod triggers;
mod tuning;
mod up;
mod usage;
mod validate;

use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::fault::Fault;

/// Write, run and operate formations of AI agents
#[derive(Debug, Parser)]
#[command(name = "muxi", version, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print one JSON document (streams: one a line) and never ask
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Who answers in a running formation: list, show
    #[command(alias = "agent")]
    Agents(agents::AgentsArgs),
    /// What waits for a yes: list, show, approve, deny
    #[command(alias = "approval")]
    Approvals(approvals::ApprovalsArgs),
    /// Files that a running formation made: list, show, get, open, versions, delete, cleanup
    #[command(alias = "artifact")]
    Artifacts(artifacts::ArtifactsArgs),
    /// What operators did to a running formation: list, clear
    Audit(audit::AuditArgs),
    /// Raise the formation's version
    Bump(bump::BumpArgs),
    Chat(chat::ChatArgs),
    Completions(completions::CompletionsArgs),
    /// Show how one side of a formation is set up
    Config(config::ConfigArgs),
    /// What a user lets a formation use elsewhere: list, services, add, show, delete
    #[command(alias = "credential")]
    Credentials(credentials::CredentialsArgs),
    /// Pack this folder's formation, send it to a manager and watch it start
    Deploy(deploy::DeployArgs),
    /// Run this folder as a draft, and anew after each change
    Dev(dev::DevArgs),
    /// Show what a deploy of this folder would change
    Diff(diff::DiffArgs),
    Doctor(doctor::DoctorArgs),
    /// Stop the draft of this folder
    Down(up::DownArgs),
    /// Fetch the files of a formation that is deployed
    Download(download::DownloadArgs),
    Eval(eval::EvalArgs),
    /// Tell why an answer came out as it did
    Explain(explain::ExplainArgs),
    /// Formations whose keys are kept here, and those that are deployed: add, list, show, remove
    #[command(subcommand)]
    Formations(formations::FormationsCommand),
    /// Show a running formation at a glance
    Info(info::InfoArgs),
    /// Work in the background of a running formation: list, show, logs, cancel
    #[command(alias = "job")]
    Jobs(jobs::JobsArgs),
    /// What agents can look up: rebuild
    Knowledge(knowledge::KnowledgeArgs),
    /// Show what a formation's processes wrote, or follow what happens in it
    ///
    /// Without a filter this is `muxi remote logs`: the last lines that the formation's processes wrote. With
    /// one, or for a draft, it tells what happens in the formation from now on, until Ctrl-C or until --lines
    /// came; that takes the admin key.
    Logs(logs::LogsArgs),
    /// Servers of tools that a running formation uses: list, show, tools
    Mcp(mcp::McpArgs),
    /// What a running formation remembers: status, list, add, delete, buffer, rebuild
    Memory(memory::MemoryArgs),
    /// Write a formation, or a piece of one: agent, mcp, a2a, sop, trigger, skill
    #[command(subcommand)]
    New(new::NewCommand),
    /// Managers that you know: add, list, remove, status, ping
    #[command(subcommand)]
    Profiles(profiles::ProfilesCommand),
    /// Deployed formations: list, get, start, stop, restart, rollback, delete, logs
    #[command(subcommand, alias = "formation")]
    Remote(remote::RemoteCommand),
    /// What was asked of a running formation: list, show, cancel
    #[command(alias = "request")]
    Requests(requests::RequestsArgs),
    /// What a running formation does at certain times: list, show, add, remove, pause, resume
    Scheduler(scheduler::SchedulerArgs),
    /// Secrets of a formation: list, get, set, delete, setup, sync
    Secrets(secrets::SecretsArgs),
    Server(server::ServerArgs),
    /// Conversations with a running formation: list, show, messages, delete
    #[command(alias = "session")]
    Sessions(sessions::SessionsArgs),
    /// Say what commands mean when they do not: default profile, user or registry
    #[command(subcommand)]
    Set(set::SetCommand),
    /// What agents can learn on demand: list, show
    #[command(alias = "skill")]
    Skills(skills::SkillsArgs),
    /// Procedures that a running formation follows: list, show
    #[command(alias = "sop")]
    Sops(sops::SopsArgs),
    /// What a running formation does when something happens: list, show, run
    #[command(alias = "trigger")]
    Triggers(triggers::TriggersArgs),
    /// What a running formation learnt: show, pending, apply, dismiss
    Tuning(tuning::TuningArgs),
    /// Run this folder as a draft, beside what is deployed
    Up(up::UpArgs),
    /// Show what models of a running formation used and cost
    Usage(usage::UsageArgs),
    /// Tell everything that is right and wrong with a formation, in one pass
    Validate(validate::ValidateArgs),
    #[command(flatten)]
    Short(remote::ShortCommand),
    /// Formations of others, and yours for them: search, show, pull, push, login, logout
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    #[command(flatten)]
    ShortRegistry(registry::RegistryCommand),
    #[command(flatten)]
    Published(published::PublishedCommand),
}

// === impl Command ===

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::Agents(args) => wait(args.run(context)),
            Self::Approvals(args) => wait(args.run(context)),
            Self::Artifacts(args) => wait(args.run(context)),
            Self::Audit(args) => wait(args.run(context)),
            Self::Bump(args) => args.run(context),
            Self::Chat(args) => wait(args.run(context)),
            Self::Completions(args) => Ok(args.run(context)),
            Self::Config(args) => wait(args.run(context)),
            Self::Credentials(args) => wait(args.run(context)),
            Self::Doctor(args) => wait(args.run(context)),
            Self::Eval(args) => wait(args.run(context)),
            Self::Deploy(args) => wait(args.run(context)),
            Self::Dev(args) => wait(args.run(context)),
            Self::Diff(args) => wait(args.run(context)),
            Self::Down(args) => wait(args.run(context)),
            Self::Download(args) => wait(args.run(context)),
            Self::Explain(args) => wait(args.run(context)),
            Self::Formations(command) => command.run(context),
            Self::Info(args) => wait(args.run(context)),
            Self::Jobs(args) => wait(args.run(context)),
            Self::Knowledge(args) => wait(args.run(context)),
            Self::Logs(args) => wait(args.run(context)),
            Self::Mcp(args) => wait(args.run(context)),
            Self::Memory(args) => wait(args.run(context)),
            Self::New(command) => command.run(context),
            Self::Profiles(command) => command.run(context),
            Self::Remote(command) => wait(command.run(context)),
            Self::Requests(args) => wait(args.run(context)),
            Self::Scheduler(args) => wait(args.run(context)),
            Self::Secrets(args) => args.run(context),
            Self::Server(args) => args.run(),
            Self::Sessions(args) => wait(args.run(context)),
            Self::Set(command) => command.run(context),
            Self::Skills(args) => wait(args.run(context)),
            Self::Sops(args) => wait(args.run(context)),
            Self::Triggers(args) => wait(args.run(context)),
            Self::Tuning(args) => wait(args.run(context)),
            Self::Up(args) => wait(args.run(context)),
            Self::Usage(args) => wait(args.run(context)),
            Self::Validate(args) => args.run(context),
            Self::Short(command) => wait(command.run(context)),
            Self::Published(command) => command.run(context),
            Self::Registry(command) | Self::ShortRegistry(command) => wait(command.run(context)),
        }
    }
}

/// Only commands that speak to others need a runtime.
fn wait(command: impl Future<Output = Result<Exit, Fault>>) -> Result<Exit, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Fault::failed(format!("no event loop could be made: {error}")))?;
    runtime.block_on(Box::pin(command))
}
