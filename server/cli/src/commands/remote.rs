//! `muxi remote`: what is deployed, and what operators do with it.

mod logs;
pub(super) mod steps;

pub(super) use self::logs::{LogsArgs, Selected};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::manager::{Manager, ManagerArgs};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::terminal::format::duration;
use crate::terminal::table;

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// All formations of a manager
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        manager: ManagerArgs,
        /// Only those in this state, such as running or crash_loop
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
    },
    #[command(flatten)]
    One(ShortCommand),
    /// The log of a formation's processes
    Logs(LogsArgs),
    /// End an update or a rollback that is under way
    CancelUpdate(OneArgs),
}

/// These can be given without `remote`, too.
#[derive(Debug, Subcommand)]
pub(crate) enum ShortCommand {
    /// One formation: state, port, generations
    Get {
        #[command(flatten)]
        one: OneArgs,
        /// Also its process
        #[arg(short, long)]
        verbose: bool,
    },
    /// Stop a formation
    Stop(OneArgs),
    /// Start a formation that is stopped or was given up
    Start(WatchedArgs),
    /// Replace the running process by a fresh one without losing a request
    Restart(WatchedArgs),
    /// Go back to an earlier generation without losing a request
    Rollback(RollbackArgs),
    /// Delete a formation with its memory
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// Formation [default: the one of this folder]
    id: Option<String>,
    #[command(flatten)]
    manager: ManagerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchedArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Wait without telling the steps
    #[arg(long)]
    no_stream: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    watched: WatchedArgs,
    /// Generation to go back to [default: the one before]
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// Do not ask
    #[arg(short, long, alias = "force")]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Do not ask
    #[arg(short, long, visible_aliases = ["yes", "atomic"])]
    force: bool,
}

// === impl RemoteCommand ===

impl RemoteCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::List { manager, status } => {
                list(&manager.manager(context)?, status.as_deref(), context).await
            }
            Self::One(command) => command.run(context).await,
            Self::Logs(args) => args.run(context).await,
            Self::CancelUpdate(one) => {
                let act = Act { verb: "cancel-update", done: "Cancelled the update of" };
                one.act(&act, context).await
            }
        }
    }
}

impl ShortCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::Get { one, verbose } => one.get(verbose, context).await,
            Self::Stop(one) => one.act(&Act { verb: "stop", done: "Stopped" }, context).await,
            Self::Start(watched) => {
                watched.act(&Act { verb: "start", done: "Started" }, None, context).await
            }
            Self::Restart(watched) => {
                watched.act(&Act { verb: "restart", done: "Restarted" }, None, context).await
            }
            Self::Rollback(args) => args.run(context).await,
            Self::Delete(args) => args.run(context).await,
        }
    }
}

/// What is done to a formation: the route's last piece, and how it is told.
struct Act {
    verb: &'static str,
    done: &'static str,
}

// === impl OneArgs ===

impl OneArgs {
    /// Named, or the one of this folder.
    fn id(&self, context: &Context) -> Result<String, Fault> {
        match (&self.id, Bundle::find(&context.folder)) {
            (Some(id), _) => Ok(id.clone()),
            (None, Some(bundle)) => Ok(bundle.id()?.to_string()),
            (None, None) => Err(Fault::usage("which formation? This folder has none")
                .mend("name it, as `muxi remote list` does")),
        }
    }

    async fn get(&self, is_verbose: bool, context: &Context) -> Result<Exit, Fault> {
        let id = self.id(context)?;
        let view = self.manager.manager(context)?.get(&path(&id, "")).await.map_err(known)?;
        Ok(context.show(&view, |view| detail(view, is_verbose)))
    }

    async fn act(&self, act: &Act, context: &Context) -> Result<Exit, Fault> {
        let id = self.id(context)?;
        let manager = self.manager.manager(context)?;
        let answer = manager.ask(Method::POST, &path(&id, act.verb), None).await.map_err(known)?;
        Ok(context.done(&answer, &format!("{} {id}", act.done)))
    }
}

// === impl WatchedArgs ===

impl WatchedArgs {
    async fn act(&self, act: &Act, body: Option<&Value>, context: &Context) -> Result<Exit, Fault> {
        let id = self.one.id(context)?;
        let manager = self.one.manager.manager(context)?;
        let path = path(&id, act.verb);
        let answer = if self.no_stream {
            manager.ask(Method::POST, &path, body).await.map_err(known)?
        } else {
            let told = manager.watch(Method::POST, &path, body).await.map_err(known)?;
            steps::follow(told, context).await.map_err(known)?
        };
        let now = answer["new_version"]
            .as_str()
            .map_or_else(String::new, |it| format!(", generation {it}"));
        Ok(context.done(&answer, &format!("{} {id}{now}", act.done)))
    }
}

