//! `muxi dev`: the draft follows the files while they are written.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use clap::Args;
use notify::{Event, EventKind, RecursiveMode, Watcher as _};
use reqwest::Url;
use rustyline::ExternalPrinter;
use serde_json::json;
use tokio::sync::mpsc;

use super::chat::answering::Answering;
use super::chat::conversation::Conversation;
use super::chat::talk::Talk;
use super::up::{AtArgs, begin, end, switch_off};
use super::validate;
use crate::check::check;
use crate::client::formation::{FormationArgs, UserArgs};
use crate::client::manager::Manager;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::terminal::interrupt::asked_to_end;
use crate::terminal::plain;

/// Editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(300);
/// Written by ourselves and by what runs; their changes mean nothing.
const NO_SOURCES: [&str; 4] = [".muxi", ".git", "memory.db", "node_modules"];

#[derive(Debug, Args)]
#[command(after_help = "Without --chat, speak to the draft with `muxi chat` in another terminal.")]
pub(crate) struct DevArgs {
    /// A formation's folder [default: the one of this folder]
    path: Option<PathBuf>,
    /// Talk with the draft here, while it follows the files
    #[arg(long, conflicts_with = "json")]
    chat: bool,
    #[command(flatten)]
    at: AtArgs,
}

/// What is written and run.
struct Work<'a> {
    context: &'a Context,
    manager: Manager,
    at: &'a AtArgs,
    bundle: Bundle,
    /// Of the draft that runs or is about to; changes with the manifest.
    id: Option<String>,
    /// Of the draft that runs or ran last.
    url: Option<Url>,
    /// Where the user is typing, lines go above.
    above: Option<std::sync::mpsc::Sender<String>>,
}

// === impl DevArgs ===

impl DevArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        if self.chat && !context.terminal.can_ask() {
            return Err(Fault::usage("there is no terminal to talk at").mend("leave --chat out"));
        }
        let bundle = validate::at(self.path.as_deref(), context)?;
        let manager = self.at.manager(&bundle.settings()?, context).await?;
        let (sender, mut changes) = mpsc::channel(1);
        let folder = bundle.folder.clone();
        let failed = |error: notify::Error| {
            Fault::failed(format!("{} cannot be watched: {error}", folder.display()))
                .mend("run muxi up after each change instead")
        };
        let root = folder.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|it| is_source(&it, &root)) {
                // One that waits already stands for this one, too.
                let _already_told = sender.try_send(());
            }
        })
        .map_err(failed)?;
        watcher.watch(&folder, RecursiveMode::Recursive).map_err(failed)?;
        let (at, id, url, above) = (&self.at, None, None, None);
        let mut work = Work { context, manager, at, bundle, id, url, above };
        let leaving = if self.chat { "leaving stops" } else { "Ctrl-C stops" };
        context.terminal.note(&format!("Watching {}; {leaving} the draft", folder.display()));
        if !self.chat {
            context.terminal.note("Speak to it in another terminal: muxi chat");
        }
        let ended = tokio::select! {
            // Both cancel-safe here: whatever runs is stopped below.
            ended = work.follow(&mut changes, self.chat) => ended,
            () = asked_to_end() => Ok(None),
        };
        let ended = match ended {
            Ok(Some(url)) => work.talk(&mut changes, url).await,
            Ok(None) => Ok(()),
            Err(fault) => Err(fault),
        };
        let stopped = work.end().await;
        ended.and(stopped).map(|()| Exit::Done)
    }
}

// === impl Work ===

