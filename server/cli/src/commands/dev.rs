//! `muxi dev`: the draft follows the files while they are written.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use clap::Args;
use notify::{Event, EventKind, RecursiveMode, Watcher as _};
use serde_json::json;
use tokio::sync::mpsc;

use super::up::{AtArgs, begin, end, switch};
use super::validate;
use crate::check::check;
use crate::client::manager::Manager;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;

/// Editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(300);
/// Written by ourselves and by what runs; their changes mean nothing.
const NO_SOURCES: [&str; 4] = [".muxi", ".git", "memory.db", "node_modules"];

#[derive(Debug, Args)]
#[command(after_help = "Speak to the draft with `muxi chat` in another terminal.")]
pub(crate) struct DevArgs {
    /// A formation's folder [default: the one of this folder]
    path: Option<PathBuf>,
    #[command(flatten)]
    at: AtArgs,
}

/// What is written and run.
struct Work<'a> {
    context: &'a Context,
    manager: Manager,
    bundle: Bundle,
    /// Of the draft that runs or is about to; changes with the manifest.
    id: Option<String>,
    has_run: bool,
}

// === impl DevArgs ===

impl DevArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
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
        context.terminal.note(&format!("Watching {}; Ctrl-C stops the draft", folder.display()));
        context.terminal.note("Speak to it in another terminal: muxi chat");
        let mut work = Work { context, manager, bundle, id: None, has_run: false };
        let watching = async {
            loop {
                work.round().await?;
                if changes.recv().await.is_none() {
                    return Ok::<(), Fault>(());
                }
                while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
            }
        };
        let ended = tokio::select! {
            // Both cancel-safe here: whatever runs is stopped below.
            ended = watching => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        let stopped = work.end().await;
        ended.and(stopped).map(|()| Exit::Done)
    }
}

// === impl Work ===

impl Work<'_> {
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
                switch(&self.bundle, true)?;
                let act = if draft.is_fresh { "runs" } else { "runs anew" };
                self.tell("running", &format!("{id} {act} at {}", draft.url));
                self.has_run = true;
                Ok(())
            }
            // The next change may mend it; a manager that is gone or refuses will not change by itself.
            Err(fault) if fault.exit() == Exit::Failed && self.has_run => {
                self.tell("failed", &fault.to_text());
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    async fn end(&mut self) -> Result<(), Fault> {
        let Some(id) = self.id.take() else { return Ok(()) };
        switch(&self.bundle, false)?;
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
        terminal.print(&format!("{mark} {text}\n"));
    }
}

// === private helpers ===

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
