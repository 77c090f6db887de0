//! The command line of the daemon.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Parser, Subcommand};
use muxi_server::config::Config;
use muxi_server::init::Initialised;

/// Deploys and supervises formations: bundles of AI agents.
#[derive(Debug, Parser)]
#[command(
    name = "muxi-server",
    version,
    after_help = "\
First steps:
  muxi-server init      make a configuration with a fresh key pair
  muxi-server start     listen on 127.0.0.1:7890

Folders: $MUXI_CONFIG_DIR and $MUXI_DATA_DIR, else ~/.muxi/server."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make config.yaml with a fresh key pair, and print the pair once.
    Init(InitArgs),
    /// Serve until SIGTERM or Ctrl-C.
    Start(StartArgs),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting with its effective value, secrets masked.
    Show {
        /// Another file than the usual config.yaml.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// Ask nothing and take the defaults.
    #[arg(long)]
    non_interactive: bool,
    /// Address to listen on.
    #[arg(long, value_name = "HOST")]
    host: Option<std::net::IpAddr>,
    /// Port to listen on.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

/// What `init` was told.
#[derive(Debug)]
pub(crate) struct InitAnswers {
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StartArgs {
    /// Another file than the usual config.yaml.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
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
}

// === impl InitArgs ===

impl InitArgs {
    /// Asks on a terminal for what no flag says; without one, defaults stand.
    pub(crate) fn ask(&self) -> anyhow::Result<InitAnswers> {
        let defaults = Config::default().server;
        let interactive = !self.non_interactive && std::io::stdin().is_terminal();
        let host = match self.host {
            Some(host) => host.to_string(),
            None if interactive => question("Address to listen on", &defaults.host)?,
            None => defaults.host,
        };
        let port = match self.port {
            Some(port) => port,
            None if interactive => {
                let text = question("Port to listen on", &defaults.port.to_string())?;
                text.parse().map_err(|_| anyhow::anyhow!("`{text}` is no port"))?
            }
            None => defaults.port,
        };
        Ok(InitAnswers { host, port })
    }
}

// === impl StartArgs ===

impl StartArgs {
    /// Flags win over the file.
    pub(crate) fn apply(&self, config: &mut Config) -> anyhow::Result<()> {
        if let Some(port) = self.port {
            config.server.port = port;
        }
        if let Some(host) = &self.host {
            config.server.host.clone_from(host);
        }
        if let Some(level) = &self.log_level {
            config.logging.level.clone_from(level);
        }
        config.check().map_err(anyhow::Error::msg)
    }
}

/// Prints to standard output; a reader that is gone is no fault of ours.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

pub(crate) fn render_init(made: &Initialised, answers: &InitAnswers) -> String {
    format!(
        "Wrote {path}\n\n\
         Key ID:     {id}\n\
         Secret key: {secret}\n\n\
         The secret is shown only now; it stays in the file, which only you can read.\n\
         Next: muxi-server start   (listens on http://{host}:{port})\n",
        path = made.path.display(),
        id = made.key.id,
        secret = made.key.secret,
        host = answers.host,
        port = answers.port,
    )
}

fn question(what: &str, default: &str) -> anyhow::Result<String> {
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{what} [{default}]: ")?;
    stdout.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
}