// === impl RollbackArgs ===

impl RollbackArgs {
    async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let id = self.watched.one.id(context)?;
        let to = self
            .generation
            .map_or_else(|| "the generation before".to_owned(), |it| format!("generation {it}"));
        if !self.yes && !context.terminal.confirm(&format!("Roll {id} back to {to}?"), "--yes")? {
            return Err(Fault::failed("nothing was changed"));
        }
        let body = self.generation.map(|it| json!({"generation": it}));
        self.watched
            .act(&Act { verb: "rollback", done: "Rolled back" }, body.as_ref(), context)
            .await
    }
}

// === impl DeleteArgs ===

impl DeleteArgs {
    async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let id = self.one.id(context)?;
        let question = format!("Delete {id} with its memory and all its generations?");
        if !self.force && !context.terminal.confirm(&question, "--force")? {
            return Err(Fault::failed("nothing was deleted"));
        }
        let manager = self.one.manager.manager(context)?;
        let answer = manager.ask(Method::DELETE, &path(&id, ""), None).await.map_err(known)?;
        Ok(context.done(&answer, &format!("Deleted {id}; its logs stay")))
    }
}

// === private helpers ===

async fn list(manager: &Manager, status: Option<&str>, context: &Context) -> Result<Exit, Fault> {
    let mut listed = manager.get("/rpc/formations").await?;
    let all = listed["formations"].as_array().map_or(0, Vec::len);
    if let (Some(status), Some(items)) = (status, listed["formations"].as_array_mut()) {
        items.retain(|it| it["status"] == status);
        listed["total"] = json!(listed["formations"].as_array().map_or(0, Vec::len));
    }
    Ok(context.show(&listed, |listed| {
        let items = listed["formations"].as_array().map(Vec::as_slice).unwrap_or_default();
        let items: Vec<Value> = items.iter().map(readable).collect();
        let columns = [
            ("ID", "id"),
            ("STATUS", "status"),
            ("PORT", "port"),
            ("VERSION", "version.semantic"),
            ("GENERATION", "version.generation"),
            ("UPTIME", "uptime"),
        ];
        let none = match status {
            Some(status) if all > 0 => {
                format!("No formation is {status}; without --status there are {all}.")
            }
            _ => "No formations deployed yet.".to_owned(),
        };
        table::list(&items, &columns, &none)
    }))
}

fn detail(view: &Value, is_verbose: bool) -> String {
    let mut facts = vec![
        ("Id", "id"),
        ("Name", "name"),
        ("Status", "status"),
        ("Healthy", "healthy"),
        ("Version", "version.semantic"),
        ("Generation", "version.generation"),
        ("Uptime", "uptime"),
        ("Restarts", "restart_count"),
        ("Created", "created_at|time"),
        ("Deployed", "deployed_at|time"),
        ("Updated", "updated_at|time"),
    ];
    if is_verbose {
        facts.extend([("Port", "port"), ("Process", "pid")]);
    }
    let mut text = table::facts(&readable(view), &facts);
    let generations = view["generations"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !generations.is_empty() {
        let columns = [
            ("GENERATION", "generation"),
            ("ROLE", "role"),
            ("VERSION", "version"),
            ("CREATED", "created_at|time"),
        ];
        text.push_str(&format!("\n{}", table::list(generations, &columns, "")));
    }
    text
}

fn readable(view: &Value) -> Value {
    let mut view = view.clone();
    if let Some(seconds) = view["uptime"].as_u64() {
        view["uptime"] =
            if view["status"] == "running" { json!(duration(seconds)) } else { Value::Null };
    }
    view
}

fn known(fault: Fault) -> Fault {
    if fault.code() == "Conflict" {
        return fault.mend("muxi remote get   shows the state in which it is");
    }
    fault.mend_missing("muxi remote list   shows those that are deployed")
}

pub(super) fn path(id: &str, verb: &str) -> String {
    let id = segment(id);
    if verb.is_empty() {
        format!("/rpc/formations/{id}")
    } else {
        format!("/rpc/formations/{id}/{verb}")
    }
}
