//! Fields of a JSON body, with all faults told at once. Absent and null are the same.

use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use muxi_contract::envelope::ValidationError;
use serde_json::{Map, Value};

use super::error::Problem;

#[derive(Debug)]
pub(super) struct Fields<'a> {
    given: &'a Map<String, Value>,
    /// Where the object stands in the body, such as `items.3.`.
    place: String,
    pub(super) faults: Vec<ValidationError>,
}

/// How long texts may be.
pub(super) const NAME_CHARS_MAX: usize = 256;

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(super) fn of(given: &'a Map<String, Value>) -> Self {
        Self::at(String::new(), given)
    }

    pub(super) fn at(place: String, given: &'a Map<String, Value>) -> Self {
        Self { given, place, faults: Vec::new() }
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.given.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn fault(&mut self, name: &str, message: &str, kind: &str) {
        let field = format!("{}{name}", self.place);
        let message = format!("{field} {message}");
        self.faults.push(ValidationError { field, message, kind: kind.to_owned() });
    }

    /// A text that is not blank.
    pub(super) fn text(&mut self, name: &str, chars_max: usize) -> Option<&'a str> {
        let Value::String(text) = self.value(name)? else {
            self.fault(name, "must be a text", "wrong_type");
            return None;
        };
        self.checked(name, text, chars_max)
    }

    /// The text itself, if it may be what the field says.
    pub(super) fn checked<'t>(
        &mut self,
        name: &str,
        text: &'t str,
        chars_max: usize,
    ) -> Option<&'t str> {
        if text.trim().is_empty() {
            self.fault(name, "must not be empty", "too_short");
            return None;
        }
        let chars = text.chars().count();
        if chars > chars_max {
            let message = format!("has {chars} characters; {chars_max} are taken");
            self.fault(name, &message, "too_long");
            return None;
        }
        Some(text)
    }

    pub(super) fn required_text(&mut self, name: &str, chars_max: usize) -> Option<&'a str> {
        self.require(name);
        self.text(name, chars_max)
    }

    pub(super) fn require(&mut self, name: &str) {
        if self.value(name).is_none() {
            self.fault(name, "is required", "missing");
        }
    }

    /// A value that is written in its own form, such as an id.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name, NAME_CHARS_MAX)?;
        text.parse().map_err(|error: T::Err| self.fault(name, &error.to_string(), "invalid")).ok()
    }

    pub(super) fn flag(&mut self, name: &str, absent: bool) -> bool {
        match self.value(name) {
            None => absent,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.fault(name, "must be true or false", "wrong_type");
                absent
            }
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Option<&'a Map<String, Value>> {
        let object = self.value(name)?.as_object();
        if object.is_none() {
            self.fault(name, "must be an object", "wrong_type");
        }
        object
    }

    pub(super) fn list(&mut self, name: &str, entries_max: usize) -> Option<&'a [Value]> {
        let Value::Array(entries) = self.value(name)? else {
            self.fault(name, "must be a list", "wrong_type");
            return None;
        };
        if !(1..=entries_max).contains(&entries.len()) {
            let message = format!("must have 1 to {entries_max} entries");
            self.fault(name, &message, "wrong_length");
            return None;
        }
        Some(entries)
    }

    /// ISO 8601, or Unix seconds.
    pub(super) fn time_ms(&mut self, name: &str) -> Option<i64> {
        let value = self.value(name)?;
        let time = match value.as_str() {
            Some(text) => text.parse::<Timestamp>().ok(),
            None => value.as_f64().and_then(|seconds| {
                let since = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
                Timestamp::UNIX_EPOCH.checked_add(since).ok()
            }),
        };
        if time.is_none() {
            let message = "must be an ISO 8601 time such as 2026-01-31T12:00:00Z, or Unix seconds";
            self.fault(name, message, "invalid_format");
        }
        time.map(Timestamp::as_millisecond)
    }

    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid(&self.faults)) }
    }
}
