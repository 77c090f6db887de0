//! Logs, to standard error, as text or as one JSON object a line.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;

use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

/// The SDK of MCP tells every handshake, which whoever reads the usual log did not ask for.
const MCP_FAULTS_ONLY: &str = "rmcp=warn";

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

/// Changes the level of a logger that runs.
#[derive(Debug, Clone)]
pub struct LevelHandle(reload::Handle<EnvFilter, Registry>);

/// Whether the logger would take this level: a name or a filter such as `info,hyper=warn`.
pub fn is_level(level: &str) -> bool {
    filter(level).is_ok()
}

/// Starts logging for the whole process.
pub fn start(format: LogFormat, level: &str) -> Result<LevelHandle, InvalidLevel> {
    start_with(format, level, io::stderr)
}

/// The same with something that every line goes through, for what must not stand in a log.
pub fn start_filtered(
    format: LogFormat,
    level: &str,
    change: impl Fn(&str) -> String + Send + Sync + 'static,
) -> Result<LevelHandle, InvalidLevel> {
    let change = Arc::new(change);
    start_with(format, level, move || Changed(Arc::clone(&change)))
}

fn start_with<W>(format: LogFormat, level: &str, writer: W) -> Result<LevelHandle, InvalidLevel>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        // Reporting that standard error is gone, on standard error, would panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // A second start, as in tests, keeps the first logger.
    let _first_wins = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(LevelHandle(handle))
}

/// Standard error behind a change of its lines. A logger writes each line at once.
struct Changed<F>(Arc<F>);

// === impl Changed ===

impl<F: Fn(&str) -> String> Write for Changed<F> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(self.0(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

// === impl LevelHandle ===

impl LevelHandle {
    pub fn set(&self, level: &str) -> Result<(), InvalidLevel> {
        let filter = filter(level)?;
        // It fails only for a logger that another start kept from running.
        let _not_running = self.0.reload(filter);
        Ok(())
    }
}

fn filter(level: &str) -> Result<EnvFilter, InvalidLevel> {
    let invalid = || InvalidLevel { level: level.to_owned() };
    // The filter itself would take a misspelt level for the name of a module, and nothing for `error`.
    let known = |part: &str| {
        part.contains('=') || (!part.is_empty() && part.parse::<LevelFilter>().is_ok())
    };
    if !level.split(',').all(|part| known(part.trim())) {
        return Err(invalid());
    }
    let mut parts: Vec<&str> = level.split(',').map(str::trim).collect();
    let is_usual = parts.iter().any(|it| it.eq_ignore_ascii_case("info"));
    if is_usual && !parts.iter().any(|it| it.starts_with("rmcp")) {
        parts.push(MCP_FAULTS_ONLY);
    }
    EnvFilter::try_new(parts.join(",")).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_told_from_misspelt_ones() {
        for level in ["info", "DEBUG", "off", "info,hyper=warn", "warn, muxi_server=trace"] {
            assert!(is_level(level), "{level}");
        }
        for level in ["", "loud", "info,", "infos,hyper=warn", "hyper=loud"] {
            assert!(!is_level(level), "{level}");
        }
    }
}
