//! When jobs run: cron expressions and moments in a time zone. Pure.
//!
//! Clocks are put forward and back. A schedule that names its hours means hours of the wall clock: a
//! time that a clock leaves out is the moment when it is put forward, and one that it shows twice is
//! the first of the two. A schedule for every hour means hours that pass: it leaves out what the clock
//! leaves out, and runs in both of two hours that bear one name.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

const FIELDS: std::ops::RangeInclusive<usize> = 5..=7;
const CRON_CHARS_MAX: usize = 256;
const HOURS_A_DAY: usize = 24;

/// Reads a cron expression of 5 to 7 fields: seconds may come first, years last.
pub fn parse_cron(text: &str) -> Result<Cron, String> {
    let fields = text.split_whitespace().count();
    if !FIELDS.contains(&fields) || text.len() > CRON_CHARS_MAX {
        return Err(format!("it has {fields} fields"));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Optional).build();
    parser.parse(text).map_err(|error| error.to_string())
}

/// Reads a moment in ISO 8601. Without an offset it is a time of the zone, and without a time it is
/// the usual time of that day.
pub fn parse_moment(text: &str, zone: &TimeZone, usual: Time) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    // A text with a time is read as that first: reading it as a date would leave the time out.
    let has_time = text.contains([':', 'T', 't', ' ']);
    let civil = if has_time {
        text.parse::<DateTime>().ok()?
    } else {
        text.parse::<Date>().ok()?.to_datetime(usual)
    };
    moment(civil, zone)
}

/// The next run after a moment; none when there will be no more.
pub fn next_run(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let zoned = after.to_zoned(zone.clone());
    if cron.pattern.hours.values().len() == HOURS_A_DAY {
        return Some(cron.find_next_occurrence(&zoned, false).ok()?.timestamp());
    }
    let mut civil = zoned.datetime();
    loop {
        civil = cron.find_next_occurrence(&civil, false).ok()?;
        // While a clock shows an hour again, what is named has been.
        if let Some(moment) = moment(civil, zone).filter(|moment| *moment > after) {
            return Some(moment);
        }
    }
}

