//! `muxi-server init`: what it asks and what it says.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

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
        let made = init::init(&folders.config_file(), &answers.host, answers.port)?;
        Ok(print(&render(&made, &answers)))
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

fn render(made: &Initialised, answers: &Answers) -> String {
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
