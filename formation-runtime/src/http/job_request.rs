//! From a JSON body to a job, or to everything that is wrong with it. Pure, but for the machine's zones.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use muxi_contract::UserId;
use muxi_contract::envelope::ValidationError;
use muxi_memory::{Job, JobTimes};
use serde_json::{Map, Value, json};

use super::error::Problem;
use crate::app::Parts;
use crate::scheduler::times;

const TITLE_CHARS_MAX: usize = 500;
/// Of a title that is made of the message.
const TITLE_CHARS: usize = 80;
const RECURRING: &str = "recurring";
const ONE_TIME: &str = "one_time";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct New {
    pub(super) user: UserId,
    pub(super) title: String,
    pub(super) message: String,
    pub(super) times: NewTimes,
}

/// Times that were checked, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewTimes {
    pub(super) times: JobTimes,
    pub(super) timezone: String,
    pub(super) first: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) title: Option<String>,
    pub(super) message: Option<String>,
    pub(super) times: Option<NewTimes>,
}

pub(super) fn new_job(
    fields: &Map<String, Value>,
    app: &Parts,
    now: Timestamp,
) -> Result<New, Problem> {
    let mut reader = Reader::new(fields, app);
    let user = reader.user();
    let kind = reader.required("type").map(|kind| reader.kind(kind));
    let schedule = reader.required("schedule");
    let message = reader.required("message").and_then(|message| reader.message(message));
    let title = reader.title();
    let zone = reader.zone(None);
    let times = match (kind.flatten(), schedule, zone) {
        (Some(kind), Some(schedule), Some(zone)) => reader.times(kind, schedule, zone, now),
        _ => None,
    };
    match (user, message, times) {
        (Some(user), Some(message), Some(times)) if reader.faults.is_empty() => {
            let title = title.unwrap_or_else(|| title_of(&message));
            Ok(New { user, title, message, times })
        }
        _ => Err(reader.problem()),
    }
}

pub(super) fn change(
    fields: &Map<String, Value>,
    job: &Job,
    app: &Parts,
    now: Timestamp,
) -> Result<Change, Problem> {
    let mut reader = Reader::new(fields, app);
    let kind = match (reader.text("type"), &job.times) {
        (Some(kind), _) => reader.kind(kind),
        (None, JobTimes::Recurring { .. }) => Some(RECURRING),
        (None, JobTimes::Once { .. }) => Some(ONE_TIME),
    };
    let message = reader.text("message").and_then(|message| reader.message(message));
    let title = reader.title();
    let zone = reader.zone(Some(&job.timezone));
    let schedule = match (reader.text("schedule"), &job.times) {
        (Some(schedule), _) => Some(schedule),
        // The same times in another zone.
        (None, JobTimes::Recurring { cron }) if fields.contains_key("timezone") => {
            Some(cron.as_str())
        }
        (None, _) => None,
    };
    let times = match (kind, schedule, zone) {
        (Some(kind), Some(schedule), Some(zone)) => reader.times(kind, schedule, zone, now),
        _ => None,
    };
    if reader.faults.is_empty() {
        Ok(Change { title, message, times })
    } else {
        Err(reader.problem())
    }
}

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    app: &'a Parts,
    faults: Vec<Fault>,
}

/// A fault in both of the published forms.
struct Fault {
    field: &'static str,
    kind: &'static str,
    value: Value,
    expected: &'static str,
    error: String,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn new(fields: &'a Map<String, Value>, app: &'a Parts) -> Self {
        Self { fields, app, faults: Vec::new() }
    }

