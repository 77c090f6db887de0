//! What must not stand in a log: the formation's own secrets by value, other people's keys and data by
//! shape. Found texts become tokens such as `[EMAIL_1]`, the same text the same token within one event.
//!
//! Invariants: no text is searched in more than linear time; what was redacted once stays as it is; ids and
//! times of ours are never taken for something else.

mod digits;
mod patterns;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

pub use self::patterns::Kind;

/// A shorter value is a word or a number that stands in many texts for something else.
const VALUE_BYTES_MIN: usize = 6;
/// A value below this is a secret only where it is a word of its own.
const LONG_VALUE_BYTES: usize = 10;

/// Knows the secrets of this process; clones share what they know.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<Arc<Vec<Zeroizing<String>>>>>);

/// How much is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The formation's secrets: for users, who may see what is their own.
    Secrets,
    /// Everything that is known or looks like it: for logs.
    Everything,
}

/// The redaction of one event: its tokens mean the same in all of its texts.
#[derive(Debug)]
pub struct Scope {
    values: Arc<Vec<Zeroizing<String>>>,
    depth: Depth,
    numbers: HashMap<(Kind, String), usize>,
    counts: [usize; Kind::COUNT],
}

// === impl Redactor ===

impl Redactor {
    /// From now on these values are found wherever they stand. What was a secret once stays one.
    pub fn learn<'a>(&self, secrets: impl IntoIterator<Item = &'a SecretString>) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut values = Vec::clone(&held);
        for secret in secrets {
            for form in forms(secret.expose_secret()) {
                if form.len() >= VALUE_BYTES_MIN && !values.contains(&form) {
                    values.push(form);
                }
            }
        }
        // The longest first: one may be part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        *held = Arc::new(values);
    }

    pub fn scope(&self, depth: Depth) -> Scope {
        let values = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        Scope { values, depth, numbers: HashMap::new(), counts: [0; Kind::COUNT] }
    }

    /// One text by itself.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.scope(Depth::Everything).text(text)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Redactor")
    }
}

// === impl Scope ===

impl Scope {
    pub fn text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let found = self.find(text);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut redacted = String::with_capacity(text.len());
        let mut from = 0;
        for (range, kind) in found {
            redacted.push_str(&text[from..range.start]);
            redacted.push_str(&self.token(kind, &text[range.clone()]));
            from = range.end;
        }
        redacted.push_str(&text[from..]);
        Cow::Owned(redacted)
    }

    /// All texts of a value, and numbers that are no numbers.
    pub fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text).into_owned()),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), self.value(value))).collect()
            }
            Value::Number(number) => match self.text(&number.to_string()) {
                Cow::Owned(redacted) => Value::String(redacted),
                Cow::Borrowed(_) => value.clone(),
            },
            Value::Bool(_) | Value::Null => value.clone(),
        }
    }

    /// In order, none touching another.
    fn find(&self, text: &str) -> Vec<(Range<usize>, Kind)> {
        let mut found = Vec::new();
        for value in self.values.iter() {
            let places = text.match_indices(value.as_str()).map(|(at, it)| at..at + it.len());
            let is_whole = |range: &Range<usize>| {
                value.len() >= LONG_VALUE_BYTES || !digits::is_attached(text, range)
            };
            found.extend(places.filter(is_whole).map(|range| (range, Kind::Secret)));
        }
        if self.depth == Depth::Everything {
            patterns::find(text, &mut found);
        }
        merged(found)
    }

    fn token(&mut self, kind: Kind, text: &str) -> String {
        let count = &mut self.counts[kind as usize];
        let number = *self.numbers.entry((kind, text.to_owned())).or_insert_with(|| {
            *count += 1;
            *count
        });
        format!("[{}_{number}]", kind.name())
    }
}

// === private helpers ===

/// A value, and as it stands in a quoted text and in an address.
fn forms(value: &str) -> Vec<Zeroizing<String>> {
    let value = value.trim();
    let quoted = format!("{value:?}");
    let quoted = quoted.trim_matches('"').to_owned();
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| {
        if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    let encoded: String = value.bytes().map(encode).collect();
    let mut forms = vec![Zeroizing::new(value.to_owned())];
    for form in [quoted, encoded] {
        if form != value {
            forms.push(Zeroizing::new(form));
        }
    }
    forms
}

/// What overlaps becomes one, of the kind that was found first.
fn merged(mut found: Vec<(Range<usize>, Kind)>) -> Vec<(Range<usize>, Kind)> {
    found.sort_by_key(|(range, kind)| (range.start, *kind));
    let mut merged: Vec<(Range<usize>, Kind)> = Vec::with_capacity(found.len());
    for (range, kind) in found {
        match merged.last_mut() {
            Some((last, last_kind)) if range.start < last.end => {
                last.end = last.end.max(range.end);
                *last_kind = (*last_kind).min(kind);
            }
            Some(_) | None => merged.push((range, kind)),
        }
    }
    merged
}

#[cfg(test)]
mod tests;
