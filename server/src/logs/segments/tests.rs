use std::collections::BTreeMap;
use std::io::Write as _;

use muxi_contract::logs::{LogCursor, LogStream};
use proptest::prelude::*;

use super::*;
use crate::logs::line::{prefix, stamp};
use crate::logs::{CountCache, Follow, Selection, start_of_last, start_since, tail};

fn appender(folder: &Path, segment_bytes_max: u64, segments_max: usize) -> Appender {
    let segment_age_max = Duration::from_hours(1);
    let rotation = Rotation { segment_bytes_max, segment_age_max, segments_max };
    Appender::new(folder.to_owned(), Some(rotation))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn line(second: i64, text: &str) -> Vec<u8> {
    format!("{}{text}\n", prefix(&stamp(at(second)), 1, LogStream::Stdout)).into_bytes()
}

fn append(appender: &mut Appender, second: i64, text: &str) {
    let done = appender.lock().unwrap().append(&line(second, text), at(second));
    assert!(done.fault.is_none() && done.lines == 1, "{done:?}");
}

fn texts(folder: &Path) -> Vec<String> {
    let tail = tail(folder, &Selection::default(), 10_000, usize::MAX).unwrap();
    tail.entries.into_iter().map(|entry| entry.line).collect()
}

/// Reads on until nothing is left; the lines, and how often some were missed.
fn drain(follow: &mut Follow) -> (Vec<String>, usize) {
    let (mut lines, mut gaps) = (Vec::new(), 0);
    loop {
        let seen = follow.look().unwrap();
        lines.extend(seen.entries.into_iter().map(|entry| entry.line));
        gaps += usize::from(seen.gap);
        if seen.at_end {
            return (lines, gaps);
        }
    }
}

#[test]
fn a_segment_ends_by_size_and_by_age_and_only_some_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    // Two lines a segment.
    let mut by_size = appender(folder.path(), 110, 4);
    for second in 0..20 {
        append(&mut by_size, second, "0123456789012345");
    }
    assert_eq!(numbers(folder.path()).unwrap(), [7, 8, 9, 10]);
    append(&mut by_size, 20, "old");
    append(&mut by_size, 20 + 3_599, "same age");
    let before = numbers(folder.path()).unwrap();
    append(&mut by_size, 20 + 3_600, "new");
    assert_eq!(numbers(folder.path()).unwrap().last(), Some(&(before.last().unwrap() + 1)));
}

#[test]
fn without_rotation_there_is_one_segment() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Appender::new(folder.path().to_owned(), None);
    for day in 0..10 {
        append(&mut writer, day * 86_400, &"x".repeat(10_000));
    }
    assert_eq!(numbers(folder.path()).unwrap(), [1]);
}

#[test]
fn a_torn_line_is_taken_away_before_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = appender(folder.path(), 1 << 20, 4);
    append(&mut writer, 0, "whole");
    let torn = line(1, "torn");
    let mut segment = OpenOptions::new().append(true).open(path(folder.path(), 1)).unwrap();
    segment.write_all(&torn[..torn.len() - 3]).unwrap();
    append(&mut writer, 2, "after");
    assert_eq!(texts(folder.path()), ["whole", "after"]);
}

#[test]
fn the_lock_is_one_for_all_and_outlives_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut one = appender(&log, 1 << 20, 4);
    let mut two = appender(&log, 1 << 20, 4);
    append(&mut one, 0, "one");
    let held = one.lock().unwrap();
    assert_eq!(two.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(held);
    append(&mut two, 1, "two");
    fs::remove_dir_all(&log).unwrap();
    append(&mut one, 2, "three");
    append(&mut two, 3, "four");
    assert_eq!(texts(&log), ["three", "four"]);
}

#[test]
fn who_reads_too_late_is_told_of_the_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = appender(folder.path(), 1, 4);
    append(&mut writer, 0, "0");
    let mut follow = Follow::new(folder.path().to_owned(), Selection::default(), LogCursor::START);
    assert_eq!(drain(&mut follow), (vec!["0".to_owned()], 0));
    for second in 1..=9 {
        append(&mut writer, second, &second.to_string());
    }
    assert_eq!(drain(&mut follow), (["6", "7", "8", "9"].map(str::to_owned).to_vec(), 1));
}

