//! One line of a log: `2026-11-22T07:38:19.123456Z 3 err the text`.

use jiff::Timestamp;
use muxi_contract::logs::LogStream;

/// A line as it lies in a segment, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Of fixed width, so that comparing texts compares times.
    pub(super) at: &'a str,
    pub(super) instance: u64,
    pub(super) stream: LogStream,
    pub(super) text: &'a str,
}

/// Cuts what comes from one pipe into lines.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: Vec<u8>,
}

/// A longer line is cut into several, so that one without an end cannot fill the memory.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 10;
/// Stands at the end of each part but the last.
pub(super) const CONTINUES: &str = " [continues]";
/// No line of a segment is longer: replacing an invalid byte makes three of it.
pub(super) const LINE_BYTES_MAX: usize = 3 * TEXT_BYTES_MAX + 128;

const STAMP_BYTES: usize = 27;

/// The time as every line begins with it.
pub fn stamp(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// What stands before the text of every line.
pub(super) fn prefix(stamp: &str, instance: u64, stream: LogStream) -> String {
    let short = match stream {
        LogStream::Stdout => "out",
        LogStream::Stderr => "err",
    };
    format!("{stamp} {instance} {short} ")
}

// === impl Line ===

impl<'a> Line<'a> {
    /// `None` for what no writer of ours wrote.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(bytes).ok()?;
        let (at, rest) = line.split_at_checked(STAMP_BYTES)?;
        let (instance, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
        let (short, text) = rest.split_once(' ')?;
        let stream = match short {
            "out" => LogStream::Stdout,
            "err" => LogStream::Stderr,
            _ => return None,
        };
        Some(Self { at, instance: instance.parse().ok()?, stream, text })
    }
}

// === impl Splitter ===

impl Splitter {
    /// Gives every line that `bytes` completes, as UTF-8 without its end.
    pub(super) fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.extend(&rest[..end], &mut line);
            self.finish(&mut line);
            rest = &rest[end + 1..];
        }
        self.extend(rest, &mut line);
        if self.partial.is_empty() {
            // A quiet instance costs no memory.
            self.partial.shrink_to(1 << 10);
        }
    }

    /// Gives what was begun and not ended.
    pub(super) fn end(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            self.finish(&mut line);
        }
    }

    fn extend(&mut self, mut bytes: &[u8], line: &mut impl FnMut(&str)) {
        while self.partial.len() + bytes.len() > TEXT_BYTES_MAX {
            let room = TEXT_BYTES_MAX - self.partial.len();
            self.partial.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            // A character that the cut goes through belongs to the next part.
            let torn = torn_tail(&self.partial);
            let next = self.partial.split_off(self.partial.len() - torn);
            line(&(String::from_utf8_lossy(&self.partial) + CONTINUES));
            self.partial = next;
        }
        self.partial.extend_from_slice(bytes);
    }

    fn finish(&mut self, line: &mut impl FnMut(&str)) {
        let text = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
        line(&String::from_utf8_lossy(text));
        self.partial.clear();
    }
}

/// How many bytes at the end are the beginning of one character.
fn torn_tail(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|back| {
            let lead = bytes[bytes.len() - back];
            let width = match lead {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => 0,
            };
            width > *back
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for chunk in chunks {
            splitter.feed(chunk, |line| lines.push(line.to_owned()));
        }
        splitter.end(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let cases: [(&[&[u8]], &[&str]); 5] = [
            (&[b"one\ntwo\n"], &["one", "two"]),
            (&[b"on", b"e\nt", b"wo"], &["one", "two"]),
            (&[b"\n\r\na\r", b"\nb"], &["", "", "a", "b"]),
            (&[b"\xffa\xc3", b"\xa4\n"], &["\u{fffd}aä"]),
            (&[], &[]),
        ];
        for (chunks, lines) in cases {
            assert_eq!(split(chunks), lines, "{chunks:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_says_so() {
        let text = format!("a{}", "ä".repeat(TEXT_BYTES_MAX));
        let parts = split(&[text.as_bytes()]);
        assert!(parts.len() > 2);
        let (last, cut) = parts.split_last().unwrap();
        let whole: String =
            cut.iter().map(|part| part.strip_suffix(CONTINUES).expect("it is marked")).collect();
        assert_eq!(whole + last, text);
        assert!(parts.iter().all(|it| it.len() <= TEXT_BYTES_MAX + CONTINUES.len()));
    }

    #[test]
    fn what_is_rendered_is_parsed() {
        let at = stamp(Timestamp::from_microsecond(1_790_000_000_000_001).unwrap());
        assert_eq!(at.len(), STAMP_BYTES);
        let text = " two  blanks ";
        let rendered = prefix(&at, 7, LogStream::Stderr) + text;
        let line = Line::parse(rendered.as_bytes()).unwrap();
        assert_eq!(line, Line { at: &at, instance: 7, stream: LogStream::Stderr, text });
        for foreign in ["", "hello", "2026-11-22T07:38:19.123456Z 7 log x", "\u{0}"] {
            assert_eq!(Line::parse(foreign.as_bytes()), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn where_a_pipe_is_cut_changes_nothing(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400),
            cuts in prop::collection::vec(0usize..400, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|it| &bytes[it[0]..it[1]]).collect();
            prop_assert_eq!(split(&chunks), split(&[&bytes]));
        }
    }
}
