//! Values as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::plain;

/// One line; `-` for nothing.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => one_line(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(", "),
        Value::Object(_) => value.to_string(),
    }
}

/// Without line ends and whatever else would break a table.
pub(crate) fn one_line(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cut off behind so many characters.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    let text = one_line(text);
    if text.chars().count() <= chars_max {
        return text;
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A moment in the user's own time zone: RFC 3339, or seconds or milliseconds since 1970.
#[expect(clippy::cast_possible_truncation, reason = "a time beyond all times is none")]
pub(crate) fn time(value: &Value) -> Option<String> {
    /// As seconds these are in the year 5138, as milliseconds in 1973.
    const SECONDS_MAX: f64 = 1e11;
    let moment = match value {
        Value::Number(number) => {
            let number = number.as_f64()?;
            let milliseconds = if number < SECONDS_MAX { number * 1_000.0 } else { number };
            Timestamp::from_millisecond(milliseconds as i64).ok()?
        }
        Value::String(text) => text.parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let here = moment.to_zoned(TimeZone::system());
    Some(here.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// `1 message`, `2 messages`.
pub(crate) fn count(number: &Value, one: &str, many: &str) -> String {
    format!("{} {}", text_of(number), if *number == 1 { one } else { many })
}

/// The two largest units: `3d 4h`, `12s`.
pub(crate) fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let parts = UNITS.iter().scan(seconds, |left, (size, unit)| {
        let count = *left / size;
        *left %= size;
        Some((count, unit))
    });
    let parts: Vec<String> = parts
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3_661, "1h 1m"), (90_061, "1d 1h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn times_are_understood_in_all_three_ways() {
        use serde_json::json;

        let shown = time(&json!("2026-01-31T12:00:00Z"));
        assert!(shown.as_deref().is_some_and(|it| it.starts_with("2026-0")), "{shown:?}");
        assert_eq!(time(&json!(1_769_860_800.25)), shown);
        assert_eq!(time(&json!(1_769_860_800_250_u64)), shown);
        assert_eq!(time(&json!("soon")), None);
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb\r\n c"), "a[2Jb c");
        assert_eq!(cut("one two three", 8), "one two…");
        assert_eq!(cut("short", 8), "short");
    }
}