impl Work<'_> {
    /// A round after each change, without end, or until a draft runs where that is what is waited for.
    async fn follow(
        &mut self,
        changes: &mut mpsc::Receiver<()>,
        is_until_it_runs: bool,
    ) -> Result<Option<Url>, Fault> {
        loop {
            self.round().await?;
            if let Some(url) = self.url.as_ref().filter(|_| is_until_it_runs) {
                return Ok(Some(url.clone()));
            }
            if !changed(changes).await {
                return Ok(None);
            }
        }
    }

    /// A conversation beside the rounds, until the user leaves it.
    async fn talk(&mut self, changes: &mut mpsc::Receiver<()>, url: Url) -> Result<(), Fault> {
        let within = Context { folder: self.bundle.folder.clone(), ..self.context.clone() };
        let url = Some(url.to_string());
        let at = FormationArgs { url, draft: true, ..FormationArgs::default() };
        let formation = UserArgs { formation: at, user: None }.open(&within)?;
        let talk = Talk { formation, session: None, agent: None };
        let answering = Answering {
            talk,
            context: self.context,
            is_verbose: false,
            is_debug: false,
            is_whole: false,
        };
        let mut conversation = Conversation::new(answering, Vec::new())?;
        self.above = Some(above(conversation.printer()?));
        let following = async {
            while changed(changes).await {
                if let Err(fault) = self.round().await {
                    self.tell("failed", &fault.to_text());
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = conversation.hold() => ended.map(drop),
            () = following => Ok(()),
        }?;
        self.above = None;
        Ok(())
    }

    /// Checks, and runs what is sound; what is not leaves the draft as it is.
    async fn round(&mut self) -> Result<(), Fault> {
        let checked = check(&self.bundle.folder);
        if let Err(fault) = validate::sound(&self.bundle.folder, "run", &checked) {
            self.tell("faults", &fault.to_text());
            return Ok(());
        }
        for it in checked.warnings() {
            self.tell("warning", &it.to_string());
        }
        let Some(loaded) = checked.sound() else { return Ok(()) };
        let id = loaded.manifest.id.to_string();
        if self.id.as_ref().is_some_and(|before| *before != id) {
            self.end().await?;
        }
        // Before it begins: whoever interrupts it must find what is to be stopped.
        self.id = Some(id.clone());
        match begin(&self.manager, &id, &self.bundle.folder).await {
            Ok(draft) => {
                self.at.switch_on(&self.bundle)?;
                let act = if draft.is_fresh { "runs" } else { "runs anew" };
                self.tell("running", &format!("{id} {act} at {}", draft.url));
                self.url = Some(draft.url);
                Ok(())
            }
            // The next change may mend it; a manager that is gone or refuses will not change by itself.
            Err(fault) if fault.exit() == Exit::Failed && self.url.is_some() => {
                self.tell("failed", &fault.to_text());
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    async fn end(&mut self) -> Result<(), Fault> {
        let Some(id) = self.id.take() else { return Ok(()) };
        switch_off(&self.bundle)?;
        match end(&self.manager, &id).await {
            Ok(_) => self.tell("stopped", &format!("stopped the draft of {id}")),
            Err(fault) if fault.exit() == Exit::NotFound => {}
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// One line for people, one document for scripts.
    fn tell(&self, event: &str, text: &str) {
        let terminal = &self.context.terminal;
        if self.context.is_json {
            return terminal.print(&format!("{}\n", json!({"event": event, "message": text})));
        }
        let mark = match event {
            "running" | "stopped" => terminal.tick(),
            "warning" => "warning:".to_owned(),
            _ => terminal.cross(),
        };
        let line = format!("{mark} {}\n", plain(text));
        match &self.above {
            // Without its reader there is no prompt either.
            Some(above) => drop(above.send(line)),
            None => terminal.print(&line),
        }
    }
}

// === private helpers ===

/// After a change and the quiet behind it; false when nobody watches any more.
async fn changed(changes: &mut mpsc::Receiver<()>) -> bool {
    if changes.recv().await.is_none() {
        return false;
    }
    while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
    true
}

/// On a thread of its own: a line waits while another is shown.
fn above(mut printer: impl ExternalPrinter + Send + 'static) -> std::sync::mpsc::Sender<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines {
            drop(printer.print(line));
        }
    });
    sender
}

fn is_source(event: &Event, root: &Path) -> bool {
    // Reading a file is an event, too.
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.paths.iter().any(|path| {
        let within = path.strip_prefix(root).unwrap_or(path);
        let first = within.components().next().map(Component::as_os_str).and_then(|it| it.to_str());
        let is_ours = |name: &str| {
            NO_SOURCES.iter().any(|it| name.starts_with(it))
                || name.starts_with(".tmp")
                || Path::new(name).extension().is_some_and(|it| it == "log")
        };
        first.is_none_or(|name| !is_ours(name))
    })
}
