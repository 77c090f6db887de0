//! `muxi-server init`: what it asks and what it says.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use muxi_server::config::{Config, Folders};
use muxi_server::init::{self, Initialised};

use super::print;

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
    /// Let formations below this folder run where they lie (`muxi up`); for an address of this machine
    /// only, that is your home folder unless you say otherwise.
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_dev")]
    dev_root: Option<PathBuf>,
    /// Let no formation run where it lies.
    #[arg(long)]
    no_dev: bool,
}

/// What `init` was told.
#[derive(Debug)]
struct Answers {
    host: String,
    port: u16,
}

// === impl InitArgs ===

impl InitArgs {
    pub(crate) fn run(&self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let answers = self.ask()?;
        let dev_root = self.dev_root(&answers.host)?;
        let made =
            init::init(&folders.config_file(), &answers.host, answers.port, dev_root.as_deref())?;
        Ok(print(&render(&made, &answers, dev_root.as_deref())))
    }

    /// Others could reach a manager that listens elsewhere, so that one must be asked for it.
    fn dev_root(&self, host: &str) -> anyhow::Result<Option<String>> {
        let is_local = host.parse().is_ok_and(|it: std::net::IpAddr| it.is_loopback());
        let home = || std::env::var_os("HOME").map(PathBuf::from).filter(|it| it.is_absolute());
        let root = match &self.dev_root {
            Some(root) => Some(std::fs::canonicalize(root).with_context(|| {
                format!("the folder {} cannot be used for drafts", root.display())
            })?),
            None => home().filter(|_| is_local && !self.no_dev),
        };
        Ok(root.and_then(|it| it.into_os_string().into_string().ok()))
    }

    /// Asks on a terminal for what no flag says; without one, defaults stand.
    fn ask(&self) -> anyhow::Result<Answers> {
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
        Ok(Answers { host, port })
    }
}

fn render(made: &Initialised, answers: &Answers, dev_root: Option<&str>) -> String {
    let dev = dev_root.map_or_else(String::new, |root| {
        format!("Formations below {root} can be run where they lie (`muxi up`).\n")
    });
    format!(
        "Wrote {path}\n\n\
         Key ID:     {id}\n\
         Secret key: {secret}\n\n\
         The secret is shown only now; it stays in the file, which only you can read.\n{dev}\
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