/// The first moment at which the clock shows this, or has left it out.
fn moment(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            ambiguous.earlier().ok()
        }
        AmbiguousOffset::Gap { after, .. } => {
            let before = after.to_timestamp(civil).ok()?;
            Some(zone.following(before).next()?.timestamp())
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[track_caller]
    fn check(cron: &str, zone_name: &str, after: &str, expected: &[&str]) {
        let (cron, zone) = (parse_cron(cron).unwrap(), zone(zone_name));
        let after: Timestamp = after.parse().unwrap();
        let runs = std::iter::successors(Some(after), |after| next_run(&cron, &zone, *after));
        let runs: Vec<String> =
            runs.skip(1).take(expected.len()).map(|run| run.to_string()).collect();
        assert_eq!(runs, expected);
    }

    #[test]
    fn usual_days() {
        check(
            "0 9 * * 1",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2026-01-05T09:00:00Z", "2026-01-12T09:00:00Z"],
        );
        // Exactly then is not after then, and a part of a second does no harm.
        check("0 9 * * *", "UTC", "2026-01-05T09:00:00Z", &["2026-01-06T09:00:00Z"]);
        check("0 9 * * *", "UTC", "2026-01-05T08:59:59.9Z", &["2026-01-05T09:00:00Z"]);
        check(
            "30 0 9 * * *",
            "Asia/Kolkata",
            "2026-01-05T00:00:00Z",
            &["2026-01-05T03:30:30Z", "2026-01-06T03:30:30Z"],
        );
        check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
        check("0 0 12 1 1 * 2027", "UTC", "2026-01-01T00:00:00Z", &["2027-01-01T12:00:00Z"]);
        check("0 9 * * MON-FRI", "UTC", "2026-01-02T10:00:00Z", &["2026-01-05T09:00:00Z"]);
        // Sunday is 0 and 7.
        check("0 9 * * 7", "UTC", "2026-01-01T00:00:00Z", &["2026-01-04T09:00:00Z"]);
    }

    #[test]
    fn what_the_clock_leaves_out_runs_once_when_it_is_put_forward() {
        // Berlin, 29 March 2026: after 01:59:59 comes 03:00:00, which is 01:00 UTC.
        let before = "2026-03-28T12:00:00Z";
        let expected = &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", before, expected);
        // Several of them are one, and so is the one at that very moment.
        check(
            "*/15 2 * * *",
            "Europe/Berlin",
            before,
            &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z", "2026-03-30T00:15:00Z"],
        );
        check(
            "0 2,3 * * *",
            "Europe/Berlin",
            before,
            &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z", "2026-03-30T01:00:00Z"],
        );
        // New York, 8 March: 01:59:59 is followed by 03:00:00, which is 07:00 UTC.
        check(
            "5 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            &["2026-03-08T07:00:00Z", "2026-03-09T06:05:00Z"],
        );
        // Half an hour, at Lord Howe: 4 October, 02:00 becomes 02:30.
        check(
            "10 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            &["2026-10-03T15:30:00Z", "2026-10-04T15:10:00Z"],
        );
    }

    #[test]
    fn what_the_clock_shows_twice_runs_once() {
        // Berlin, 25 October 2026: 02:00 to 03:00 is shown twice, first from 00:00 UTC.
        let before = "2026-10-24T12:00:00Z";
        check(
            "30 2 * * *",
            "Europe/Berlin",
            before,
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        );
        check(
            "*/30 2 * * *",
            "Europe/Berlin",
            before,
            &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:00:00Z"],
        );
        // Asked in the second of the two hours.
        check("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"]);
        check("0 */2 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &["2026-10-25T03:00:00Z"]);
    }

    #[test]
    fn every_hour_is_every_hour_that_passes() {
        check(
            "30 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:40:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"],
        );
        check(
            "30 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"],
        );
        check(
            "*/20 0-23 * * *",
            "Europe/Berlin",
            "2026-03-29T00:35:00Z",
            &["2026-03-29T00:40:00Z", "2026-03-29T01:00:00Z"],
        );
    }

    #[test]
    fn no_run_and_no_schedule() {
        let never = parse_cron("0 0 30 2 *").unwrap();
        assert_eq!(next_run(&never, &TimeZone::UTC, "2026-01-01T00:00:00Z".parse().unwrap()), None);
        let past = parse_cron("0 0 12 1 1 * 2020").unwrap();
        assert_eq!(next_run(&past, &TimeZone::UTC, "2026-01-01T00:00:00Z".parse().unwrap()), None);
        for bad in
            ["", "* * * *", "* * * * * * * *", "61 * * * *", "every monday", "@daily", "a b c d e"]
        {
            assert!(parse_cron(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments() {
        for (text, expected) in [
            ("2026-05-01T12:00:00Z", Some("2026-05-01T12:00:00Z")),
            ("2026-05-01T12:00:00+02:00", Some("2026-05-01T10:00:00Z")),
            ("2026-05-01T12:00:00.250Z", Some("2026-05-01T12:00:00.25Z")),
            ("2026-05-01T12:00", Some("2026-05-01T10:00:00Z")),
            ("2026-05-01", Some("2026-05-01T07:00:00Z")),
            ("2026-03-29T02:30:00", Some("2026-03-29T01:00:00Z")),
            ("2026-10-25T02:30:00", Some("2026-10-25T00:30:00Z")),
            ("tomorrow", None),
            ("2026-13-01", None),
            ("2026-05-01T99:00", None),
            ("", None),
        ] {
            let moment = parse_moment(text, &zone("Europe/Berlin"), time(9, 0, 0, 0));
            assert_eq!(moment.map(|it| it.to_string()).as_deref(), expected, "{text}");
        }
    }
}
