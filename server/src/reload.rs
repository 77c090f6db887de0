//! Reads the configuration again on SIGHUP. All of it is checked before any of it counts; what cannot
//! change while the manager runs keeps its old value, and is named.

mod diff;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use muxi_contract::management::ConfigView;
use muxi_service::cors::CorsPolicy;
use muxi_service::telemetry::LevelHandle;
use tokio::signal::unix::Signal;

pub use self::diff::{Change, Changes, diff};
use crate::client_address::TrustedProxies;
use crate::config::{Config, Source, TlsConfig};
use crate::running::{self, LastReload, Running};
use crate::supervisor::Context;
use crate::tls::{LivePair, Pair, TlsError};
use crate::webhooks;

/// Where the configuration came from, and where it comes from again.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    level: LevelHandle,
    warnings: Vec<String>,
    /// What the management port serves, if it speaks TLS.
    pair: Option<Arc<LivePair>>,
    /// As it was read at the start, and as it was read last.
    start: Config,
    last: Config,
}

/// A configuration that is good as a whole.
struct Read {
    config: Config,
    /// What of it may change now, over what is in effect.
    effective: Config,
    warnings: Vec<String>,
    pair: Option<(TlsConfig, Pair)>,
}

/// The configuration in effect; readers never wait.
#[derive(Debug)]
pub struct Live {
    config: ArcSwap<Config>,
    view: ArcSwap<ConfigView>,
    /// What every request needs of it, made once.
    trusted: ArcSwap<TrustedProxies>,
    cors: ArcSwap<CorsPolicy>,
}

const MIXED: &str = "with what keeps its value until a restart, the configuration has faults:";
const REFUSED: &str = "the last reload was refused and changed nothing; the log says why";

// === impl Reloader ===

impl Reloader {
    pub fn new(source: Source, level: LevelHandle, warnings: Vec<String>) -> Self {
        let (start, last) = (Config::default(), Config::default());
        Self { source, level, warnings, pair: None, start, last }
    }

    /// Begins with what was read at the start; `effective` is what this machine made of it.
    pub(crate) fn begin(
        &mut self,
        read: &Config,
        effective: &Config,
        pair: Option<Arc<LivePair>>,
        loaded_at: String,
    ) -> Live {
        self.pair = pair;
        self.start = read.clone();
        self.last = read.clone();
        let view = ConfigView {
            loaded_at,
            reloads: 0,
            last_reload_ok: true,
            warnings: self.warnings.clone(),
        };
        Live {
            config: ArcSwap::from_pointee(effective.clone()),
            view: ArcSwap::from_pointee(view),
            trusted: ArcSwap::from_pointee(trusted(effective)),
            cors: ArcSwap::from_pointee(effective.proxy.cors.policy()),
        }
    }

    pub(crate) fn config_file(&self) -> &std::path::Path {
        &self.source.path
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

    /// Reloads at every signal, and certificates also when their files change, until the manager stops.
    pub(crate) async fn run(mut self, context: Arc<Context>, mut hangup: Signal) {
        loop {
            tokio::select! {
                biased;
                // Stop first, so that signals cannot delay it. Cancel-safe.
                () = context.shutdown.stopping.cancelled() => return,
                // Cancel-safe: signals that come together count as one.
                _ = hangup.recv() => self.reload(&context).await,
                // Cancel-safe: a look that comes later sees the same files.
                tls = next_look(&context), if self.pair.is_some() => {
                    if let (Some(pair), Some(tls)) = (&self.pair, tls) {
                        pair.refresh(&tls, context.clock.now());
                    }
                }
            }
        }
    }

    async fn reload(&mut self, context: &Context) {
        let reloads = context.live.view().reloads + 1;
        let done = match self.read(context).await {
            Ok(read) => self.apply(context, read, reloads),
            Err(fault) => {
                tracing::error!("the configuration stays as it was: {fault}");
                let mut view = ConfigView::clone(&context.live.view());
                view.warnings.retain(|warning| warning != REFUSED);
                view.warnings.push(REFUSED.to_owned());
                let view = ConfigView { reloads, last_reload_ok: false, ..view };
                context.live.view.store(Arc::new(view));
                LastReload { number: reloads, fault: Some(fault), ..LastReload::default() }
            }
        };
        running::report_reload(context, done);
    }

    /// Everything that can go wrong, before anything changes.
    async fn read(&self, context: &Context) -> Result<Read, String> {
        let (config, warnings) = self.source.read().map_err(|error| error.to_string())?;
        let faults = webhooks::faults(&config);
        if !faults.is_empty() {
            return Err(faults.join("\n"));
        }
        let effective = diff::overlay(&context.live(), &config);
        // Each may be fine alone, and what comes of both must be, too.
        let faults = effective.faults();
        if !faults.is_empty() {
            return Err(format!("{MIXED}\n{}", faults.join("\n")));
        }
        context.auth.judge(&effective).await.map_err(|error| error.to_string())?;
        let load = |tls: &TlsConfig| Ok((tls.clone(), Pair::load(tls, context.clock.now())?));
        let pair = effective.server.tls.as_ref().map(load).transpose();
        let pair = pair.map_err(|error: TlsError| error.to_string())?;
        Ok(Read { config, effective, warnings, pair })
    }

    fn apply(&mut self, context: &Context, read: Read, reloads: u32) -> LastReload {
        let Read { config, effective, mut warnings, pair } = read;
        let applied = diff(&self.last, &config).applied;
        let needs_restart = diff(&self.start, &config).needs_restart;
        if let Err(error) = self.level.set(&effective.logging.level) {
            tracing::error!("{error}");
        }
        context.live.set(effective);
        if let (Some(live), Some((tls, pair))) = (&self.pair, pair) {
            live.replace(&tls, pair);
        }
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

fn trusted(config: &Config) -> TrustedProxies {
    TrustedProxies::new(&config.server.trusted_proxies).expect("the configuration was checked")
}

/// Waits until the certificate's files are due for a look; where they lie.
async fn next_look(context: &Context) -> Option<TlsConfig> {
    let seconds = context.live().server.tls.as_ref().map_or(0, |tls| tls.watch_interval);
    tokio::time::sleep(Duration::from_secs(seconds.max(1).into())).await;
    context.live().server.tls.clone()
}

// === impl Live ===

impl Live {
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    pub(crate) fn trusted(&self) -> Arc<TrustedProxies> {
        self.trusted.load_full()
    }

    pub(crate) fn cors(&self) -> Arc<CorsPolicy> {
        self.cors.load_full()
    }

    fn set(&self, config: Config) {
        self.trusted.store(Arc::new(trusted(&config)));
        self.cors.store(Arc::new(config.proxy.cors.policy()));
        self.config.store(Arc::new(config));
    }

    pub fn view(&self) -> Arc<ConfigView> {
        self.view.load_full()
    }
}
