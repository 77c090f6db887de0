//! `muxi-server config`: look at the configuration without starting anything.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use muxi_server::config::{Folders, Overrides, Source};

use super::print;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting with its effective value, what the environment sets included, secrets
    /// masked.
    Show {
        /// Another file than the usual config.yaml.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Name every fault of a configuration with what the environment sets; exit code 0 if there is
    /// none.
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
                let (config, _) = source(config, folders)?.read()?;
                Ok(print(&config.to_masked_yaml()))
            }
            Self::Check { file } => {
                let source = source(file, folders)?;
                let (_, warnings) = source.read()?;
                let mut text = format!("{} is fine\n", source.path.display());
                for warning in warnings {
                    writeln!(text, "warning: {warning}")?;
                }
                Ok(print(&text))
            }
        }
    }
}

/// As a start without flags would read it.
fn source(file: Option<PathBuf>, folders: &Folders) -> anyhow::Result<Source> {
    let path = file.unwrap_or_else(|| folders.config_file());
    Ok(Source { path, overrides: Overrides::from_environment()? })
}