#[test]
fn selected_lines_are_found_from_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = appender(folder.path(), 400, 4);
    for number in 0..30u64 {
        let stream = LogStream::ALL[usize::from(number % 3 == 0)];
        let now = at(i64::try_from(number).unwrap());
        let text = format!("{}{number}\n", prefix(&stamp(now), number / 10, stream));
        writer.lock().unwrap().append(text.as_bytes(), now);
    }
    let numbers = |selection: &Selection, lines| -> Vec<u64> {
        let tail = tail(folder.path(), selection, lines, usize::MAX).unwrap();
        tail.entries.iter().map(|entry| entry.line.parse().unwrap()).collect()
    };
    // Ten of each stream; the older ones are gone with their segments.
    let kept = numbers(&Selection::default(), 10_000);
    assert!(kept.len() >= 10 && kept.is_sorted() && kept.last() == Some(&29), "{kept:?}");
    assert_eq!(numbers(&Selection::default(), 2), [24, 27, 28, 29]);
    let stderr = Selection { stream: Some(LogStream::Stderr), ..Selection::default() };
    assert_eq!(numbers(&stderr, 2), [24, 27]);
    let since = Selection {
        since: Some(stamp(at(26))),
        until: Some(stamp(at(28))),
        ..Selection::default()
    };
    assert_eq!(numbers(&since, 100), [26, 27, 28]);
    let instance = Selection { instance: Some(9), ..Selection::default() };
    assert_eq!(numbers(&instance, 100), [0u64; 0]);
    let counts = CountCache::default();
    for _ in 0..2 {
        assert_eq!(counts.count(folder.path()).unwrap().iter().sum::<u64>(), kept.len() as u64);
    }
    let short = tail(folder.path(), &Selection::default(), 100, 3).unwrap();
    assert!(short.truncated && short.entries.len() == 1, "{short:?}");
}

#[test]
fn all_that_came_since_a_time_follows_from_the_oldest_segment_that_may_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    // Two lines a segment; each segment was last written when its second line was.
    let mut by_size = appender(folder.path(), 110, 100);
    for second in 0..20 {
        append(&mut by_size, second, &format!("0123456789 {second}"));
    }
    for number in numbers(folder.path()).unwrap() {
        let written = at(i64::try_from(number).unwrap() * 2 - 1);
        let file = fs::File::options().write(true).open(path(folder.path(), number)).unwrap();
        file.set_modified(written.into()).unwrap();
    }
    let since = |second| Selection { since: Some(stamp(at(second))), ..Selection::default() };
    let start = |second| start_since(folder.path(), &since(second)).unwrap();
    // The clock of files may be behind by a second.
    assert_eq!(start(9), LogCursor { segment: 5, offset: 0 });
    assert_eq!(start(-5), LogCursor { segment: 1, offset: 0 });
    assert_eq!(start(99), crate::logs::end(folder.path()).unwrap());
    let mut follow = Follow::new(folder.path().to_owned(), since(9), start(9));
    let (lines, gaps) = drain(&mut follow);
    assert_eq!((lines.len(), gaps), (11, 0));
    assert_eq!((lines[0].as_str(), lines[10].as_str()), ("0123456789 9", "0123456789 19"));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(start_since(empty.path(), &since(0)).unwrap(), LogCursor::START);
}

proptest! {
    /// Whatever is written and whenever it rotates: a follower and a reader see every line once.
    #[test]
    fn no_line_is_lost_or_doubled_over_rotations(
        steps in prop::collection::vec((0usize..300, 1usize..5, 0usize..3), 1..40),
        segment_bytes_max in 1u64..2_000,
        backlog in 0usize..20,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut writers =
            [0, 1].map(|_| appender(folder.path(), segment_bytes_max, 10_000));
        let mut follow = Follow::new(folder.path().to_owned(), Selection::default(), LogCursor::START);
        let (mut written, mut followed) = (Vec::new(), Vec::new());
        for (length, lines, reader) in steps {
            let mut batch = Vec::new();
            for _ in 0..lines {
                let text = format!("{}:{}", written.len(), "ä".repeat(length));
                batch.extend(line(0, &text));
                written.push(text);
            }
            let writer = &mut writers[length % 2];
            let done = writer.lock().unwrap().append(&batch, at(0));
            prop_assert_eq!(done.lines, lines);
            for _ in 0..reader {
                let seen = follow.look().unwrap();
                prop_assert!(!seen.gap);
                followed.extend(seen.entries.into_iter().map(|entry| entry.line));
            }
        }
        let (rest, gaps) = drain(&mut follow);
        followed.extend(rest);
        prop_assert_eq!(gaps, 0);
        prop_assert_eq!(&followed, &written);
        prop_assert_eq!(&texts(folder.path()), &written);
        let from = start_of_last(folder.path(), &Selection::default(), backlog).unwrap();
        let mut late = Follow::new(folder.path().to_owned(), Selection::default(), from);
        let last = &written[written.len().saturating_sub(backlog)..];
        prop_assert_eq!(&drain(&mut late).0, last);
        // From every place that an entry names, exactly the later ones follow.
        let all = tail(folder.path(), &Selection::default(), 10_000, usize::MAX).unwrap();
        let places: BTreeMap<usize, LogCursor> =
            all.entries.iter().map(|entry| entry.cursor).enumerate().collect();
        for (number, cursor) in places.into_iter().step_by(7) {
            let mut late = Follow::new(folder.path().to_owned(), Selection::default(), cursor);
            prop_assert_eq!(&drain(&mut late).0, &written[number + 1..]);
        }
    }
}
