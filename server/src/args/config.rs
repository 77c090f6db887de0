//! `muxi-server config`: look at the configuration without starting anything.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use muxi_server::config::{Config, Folders};

use super::print;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting with its effective value, secrets masked.
    Show {
        /// Another file than the usual config.yaml.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Name every fault of a configuration; exit code 0 if there is none.
    Check {
        /// Another file than the usual config.yaml.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

// === impl ConfigCommand ===

impl ConfigCommand {
    pub(crate) fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        match self {
            Self::Show { config } => {
                let (config, _) = Config::read(&config.unwrap_or_else(|| folders.config_file()))?;
                Ok(print(&config.to_masked_yaml()))
            }
            Self::Check { file } => {
                let path = file.unwrap_or_else(|| folders.config_file());
                let (_, warnings) = Config::read(&path)?;
                let mut text = format!("{} is fine\n", path.display());
                for warning in warnings {
                    writeln!(text, "warning: {warning}")?;
                }
                Ok(print(&text))
            }
        }
    }
}
