//! Tells others what happens: lines on standard output and in files, and batches over HTTP.
//!
//! Invariants: who tells an event never waits, whatever its destinations do; each destination holds a bounded
//! number of events, and what it cannot hold is counted and told once; nothing leaves without redaction.

mod destination;
mod http;
mod lines;
mod otlp;
mod shape;
mod worker;

use std::path::Path;
use std::sync::Arc;

use muxi_contract::FormationId;
use muxi_formation::manifest::logging::{self as manifest, LogTransport};
use muxi_service::Clock;
use tokio::sync::mpsc;

use crate::events::Level;
use crate::limits::Limits;
use crate::redact::Redactor;

pub use self::destination::{Destination, Offered, State, Takes};
use self::http::HttpSink;
use self::lines::LineSink;
use self::shape::{Encoder, Origin};
pub use self::worker::Worker;
use self::worker::{Parts, Sink};

/// All destinations of a formation.
#[derive(Debug, Clone)]
pub struct Logging {
    pub system: Arc<Destination>,
    pub streams: Vec<Arc<Destination>>,
    pub entities: Entities,
}

/// Whether names of people and the like are hidden. What would find them is a model that is not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entities {
    Off,
    Unavailable { is_asked_for: bool },
}

/// What workers share.
#[derive(Debug, Clone)]
pub struct Means<'a> {
    pub formation: &'a FormationId,
    pub data_dir: &'a Path,
    pub redactor: &'a Redactor,
    pub clock: &'a Clock,
    pub limits: &'a Limits,
}

// === impl Logging ===

impl Logging {
    /// The destinations, and what works for them; nothing is opened yet.
    pub fn new(wanted: &manifest::Logging, means: &Means<'_>) -> (Self, Vec<Worker>) {
        let origin = Arc::new(Origin::new(means.formation));
        let mut workers = Vec::new();
        let mut add = |name: String, takes, transport: &LogTransport, format| {
            let encoder = Encoder::new(format, Arc::clone(&origin));
            let (sink, transport, target, auth) = match transport {
                LogTransport::Lines(target) => {
                    let sink = LineSink::new(target, means.data_dir);
                    let (transport, shown) = lines::shown(target);
                    (Sink::Lines(sink), transport, shown, None)
                }
                LogTransport::Http { url, auth } => {
                    let sink = HttpSink::new(url, auth.clone(), format, means.limits);
                    let shown = means.redactor.text(url).into_owned();
                    (Sink::Http(Box::new(sink)), "stream", shown, Some(auth.name()))
                }
            };
            let (sender, receiver) = mpsc::channel(means.limits.log_events_queued);
            let destination = Arc::new(Destination::new(
                destination::Shown { name, transport, target, format: format.as_str(), auth },
                takes,
                sender,
            ));
            workers.push(Worker::new(Parts {
                destination: Arc::clone(&destination),
                receiver,
                sink,
                encoder,
                redactor: means.redactor.clone(),
                clock: means.clock.clone(),
                limits: *means.limits,
            }));
            destination
        };
        let level = wanted.system.level.unwrap_or_default();
        let transport = LogTransport::Lines(wanted.system.target.clone());
        let takes = Takes::system(Level::of(level));
        let system = add("system".to_owned(), takes, &transport, manifest::LogFormat::Jsonl);
        let mut streams = Vec::with_capacity(wanted.streams.len());
        for (i, stream) in wanted.streams.iter().enumerate() {
            let takes = Takes::conversations(Level::of(stream.level), stream.events.clone());
            streams.push(add(format!("streams[{i}]"), takes, &stream.transport, stream.format));
        }
        let entities = match wanted.entities {
            Some(false) => Entities::Off,
            asked => Entities::Unavailable { is_asked_for: asked.is_some() },
        };
        (Self { system, streams, entities }, workers)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Destination>> {
        std::iter::once(&self.system).chain(&self.streams)
    }
}

// === impl Entities ===

impl Entities {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

/// The levels of the process's own log that go with a level of the manifest.
pub fn process_level(level: manifest::LogLevel) -> &'static str {
    match level {
        // Of the libraries below, nobody wants to read everything.
        manifest::LogLevel::Debug => {
            "info,formation_runtime=debug,muxi_llm=debug,muxi_memory=debug,muxi_service=debug"
        }
        manifest::LogLevel::Info => "info",
        manifest::LogLevel::Warning => "warn",
        manifest::LogLevel::Error => "error",
    }
}

#[cfg(test)]
mod tests;
