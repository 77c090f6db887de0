//! `muxi up` and `muxi down`: this folder as a draft, beside whatever is deployed.

use std::path::Path;

use clap::Args;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::validate;
use crate::check::check;
use crate::client::manager::{Manager, ManagerArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::{Bundle, Settings};
use crate::files::profiles::LOCAL;

#[derive(Debug, Args)]
#[command(
    after_help = "Commands in this folder speak to the draft from then on, until `muxi down`; --live says otherwise."
)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    at: AtArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Formation [default: the one of this folder]
    id: Option<String>,
    #[command(flatten)]
    at: AtArgs,
}

/// The manager that runs drafts; it must be able to read the folder.
#[derive(Debug, Args)]
pub(crate) struct AtArgs {
    #[command(flatten)]
    manager: ManagerArgs,
    /// Speak to the manager of this machine on this port, with the profile's key
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

/// A draft that runs.
pub(super) struct Draft {
    pub(super) answer: Value,
    pub(super) url: Url,
    /// It took the place of one that ran.
    pub(super) is_fresh: bool,
}

// === impl UpArgs ===

impl UpArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let bundle = Bundle::required(&context.folder)?;
        let id = bundle.id()?;
        let checked = check(&bundle.folder);
        validate::sound(&bundle.folder, "run", &checked)?;
        for it in checked.warnings() {
            context.terminal.caution(it);
        }
        let manager = self.at.manager(&bundle.settings()?, context).await?;
        let draft = begin(&manager, id.as_str(), &bundle.folder).await?;
        self.at.switch_on(&bundle)?;
        let value = json!({"formation_id": id, "url": draft.url.as_str(), "draft": true, "run": draft.answer});
        Ok(context.show(&value, |_| {
            let act = if draft.is_fresh { "now runs" } else { "runs anew" };
            format!(
                "{} {id} {act} as a draft; commands in this folder speak to it until `muxi down`\n  {}\n  muxi chat\n",
                context.terminal.tick(),
                draft.url
            )
        }))
    }
}

// === impl DownArgs ===

impl DownArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let here = Bundle::find(&context.folder);
        let own = here.as_ref().map(Bundle::id).transpose();
        let (id, here) = match self.id {
            // What another folder remembers is not known here.
            Some(id) => (
                id.clone(),
                here.filter(|_| own.is_ok_and(|it| it.is_some_and(|it| it.as_str() == id))),
            ),
            None => match own? {
                Some(id) => (id.to_string(), here),
                None => {
                    return Err(Fault::usage("which draft? This folder has no formation")
                        .mend("muxi down ID"));
                }
            },
        };
        let settings = here.as_ref().map(Bundle::settings).transpose()?.unwrap_or_default();
        let manager = self.at.manager(&settings, context).await?;
        let stopped = end(&manager, &id).await;
        let was_here = here.is_some();
        let is_gone = stopped.as_ref().is_err_and(|it| it.exit() == Exit::NotFound);
        // A draft that is not there any more leaves nothing to speak to either.
        if let Some(bundle) = here.filter(|_| is_gone || stopped.is_ok()) {
            switch_off(&bundle)?;
        }
        let answer = stopped.map_err(|fault| fault.mend_missing("muxi up   runs one"))?;
        let text = format!("Stopped the draft of {id}");
        let text = if was_here { text + "; commands speak to what is deployed" } else { text };
        Ok(context.done(&answer, &text))
    }
}

// === impl AtArgs ===

impl AtArgs {
    /// From now on commands in the folder speak to the draft, there where it runs.
    pub(super) fn switch_on(&self, bundle: &Bundle) -> Result<(), Fault> {
        let before = bundle.settings()?;
        let (draft_profile, draft_port) =
            before.draft_place(self.manager.profile.as_ref(), self.port);
        bundle.remember(&Settings { draft: true, draft_profile, draft_port, ..before })
    }

    /// One that answers.
    pub(super) async fn manager(
        &self,
        settings: &Settings,
        context: &Context,
    ) -> Result<Manager, Fault> {
        let (profile, port) = settings.draft_place(self.manager.profile.as_ref(), self.port);
        let chosen = ManagerArgs { profile }.chosen(context, settings)?;
        let manager = Manager::new(chosen.on_port(port))?;
        let is_here = matches!(manager.url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        manager.raw("/health").await.map_err(|fault| {
            // Of the manager of this machine it is told anyway.
            let is_down =
                is_here && manager.chosen.name != LOCAL && fault.exit() == Exit::Unreachable;
            if is_down {
                fault.mend("muxi-server start   starts the manager of this machine")
            } else {
                fault
            }
        })?;
        Ok(manager)
    }
}

/// Runs the folder as it is now, in the place of the draft that runs.
pub(super) async fn begin(manager: &Manager, id: &str, folder: &Path) -> Result<Draft, Fault> {
    let body = json!({"path": folder.display().to_string()});
    let url = manager.formation_url(id, true);
    match manager.ask(Method::POST, "/rpc/dev/run", Some(&body)).await {
        Ok(answer) => Ok(Draft { answer, url, is_fresh: true }),
        Err(fault)
            if fault.exit() == Exit::Conflict && fault.message().starts_with("already running") =>
        {
            end(manager, id).await?;
            let answer = manager.ask(Method::POST, "/rpc/dev/run", Some(&body)).await;
            Ok(Draft { answer: answer.map_err(explained)?, url, is_fresh: false })
        }
        Err(fault) => Err(explained(fault)),
    }
}

pub(super) async fn end(manager: &Manager, id: &str) -> Result<Value, Fault> {
    manager.ask(Method::POST, "/rpc/dev/stop", Some(&json!({"formation_id": id}))).await
}

/// From now on commands in the folder speak to what is deployed.
pub(super) fn switch_off(bundle: &Bundle) -> Result<(), Fault> {
    let settings = bundle.settings()?;
    let (draft_profile, draft_port) = (None, None);
    bundle.remember(&Settings { draft: false, draft_profile, draft_port, ..settings })
}

// === private helpers ===

fn explained(fault: Fault) -> Fault {
    if fault.message().contains("dev.roots") {
        return fault
            .mend("write `dev: {enabled: true, roots: [FOLDER]}` into the manager's config.yaml")
            .mend("muxi-server reload");
    }
    fault
}
