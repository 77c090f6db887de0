//! Where logs go and what became of them.

use axum::extract::State;
use muxi_contract::formation::logging::{
    ConversationDestination, ConversationDestinations, DestinationError, DestinationState,
    LoggingConfig, LoggingDestinationList, RedactionState, SystemDestination,
};
use tracing::level_filters::LevelFilter;

use super::answer::Answer;
use super::auth::Admin;
use crate::app::{App, Parts};
use crate::logging::Destination;
use crate::redact::Depth;

/// The section as its author wrote it; no default is filled in.
pub(crate) async fn logging(_: Admin, State(app): State<App>) -> Answer {
    let written = |key: &str| {
        let value = app.document.get("logging")?.get(key)?;
        // An address may hold what nobody marked as a secret.
        Some(app.redactor.scope(Depth::Everything).value(value)).filter(|value| !value.is_null())
    };
    let data = LoggingConfig {
        system: written("system"),
        conversation: written("conversation"),
        enabled: written("enabled").and_then(|enabled| enabled.as_bool()),
        streams: written("streams"),
        redaction: redaction(&app),
    };
    Answer::new("logging", "logging.retrieved", &data)
}

pub(crate) async fn destinations(_: Admin, State(app): State<App>) -> Answer {
    let system = &app.logging.system;
    let destinations: Vec<_> = app.logging.streams.iter().map(|it| stream(it)).collect();
    let data = LoggingDestinationList {
        system: SystemDestination {
            level: level(system),
            destination: system.shown.target.clone(),
            process_level: LevelFilter::current().to_string(),
            state: state(system),
        },
        conversation: ConversationDestinations { count: destinations.len(), destinations },
        redaction: redaction(&app),
    };
    Answer::new("logging_destination_list", "logging.destinations.list", &data)
}

// === private helpers ===

fn stream(destination: &Destination) -> ConversationDestination {
    let shown = &destination.shown;
    ConversationDestination {
        name: shown.name.clone(),
        transport: shown.transport.to_owned(),
        destination: shown.target.clone(),
        level: level(destination),
        format: shown.format.to_owned(),
        events: destination.takes().events.clone(),
        auth: shown.auth.map(str::to_owned),
        state: state(destination),
    }
}

fn level(destination: &Destination) -> String {
    destination.takes().level.name().to_lowercase()
}

fn state(destination: &Destination) -> DestinationState {
    let state = destination.state();
    let error =
        |(at, message): (jiff::Timestamp, String)| DestinationError { at: at.to_string(), message };
    DestinationState {
        queued: state.queued,
        sent: state.sent,
        dropped: state.dropped,
        last_error: state.last_error.map(error),
    }
}

fn redaction(app: &Parts) -> RedactionState {
    let entities = app.logging.entities.as_str().to_owned();
    RedactionState { patterns: "active".to_owned(), entities }
}
