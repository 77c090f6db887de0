//! `muxi-server service`: under systemd, for the machine or for one user.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Subcommand};
use muxi_server::config::{Config, Folders};
use muxi_server::service::{
    self, Before, DEFAULT_NAME, Installed, OWN_USER, Scope, Service, Tools,
};

use super::print;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  sudo muxi-server service install             for the machine, as the user `muxi`
  sudo muxi-server service install --run-as root
                                               each formation gets a user id of its own
  muxi-server service install --user           for yourself; it ends with your last session unless
                                               `loginctl enable-linger` was run
  muxi-server service install --print          show the unit and touch nothing

Configuration and data lie where this command finds them; see `muxi-server --help` on folders.")]
pub(crate) enum ServiceCommand {
    /// Write the unit, enable it and start it; once more changes nothing.
    Install {
        #[command(flatten)]
        which: Which,
        /// The user of a system service. `muxi` is made if it does not exist.
        #[arg(long, value_name = "USER", default_value = OWN_USER, conflicts_with = "user")]
        run_as: String,
        /// Print the unit and touch nothing.
        #[arg(long)]
        print: bool,
    },
    /// Stop and disable the service and remove its unit. Configuration and data stay.
    Uninstall {
        #[command(flatten)]
        which: Which,
    },
    /// Say whether it is installed, enabled and active; exit code 3 if it is not active.
    Status {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Which {
    /// A service of your own instead of the machine's.
    #[arg(long)]
    user: bool,
    /// The unit's name.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
}

/// As `systemctl status` says it.
const NOT_ACTIVE: u8 = 3;

// === impl ServiceCommand ===

impl ServiceCommand {
    pub(crate) fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        match self {
            Self::Install { which, run_as, print: only_print } => {
                let mut service = which.service(folders, run_as)?;
                // A service with a faulty configuration would start over and over.
                let (config, _) = Config::read(&folders.config_file())?;
                service.low_port = has_low_port(&config);
                if only_print {
                    service.check()?;
                    return Ok(print(&service.unit()));
                }
                Ok(print(&render(&service, &service::install(&service)?)))
            }
            Self::Uninstall { which } => {
                let removed = service::uninstall(&which.service(folders, OWN_USER.to_owned())?)?;
                Ok(print(&format!(
                    "Stopped the service and removed {}.\n\
                     The configuration in {} and the data in {} stay.\n",
                    removed.display(),
                    folders.config.display(),
                    folders.data.display()
                )))
            }
            Self::Status { which } => {
                let state = service::state(&which.service(folders, OWN_USER.to_owned())?)?;
                let unit = match state.ours {
                    None => "not installed".to_owned(),
                    Some(true) => state.unit.display().to_string(),
                    Some(false) => format!("{} (not made by this program)", state.unit.display()),
                };
                let text = format!(
                    "unit     {unit}\nenabled  {}\nactive   {}\n",
                    state.enabled, state.active
                );
                let code = print(&text);
                Ok(if state.active == "active" { code } else { ExitCode::from(NOT_ACTIVE) })
            }
        }
    }
}

fn render(service: &Service, done: &Installed) -> String {
    let unit = done.unit.display();
    let user = if done.made_user { "Made the user `muxi`.\n" } else { "" };
    let (own, linger) = match service.scope {
        Scope::System { .. } => ("", ""),
        Scope::User => {
            (" --user", "It ends with your last session; `loginctl enable-linger` lets it stay.\n")
        }
    };
    let name = &service.name;
    let wrote = match done.unit_was {
        Before::Absent => format!("Wrote {unit}; the service is enabled and runs.\n"),
        Before::Same => format!("{unit} was up to date; the service is enabled and runs.\n"),
        Before::Other => format!(
            "Wrote {unit} anew; the service is enabled.\n\
             If it was running: `systemctl{own} restart {name}` makes the new unit count.\n"
        ),
    };
    format!("{user}{wrote}Logs: journalctl{own} -u {name}\n{linger}")
}

// === impl Which ===

impl Which {
    fn service(&self, folders: &Folders, run_as: String) -> anyhow::Result<Service> {
        let scope = if self.user { Scope::User } else { Scope::System { user: run_as } };
        let folders = Folders {
            config: std::path::absolute(&folders.config)?,
            data: std::path::absolute(&folders.data)?,
        };
        Ok(Service {
            name: self.name.clone(),
            unit_folder: unit_folder(&scope)?,
            scope,
            program: std::env::current_exe().context("failed to find this program's own path")?,
            folders,
            low_port: false,
            tools: Tools { systemctl: "systemctl".into(), useradd: "useradd".into() },
        })
    }
}

fn unit_folder(scope: &Scope) -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    match scope {
        Scope::System { .. } => Ok("/etc/systemd/system".into()),
        Scope::User => {
            let home = || variable("HOME").map(|home| home.join(".config"));
            let config = variable("XDG_CONFIG_HOME").or_else(home);
            Ok(config.context("HOME is not set")?.join("systemd/user"))
        }
    }
}

fn has_low_port(config: &Config) -> bool {
    let redirect = config.server.tls.as_ref().and_then(|tls| tls.redirect_http_port);
    [Some(config.server.port), redirect].into_iter().flatten().any(|port| (1..1024).contains(&port))
}
