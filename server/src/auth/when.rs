//! Spans and times as people write them: `30d`, `12h`, `2027-01-31T12:00:00Z`.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// The text says no time that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    #[error("`{0}` is neither a span such as 30d or 12h nor a time such as 2027-01-31T12:00:00Z")]
    Unreadable(String),
    #[error("`{0}` is in the past")]
    Past(String),
    #[error("`{0}` is longer than {GRACE_DAYS_MAX} days")]
    TooLong(String),
}

/// The longest time that an old secret may stay valid beside the new one.
const GRACE_DAYS_MAX: u64 = 30;

/// A time in the future: a span from now, or the time itself.
pub fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, InvalidTime> {
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => after(text, now)?,
    };
    if time > now { Ok(time) } else { Err(InvalidTime::Past(text.to_owned())) }
}

/// How long an old secret stays valid.
pub fn grace(text: &str, now: Timestamp) -> Result<Duration, InvalidTime> {
    let span = after(text, now)?.duration_since(now);
    let span = Duration::try_from(span).map_err(|_| InvalidTime::Past(text.to_owned()))?;
    if span > Duration::from_secs(GRACE_DAYS_MAX * 24 * 3600) {
        return Err(InvalidTime::TooLong(text.to_owned()));
    }
    Ok(span)
}

/// Unix milliseconds as they stand on the wire.
pub fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// A day is a day of the calendar in UTC.
fn after(text: &str, now: Timestamp) -> Result<Timestamp, InvalidTime> {
    let unreadable = || InvalidTime::Unreadable(text.to_owned());
    let span: Span = text.parse().map_err(|_| unreadable())?;
    let then = now.to_zoned(TimeZone::UTC).checked_add(span).map_err(|_| unreadable())?;
    Ok(then.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_are_read() {
        let now: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
        let at = |text| expiry(text, now).map(|it| it.to_string());
        assert_eq!(at("30d").unwrap(), "2026-12-22T08:00:00Z");
        assert_eq!(at("1h").unwrap(), "2026-11-22T09:00:00Z");
        assert_eq!(at("2027-01-31T12:00:00Z").unwrap(), "2027-01-31T12:00:00Z");
        assert_eq!(
            at("2020-01-31T12:00:00Z"),
            Err(InvalidTime::Past("2020-01-31T12:00:00Z".into()))
        );
        assert!(matches!(at("soon"), Err(InvalidTime::Unreadable(_))));
        assert!(matches!(at("0s"), Err(InvalidTime::Past(_))));
        assert_eq!(grace("1h", now).unwrap(), Duration::from_hours(1));
        assert!(matches!(grace("31d", now), Err(InvalidTime::TooLong(_))));
        assert!(matches!(grace("-1h", now), Err(InvalidTime::Past(_))));
    }
}
