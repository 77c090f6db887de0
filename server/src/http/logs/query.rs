//! What a request for a log asks for. What the original ignores is ignored, and named.

use axum::http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use muxi_contract::logs::{LogCursor, LogStream};
use muxi_contract::management::ProblemKind;

use crate::http::error::Failure;
use crate::logs::{Selection, stamp};

/// The parameters of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) lines: Option<usize>,
    pub(super) streams: Streams,
    pub(super) follow: bool,
    /// Without its stream.
    pub(super) selection: Selection,
    /// Where to go on.
    pub(super) after: Option<LogCursor>,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Streams {
    #[default]
    All,
    One(LogStream),
    /// The name was none that there is: documented to give nothing.
    Unknown,
}

pub(super) const LINES_DEFAULT: usize = 100;
pub(super) const LINES_MAX: usize = 10_000;

/// Reads the parameters; faults of those that the original does not know are told all at once.
pub(super) fn parse(
    parameters: &[(String, String)],
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Asked, Failure> {
    let mut asked = Asked::default();
    let mut faults = Vec::new();
    let mut limit = None;
    for (name, value) in parameters {
        match name.as_str() {
            "lines" | "limit" => match value.parse::<usize>() {
                Ok(lines) if name == "lines" => asked.lines = Some(lines.min(LINES_MAX)),
                Ok(lines) => limit = Some(lines.min(LINES_MAX)),
                Err(_) => asked.warnings.push(format!("`{name}={value}` is no number of lines")),
            },
            "stream" => asked.streams = asked.stream(value),
            "follow" => asked.follow = asked.flag(value),
            "since" => match moment(value, now) {
                Some(at) => asked.selection.since = Some(stamp(at)),
                None => faults.push(no_moment(name, value)),
            },
            "until" => match moment(value, now) {
                Some(at) => asked.selection.until = Some(stamp(at)),
                None => faults.push(no_moment(name, value)),
            },
            "instance" => match value.parse() {
                Ok(number) => asked.selection.instance = Some(number),
                Err(_) => faults.push(format!("`instance={value}` is no number of an instance")),
            },
            "after" => match value.parse() {
                Ok(cursor) => asked.after = Some(cursor),
                Err(error) => faults.push(format!("`after`: {error}")),
            },
            _ => asked.warnings.push(format!("there is no parameter `{name}`")),
        }
    }
    asked.lines = asked.lines.or(limit);
    // A client that comes back knows best where it was.
    if let Some(id) = headers.get("last-event-id") {
        match id.to_str().unwrap_or_default().parse() {
            Ok(cursor) => asked.after = Some(cursor),
            Err(error) => faults.push(format!("`Last-Event-ID`: {error}")),
        }
    }
    match faults.as_slice() {
        [] => Ok(asked),
        [only] => Err(Failure::new(ProblemKind::ValidationError, only)),
        many => {
            let message = format!("The query has {} faults; see details", many.len());
            Err(Failure { details: faults, ..Failure::new(ProblemKind::ValidationError, message) })
        }
    }
}

// === impl Asked ===

impl Asked {
    fn stream(&mut self, value: &str) -> Streams {
        match value {
            "all" | "" => Streams::All,
            "stdout" => Streams::One(LogStream::Stdout),
            "stderr" => Streams::One(LogStream::Stderr),
            _ => {
                let fault = format!("`stream={value}` is none of stdout, stderr, all");
                self.warnings.push(fault);
                Streams::Unknown
            }
        }
    }

    fn flag(&mut self, value: &str) -> bool {
        match value {
            "true" | "1" => true,
            "false" | "0" | "" => false,
            _ => {
                self.warnings.push(format!("`follow={value}` is neither true nor false"));
                false
            }
        }
    }
}

fn no_moment(name: &str, value: &str) -> String {
    format!(
        "`{name}={value}` is no time; write such as 2026-11-22T07:38:00Z, or 15m for so long ago"
    )
}

/// A time, or so many seconds, minutes, hours or days ago.
fn moment(value: &str, now: Timestamp) -> Option<Timestamp> {
    const UNITS: [(char, i64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let ago = UNITS.iter().find_map(|(unit, seconds)| {
        let count: u32 = value.strip_suffix(*unit)?.parse().ok()?;
        Some(SignedDuration::from_secs(i64::from(count) * seconds))
    });
    if let Some(ago) = ago {
        return now.checked_sub(ago).ok();
    }
    // A plus sign that was not escaped arrives as a blank.
    value.replace(' ', "+").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T07:38:00Z";

    fn parse_text(query: &[(&str, &str)]) -> Result<Asked, Failure> {
        let owned: Vec<_> = query.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        parse(&owned, &HeaderMap::new(), NOW.parse().unwrap())
    }

    #[test]
    fn what_the_original_ignores_is_ignored_and_named() {
        for (query, lines) in [
            (vec![("lines", "7")], Some(7)),
            (vec![("limit", "8")], Some(8)),
            (vec![("limit", "8"), ("lines", "7")], Some(7)),
            (vec![("lines", "99999")], Some(LINES_MAX)),
        ] {
            let asked = parse_text(&query).unwrap();
            assert_eq!((asked.lines, asked.warnings.len()), (lines, 0), "{query:?}");
        }
        let query = [("lines", "-1"), ("line", "5"), ("stream", "both"), ("follow", "yes")];
        let asked = parse_text(&query).unwrap();
        assert_eq!((asked.lines, asked.streams, asked.follow), (None, Streams::Unknown, false));
        assert_eq!(asked.warnings.len(), 4, "{:?}", asked.warnings);
    }

    #[test]
    fn times_are_absolute_or_relative() {
        for (text, expected) in [
            ("15m", "2026-11-22T07:23:00.000000Z"),
            ("2d", "2026-11-20T07:38:00.000000Z"),
            ("2026-11-22T07:38:00.5Z", "2026-11-22T07:38:00.500000Z"),
            ("2026-11-22T09:38:00 02:00", "2026-11-22T07:38:00.000000Z"),
        ] {
            let asked = parse_text(&[("since", text)]).unwrap();
            assert_eq!(asked.selection.since.as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let query = [("since", "soon"), ("until", "m"), ("instance", "x"), ("after", "1")];
        let failure = parse_text(&query).unwrap_err();
        assert_eq!(failure.details.len(), 4, "{failure:?}");
    }
}