    fn text(&mut self, field: &'static str) -> Option<&'a str> {
        match self.fields.get(field)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                self.fault(field, "wrong_type", "a text", "must be a text".to_owned());
                None
            }
        }
    }

    fn required(&mut self, field: &'static str) -> Option<&'a str> {
        if matches!(self.fields.get(field), None | Some(Value::Null)) {
            self.fault(field, "missing", "a text", "is required".to_owned());
        }
        self.text(field)
    }

    fn user(&mut self) -> Option<UserId> {
        let Some(user) = self.text("user_id") else { return Some(UserId::anonymous()) };
        match user.parse() {
            Ok(user) => Some(user),
            Err(error) => {
                let error = format!("{error}");
                self.fault("user_id", "invalid", "the id of a user", error);
                None
            }
        }
    }

    fn kind(&mut self, kind: &str) -> Option<&'static str> {
        let known = [RECURRING, ONE_TIME].into_iter().find(|known| *known == kind);
        if known.is_none() {
            let expected = "\"one_time\" or \"recurring\"";
            self.fault("type", "invalid", expected, format!("must be {expected}"));
        }
        known
    }

    fn message(&mut self, message: &str) -> Option<String> {
        let chars_max = self.app.manifest.input_limits.max_message_length;
        let chars = message.chars().count();
        if message.trim().is_empty() {
            self.fault("message", "too_short", "a message", "must not be empty".to_owned());
        } else if chars > chars_max {
            let error = format!("has {chars} characters; this formation takes {chars_max}");
            self.fault("message", "too_long", "a shorter message", error);
        } else {
            return Some(message.to_owned());
        }
        None
    }

    fn title(&mut self) -> Option<String> {
        let title = self.text("title")?.trim();
        if title.chars().count() > TITLE_CHARS_MAX {
            let error = format!("may have {TITLE_CHARS_MAX} characters");
            self.fault("title", "too_long", "a shorter title", error);
        }
        (!title.is_empty()).then(|| title.to_owned())
    }

    fn zone(&mut self, of_job: Option<&str>) -> Option<(String, TimeZone)> {
        let config = &self.app.scheduler.config;
        let name = self.text("timezone").or(of_job).unwrap_or(&config.timezone);
        if let Ok(zone) = TimeZone::get(name) {
            return Some((name.to_owned(), zone));
        }
        let error = "is not a time zone that this machine knows".to_owned();
        self.fault("timezone", "invalid", "a time zone such as Europe/Berlin", error);
        None
    }

    fn times(
        &mut self,
        kind: &str,
        schedule: &str,
        (timezone, zone): (String, TimeZone),
        now: Timestamp,
    ) -> Option<NewTimes> {
        let found = if kind == RECURRING {
            recurring(schedule, &zone, now)
        } else {
            let moment = times::parse_moment(schedule, &zone, self.app.scheduler.usual_time);
            once(moment, now)
        };
        match found {
            Ok((times, first)) => Some(NewTimes { times, timezone, first }),
            Err(error) => {
                let expected = if kind == RECURRING {
                    "a cron expression of 5 to 7 fields, such as `0 9 * * 1-5`"
                } else {
                    "a moment in the future, such as `2030-01-31T12:00:00Z`"
                };
                self.fault("schedule", "invalid_format", expected, error);
                None
            }
        }
    }

    fn fault(
        &mut self,
        field: &'static str,
        kind: &'static str,
        expected: &'static str,
        error: String,
    ) {
        let value = self.fields.get(field).cloned().unwrap_or_default();
        self.faults.push(Fault { field, kind, value, expected, error });
    }

    /// All faults, and the first of them in the form that this route always had.
    fn problem(self) -> Problem {
        let listed: Vec<ValidationError> = self
            .faults
            .iter()
            .map(|Fault { field, kind, error, .. }| ValidationError {
                field: (*field).to_owned(),
                message: format!("{field} {error}"),
                kind: (*kind).to_owned(),
            })
            .collect();
        let mut problem = Problem::invalid(&listed);
        if let (Some(data), Some(first)) = (&mut problem.data, self.faults.into_iter().next()) {
            let Fault { field, value, expected, error, .. } = first;
            data["field"] = json!(field);
            data["value"] = value;
            data["expected"] = json!(expected);
            data["error"] = json!(error);
        }
        problem
    }
}

// === private helpers ===

fn recurring(
    schedule: &str,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<(JobTimes, Timestamp), String> {
    let cron =
        times::parse_cron(schedule).map_err(|why| format!("is no cron expression: {why}"))?;
    let first = times::next_run(&cron, zone, now).ok_or("names no time that is yet to come")?;
    Ok((JobTimes::Recurring { cron: schedule.trim().to_owned() }, first))
}

fn once(moment: Option<Timestamp>, now: Timestamp) -> Result<(JobTimes, Timestamp), String> {
    let moment = moment.ok_or("is not a moment in ISO 8601")?;
    if moment <= now {
        return Err("must be in the future".to_owned());
    }
    Ok((JobTimes::Once { at_ms: moment.as_millisecond() }, moment))
}

/// The beginning of the message's first line.
fn title_of(message: &str) -> String {
    let line = message.trim().lines().next().unwrap_or_default().trim();
    if line.chars().count() <= TITLE_CHARS {
        return line.to_owned();
    }
    let cut: String = line.chars().take(TITLE_CHARS - 1).collect();
    format!("{}…", cut.trim_end())
}
