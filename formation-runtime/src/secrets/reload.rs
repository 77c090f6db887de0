//! Changed secrets are taken into use: the bundle is connected anew, and its agents are replaced.

use std::sync::PoisonError;

use muxi_contract::formation::agents::Agent;
use secrecy::ExposeSecret as _;

use super::{Opened, SecretError};
use crate::agents::Agents;
use crate::app::App;
use crate::load::{self, Formation};

/// From when on a changed secret counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// From the next request on.
    Now,
    NextStart,
}

/// What differs from what was in use before; names, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    pub added: Vec<String>,
    pub overwritten: Vec<String>,
    pub preserved: Vec<String>,
    pub removed: Vec<String>,
    /// Of the changed ones, those that the formation takes in at its start only.
    pub next_start: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Secrets(#[from] SecretError),
    #[error("the bundle does not load with these secrets: {}", .0.join("; "))]
    Refused(Vec<String>),
    #[error("the bundle's files have changed since the start; start the formation anew")]
    BundleChanged,
    #[error("the reload broke off")]
    BrokeOff,
}

/// Requests that are under way go on with what they began with.
pub async fn reload(app: &App) -> Result<Reloaded, ReloadError> {
    let _one_at_a_time = app.secrets.reloading.lock().await;
    let (bundle, around) = (app.secrets.bundle.clone(), app.secrets.around.clone());
    let loading = tokio::task::spawn_blocking(move || {
        let opened = Opened::read(&bundle, &around.data_dir).map_err(SecretError::from)?;
        let loaded = load::load(&bundle, &around);
        loaded.map(|formation| (opened, formation)).map_err(|it| ReloadError::Refused(it.faults))
    });
    let (opened, formation) = loading.await.map_err(|_| ReloadError::BrokeOff)??;
    if !is_same_bundle(app, &formation) {
        return Err(ReloadError::BundleChanged);
    }
    app.agents.replace_by(&formation.agents);
    let mut in_use = app.secrets.in_use.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reloaded = compare(&in_use, &opened);
    *in_use = opened;
    let changed = reloaded.added.iter().chain(&reloaded.overwritten).chain(&reloaded.removed);
    let until_restart = &app.secrets.uses.until_restart;
    reloaded.next_start = changed.filter(|name| until_restart.contains(*name)).cloned().collect();
    Ok(reloaded)
}

/// Takes one changed secret into use, if the formation can.
pub async fn after_change(app: &App, name: &str) -> Effect {
    if !app.secrets.uses.all.contains(name) {
        return Effect::Now;
    }
    match reload(app).await {
        Ok(_) if app.secrets.uses.until_restart.contains(name) => Effect::NextStart,
        Ok(_) => Effect::Now,
        Err(error) => {
            tracing::warn!(%error, "a changed secret counts from the next start on");
            Effect::NextStart
        }
    }
}

// === private helpers ===

/// Secrets alone may have changed: everything else of a bundle counts from a start on.
fn is_same_bundle(app: &App, formation: &Formation) -> bool {
    let shown = |agents: &Agents| -> Vec<Agent> {
        agents.all().iter().map(|agent| agent.shown()).collect()
    };
    formation.document == app.document && shown(&formation.agents) == shown(&app.agents)
}

fn compare(before: &Opened, now: &Opened) -> Reloaded {
    let mut reloaded = Reloaded::default();
    let value =
        |opened: &Opened, name: &str| opened.get(name).map(|it| it.expose_secret().to_owned());
    for name in now.names() {
        let names = match value(before, name) {
            None => &mut reloaded.added,
            same if same == value(now, name) => &mut reloaded.preserved,
            Some(_) => &mut reloaded.overwritten,
        };
        names.push(name.to_owned());
    }
    let gone = before.names().into_iter().filter(|name| now.get(name).is_none());
    reloaded.removed = gone.map(str::to_owned).collect();
    reloaded
}
