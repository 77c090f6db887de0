//! Reads the configuration again on SIGHUP. All of it is checked before any of it counts; what cannot
//! change while the manager runs keeps its old value, and is named.

mod diff;

use std::sync::Arc;

use arc_swap::ArcSwap;
use muxi_contract::management::ConfigView;
use muxi_service::telemetry::LevelHandle;
use tokio::signal::unix::Signal;

pub use self::diff::{Change, Changes, diff};
use crate::config::{Config, Source};
use crate::running::{self, LastReload, Running};
use crate::supervisor::Context;

/// Where the configuration came from, and where it comes from again.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    level: LevelHandle,
    warnings: Vec<String>,
    /// As it was read at the start, and as it was read last.
    start: Config,
    last: Config,
}

/// The configuration in effect; readers never wait.
#[derive(Debug)]
pub struct Live {
    config: ArcSwap<Config>,
    view: ArcSwap<ConfigView>,
}

// === impl Reloader ===

impl Reloader {
    pub fn new(source: Source, level: LevelHandle, warnings: Vec<String>) -> Self {
        let (start, last) = (Config::default(), Config::default());
        Self { source, level, warnings, start, last }
    }

    /// Begins with what was read at the start; `effective` is what this machine made of it.
    pub(crate) fn begin(&mut self, read: &Config, effective: &Config, loaded_at: String) -> Live {
        self.start = read.clone();
        self.last = read.clone();
        let view = ConfigView {
            loaded_at,
            reloads: 0,
            last_reload_ok: true,
            warnings: self.warnings.clone(),
        };
        Live { config: ArcSwap::from_pointee(effective.clone()), view: ArcSwap::from_pointee(view) }
    }

    /// What this manager says of itself as it begins to serve.
    pub(crate) fn running(&self, url: String, context: &Context) -> Running {
        Running {
            pid: std::process::id(),
            version: crate::VERSION.to_owned(),
            url,
            config_file: self.source.path.clone(),
            started_at: context.live.view().loaded_at.clone(),
            last_reload: LastReload::default(),
        }
    }

    /// Reloads at every signal until the manager stops.
    pub(crate) async fn run(mut self, context: Arc<Context>, mut hangup: Signal) {
        loop {
            tokio::select! {
                biased;
                // Stop first, so that signals cannot delay it. Cancel-safe.
                () = context.shutdown.stopping.cancelled() => return,
                // Cancel-safe: signals that come together count as one.
                _ = hangup.recv() => self.reload(&context),
            }
        }
    }

    fn reload(&mut self, context: &Context) {
        let reloads = context.live.view().reloads + 1;
        let done = match self.source.read() {
            Ok((config, warnings)) => self.apply(context, config, warnings, reloads),
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error}");
                let refused = "the last reload was refused and changed nothing; the log says why";
                let mut view = ConfigView::clone(&context.live.view());
                view.warnings.retain(|warning| warning != refused);
                view.warnings.push(refused.to_owned());
                context.live.view.store(Arc::new(ConfigView {
                    reloads,
                    last_reload_ok: false,
                    ..view
                }));
                LastReload { number: reloads, fault: Some(error.to_string()), ..Default::default() }
            }
        };
        running::report_reload(context, done);
    }

    fn apply(
        &mut self,
        context: &Context,
        config: Config,
        mut warnings: Vec<String>,
        reloads: u32,
    ) -> LastReload {
        let applied = diff(&self.last, &config).applied;
        let needs_restart = diff(&self.start, &config).needs_restart;
        let effective = diff::overlay(&context.live(), &config);
        if let Err(error) = self.level.set(&effective.logging.level) {
            tracing::error!("{error}");
        }
        context.live.config.store(Arc::new(effective));
        self.last = config;
        context.webhooks.reconfigured();
        let applied: Vec<String> = applied.iter().map(ToString::to_string).collect();
        let needs_restart: Vec<String> =
            needs_restart.iter().map(|it| format!("{it}: takes effect after a restart")).collect();
        warnings.extend(needs_restart.iter().cloned());
        tracing::info!(changes = applied.len(), "the configuration was read again");
        for change in &applied {
            tracing::info!("{change}");
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let loaded_at = context.clock.now().to_string();
        let view = ConfigView { loaded_at, reloads, last_reload_ok: true, warnings };
        context.live.view.store(Arc::new(view));
        LastReload { number: reloads, fault: None, applied, needs_restart }
    }
}

// === impl Live ===

impl Live {
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    pub fn view(&self) -> Arc<ConfigView> {
        self.view.load_full()
    }
}
