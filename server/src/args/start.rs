//! `muxi-server start`: the flags that win over the environment and the file.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use muxi_server::config::{Folders, Overrides, Source};

#[derive(Debug, ClapArgs)]
pub(crate) struct StartArgs {
    /// Another file than the usual config.yaml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this port; 0 takes any free one.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Listen on this address.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// How much to log: error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Print the effective configuration, limits included, and do not start.
    #[arg(long)]
    pub(crate) dump_config: bool,
    /// Refused: a service manager starts programs in the background.
    #[arg(long, hide = true)]
    daemon: bool,
}

// === impl StartArgs ===

impl StartArgs {
    /// Flags ← environment ← file.
    pub(crate) fn source(&self, folders: &Folders) -> anyhow::Result<Source> {
        anyhow::ensure!(
            !self.daemon,
            "--daemon is not offered: a process that leaves its starter has nobody who starts it again\n\
             Run `muxi-server service install` and let systemd keep it, or use your own supervisor"
        );
        let flags = Overrides {
            host: self.host.clone(),
            port: self.port,
            log_level: self.log_level.clone(),
        };
        Ok(Source {
            path: self.config.clone().unwrap_or_else(|| folders.config_file()),
            overrides: flags.or(Overrides::from_environment()?),
        })
    }
}
