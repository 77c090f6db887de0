//! Logs, to standard error, as text or as one JSON object a line.

use std::io::IsTerminal as _;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The level is not one that the logger knows.
#[derive(Debug, thiserror::Error)]
#[error("`{level}` is no log level; take error, warn, info, debug or trace")]
pub struct InvalidLevel {
    level: String,
}

/// Starts logging for the whole process. `level` is a name or a filter such as `info,hyper=warn`.
pub fn start(format: LogFormat, level: &str) -> Result<(), InvalidLevel> {
    let filter = EnvFilter::try_new(level).map_err(|_| InvalidLevel { level: level.to_owned() })?;
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start, as in tests, keeps the first logger.
    let _first_wins = match format {
        LogFormat::Text => logger.try_init(),
        LogFormat::Json => logger.json().flatten_event(true).try_init(),
    };
    Ok(())
}
