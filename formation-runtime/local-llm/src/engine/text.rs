//! From the bytes of tokens to the text of an answer.

/// Joins bytes to valid UTF-8: a character is held back until it is whole.
#[derive(Debug, Default)]
pub(super) struct Utf8Assembler {
    incomplete: Vec<u8>,
}

/// Finds stop texts, also when they are spread over several tokens.
#[derive(Debug)]
pub(super) struct StopTexts {
    stops: Vec<String>,
    /// The end of the text so far, when it may be the beginning of a stop text.
    held: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Released {
    pub(super) text: String,
    pub(super) stopped: bool,
}

// === impl Utf8Assembler ===

impl Utf8Assembler {
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.incomplete.extend_from_slice(bytes);
        let mut text = String::new();
        let mut consumed = 0;
        for chunk in self.incomplete.utf8_chunks() {
            text.push_str(chunk.valid());
            consumed += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() || is_incomplete(invalid, consumed, self.incomplete.len()) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            consumed += invalid.len();
        }
        self.incomplete.drain(..consumed);
        text
    }

    /// What is left when no more bytes come.
    pub(super) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.incomplete)).into_owned()
    }
}

// === impl StopTexts ===

impl StopTexts {
    pub(super) fn new(mut stops: Vec<String>) -> Self {
        stops.retain(|stop| !stop.is_empty());
        Self { stops, held: String::new() }
    }

    pub(super) fn push(&mut self, text: &str) -> Released {
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return Released { text: std::mem::take(&mut self.held), stopped: true };
        }
        let rest = self.held.split_off(self.held.len() - self.undecided_bytes());
        Released { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// What was held back for a stop text that never came.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The length of the longest end of the text that begins some stop text.
    fn undecided_bytes(&self) -> usize {
        self.held
            .char_indices()
            .map(|(at, _)| &self.held[at..])
            .find(|end| self.stops.iter().any(|stop| stop.starts_with(end)))
            .map_or(0, str::len)
    }
}

// === private helpers ===

/// An invalid sequence at the very end is incomplete if more bytes could still make it valid.
fn is_incomplete(invalid: &[u8], start: usize, total: usize) -> bool {
    start + invalid.len() == total
        && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(pieces: &[&[u8]]) -> Vec<String> {
        let mut assembler = Utf8Assembler::default();
        let mut texts: Vec<_> = pieces.iter().map(|piece| assembler.push(piece)).collect();
        texts.push(assembler.finish());
        texts
    }

    #[test]
    fn characters_split_over_tokens_are_joined() {
        let cases: [(&[&[u8]], &[&str]); 6] = [
            (&[b"plain"], &["plain", ""]),
            (&[b"a\xc3", b"\xa9b"], &["a", "\u{e9}b", ""]),
            (&[b"\xf0", b"\x9f", b"\x98", b"\x80!"], &["", "", "", "\u{1f600}!", ""]),
            // A byte that can begin nothing is replaced at once and does not dam up what follows.
            (&[b"a\xffb", b"c"], &["a\u{fffd}b", "c", ""]),
            // A beginning that is not continued.
            (&[b"\xe2\x82", b"x"], &["", "\u{fffd}x", ""]),
            // A beginning that never ends.
            (&[b"ok\xe2\x82"], &["ok", "\u{fffd}"]),
        ];
        for (pieces, expected) in cases {
            assert_eq!(assemble(pieces), expected, "{pieces:?}");
        }
    }

    fn stop(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut texts = StopTexts::new(stops.iter().map(ToString::to_string).collect());
        let mut all = String::new();
        for piece in pieces {
            let released = texts.push(piece);
            all.push_str(&released.text);
            if released.stopped {
                return (all, true);
            }
        }
        all.push_str(&texts.finish());
        (all, false)
    }

    #[test]
    fn stop_texts_are_found_over_token_borders() {
        let cases: [(&[&str], &[&str], &str, bool); 8] = [
            (&[], &["a", "b"], "ab", false),
            (&["END"], &["one EN", "D two"], "one ", true),
            (&["END"], &["E", "N", "D"], "", true),
            (&["END"], &["EN", "EN", "ough"], "ENENough", false),
            (&["END"], &["EENE", "ND"], "EEN", true),
            (&["aab"], &["aa", "ab"], "a", true),
            // The earliest wins, whichever was named first.
            (&["later", "now"], &["x now later"], "x ", true),
            (&["\u{e9}\u{e9}"], &["caf\u{e9}", " \u{e9}", "\u{e9}"], "caf\u{e9} ", true),
        ];
        for (stops, pieces, expected, stopped) in cases {
            assert_eq!(stop(stops, pieces), (expected.to_owned(), stopped), "{stops:?} {pieces:?}");
        }
    }

    #[test]
    fn text_that_cannot_belong_to_a_stop_is_released_at_once() {
        let mut texts = StopTexts::new(vec!["\n\n".to_owned()]);
        assert_eq!(texts.push("hello\n"), Released { text: "hello".into(), stopped: false });
        assert_eq!(texts.push("you"), Released { text: "\nyou".into(), stopped: false });
    }
}
