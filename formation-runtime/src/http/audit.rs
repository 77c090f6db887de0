//! The log of what operators did: writing to it, reading it, clearing it.

use axum::extract::{FromRequestParts, State};
use axum::http::Uri;
use axum::http::request::Parts;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use muxi_contract::formation::audit::{AuditCleared, AuditEntry as EntryView, AuditLog};
use muxi_contract::{ErrorCode, RequestId};
use muxi_memory::{AuditEntry, AuditFilter, NewAuditEntry};

use super::answer::Answer;
use super::auth::Admin;
use super::error::Problem;
use super::query::Parameters;
use crate::app::App;

/// The only one who acts here: there is one admin key.
const OPERATOR: &str = "admin";
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;
const CONFIRMATION: &str = "clear-audit-log";

/// Writes down what an operator does with a request.
#[derive(Debug)]
pub(crate) struct Trail {
    app: App,
    request: RequestId,
}

/// What is done to which thing; to all of the kind, if none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) action: &'static str,
    pub(crate) resource: Resource,
    pub(crate) id: Option<String>,
}

macro_rules! resources {
    ($($kind:ident = $name:literal),* $(,)?) => {
        /// The kinds of things that operators change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(test, derive(utoipa::ToSchema), schema(rename_all = "snake_case"))]
        #[expect(dead_code, reason = "kinds that clients may ask for, also those nothing changes yet")]
        pub(crate) enum Resource { $($kind),* }

        impl Resource {
            const NAMES: &[&str] = &[$($name),*];

            const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }
        }
    };
}

resources![
    Agent = "agent",
    Secret = "secret",
    McpServer = "mcp_server",
    SchedulerJob = "scheduler_job",
    LoggingDestination = "logging_destination",
    Async = "async",
    Memory = "memory",
    User = "user",
    Request = "request",
    AuditLog = "audit_log",
];

pub(crate) async fn list(_: Admin, State(app): State<App>, uri: Uri) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let since_ms = query.text("since").map(since_ms).transpose()?;
    let limit = query.number("limit", 1..=LIMIT_MAX, LIMIT);
    let action = query.text("action").map(str::to_owned);
    let resource_type = query.text("resource_type").map(str::to_owned);
    if resource_type.as_ref().is_some_and(|it| !Resource::NAMES.contains(&it.as_str())) {
        query.fault("resource_type", format!("must be one of {}", Resource::NAMES.join(", ")));
    }
    query.finish()?;
    let page = app.store.audit(AuditFilter { action, resource_type, since_ms }, limit).await?;
    let entries: Vec<EntryView> = page.entries.into_iter().map(shown).collect();
    let data = AuditLog { count: entries.len(), entries, total_entries: page.total, limit };
    Ok(Answer::new("audit_log", "audit.retrieved", &data))
}

pub(crate) async fn clear(
    _: Admin,
    trail: Trail,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    if Parameters::of(&uri).text("confirm") != Some(CONFIRMATION) {
        let message = format!("clearing the audit log needs ?confirm={CONFIRMATION}");
        return Err(Problem::new(ErrorCode::InvalidParameter, message));
    }
    let act = Act { action: "audit.cleared", resource: Resource::AuditLog, id: None };
    let cleared = app.store.clear_audit(trail.entry(act)).await?;
    let data = AuditCleared {
        message: "The audit log was cleared.".to_owned(),
        previous_entries_count: cleared,
        cleared_by: OPERATOR.to_owned(),
    };
    Ok(Answer::new("audit_log", "audit.cleared", &data))
}

// === impl Trail ===

impl Trail {
    /// Does the work between two notes: that it begins, and what came of it. Work whose process dies
    /// stays noted as pending.
    pub(crate) async fn record<T>(
        &self,
        act: Act,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let store = &self.app.store;
        let entry = store.begin_audit(self.entry(act), self.app.limits.audit_entries).await?;
        let done = work.await;
        let outcome = done.as_ref().map(|_| ()).map_err(|problem| problem.code.name());
        store.end_audit(entry, outcome).await?;
        done
    }

    /// What a client does is not remembered.
    pub(crate) async fn record_if<T>(
        &self,
        is_operator: bool,
        act: Act,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        if is_operator { self.record(act, work).await } else { work.await }
    }

    fn entry(&self, act: Act) -> NewAuditEntry {
        NewAuditEntry {
            action: act.action,
            resource_type: act.resource.name(),
            resource_id: act.id,
            request_id: self.request.clone(),
            at_ms: self.app.clock.now_ms(),
        }
    }
}

impl FromRequestParts<App> for Trail {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let request = parts.extensions.get::<RequestId>().cloned();
        Ok(Self { app: App::clone(app), request: request.unwrap_or_else(RequestId::generate) })
    }
}

// === private helpers ===

fn shown(entry: AuditEntry) -> EntryView {
    let kind = entry.resource_type;
    EntryView {
        id: entry.seq,
        timestamp: Timestamp::from_millisecond(entry.at_ms).unwrap_or_default().to_string(),
        action: entry.action,
        resource: entry.resource_id.as_ref().map_or(kind.clone(), |id| format!("{kind}/{id}")),
        resource_type: kind,
        resource_id: entry.resource_id,
        user: OPERATOR.to_owned(),
        request_id: entry.request_id,
        outcome: entry.outcome,
        error: entry.error,
    }
}

/// A time, or a day, which begins at midnight; without a zone it is UTC.
fn since_ms(text: &str) -> Result<i64, Problem> {
    let in_utc = |time: DateTime| time.to_zoned(TimeZone::UTC).ok().map(|it| it.timestamp());
    let without_zone =
        || text.parse::<DateTime>().ok().or_else(|| Some(text.parse::<Date>().ok()?.into()));
    let time = text.parse::<Timestamp>().ok().or_else(|| in_utc(without_zone()?));
    // The millisecond in which it lies has begun before it.
    let time = time.and_then(|time| time.checked_add(SignedDuration::from_nanos(999_999)).ok());
    time.map(Timestamp::as_millisecond).ok_or_else(|| {
        let message = "since must be an ISO 8601 time such as 2026-01-31T12:00:00Z";
        Problem::new(ErrorCode::InvalidParameter, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_in_every_usual_form() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Some(1_000)),
            ("1970-01-01T01:00:01+01:00", Some(1_000)),
            ("1970-01-01T00:00:01.0005Z", Some(1_001)),
            ("1970-01-01T00:00:01", Some(1_000)),
            ("1970-01-02", Some(86_400_000)),
            ("yesterday", None),
        ] {
            assert_eq!(since_ms(text).ok(), expected, "{text}");
        }
    }
}
