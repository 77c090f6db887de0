//! Text of others that comes in pieces: what would steer a terminal is left out, also where a piece ends
//! within it.

/// Whoever opens a sequence and does not end it hides no more than this.
const SEQUENCE_CHARS_MAX: usize = 256;

/// Keeps where in an escape sequence the last piece ended.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    state: State,
    swallowed: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Behind the escape character.
    Escape,
    /// Parameters of a command, up to its letter.
    Command,
    /// A title, a link or the like, up to its end.
    Words,
    WordsEscape,
}

// === impl Cleaner ===

impl Cleaner {
    pub(crate) fn clean(&mut self, piece: &str) -> String {
        piece.chars().filter(|it| self.passes(*it)).collect()
    }

    fn passes(&mut self, it: char) -> bool {
        if self.state == State::Text {
            self.swallowed = 0;
            self.state = match it {
                '\u{1b}' => State::Escape,
                '\u{9b}' => State::Command,
                '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => State::Words,
                _ => return !it.is_control() || matches!(it, '\n' | '\t'),
            };
            return false;
        }
        self.swallowed += 1;
        self.state = match (self.state, it) {
            _ if self.swallowed > SEQUENCE_CHARS_MAX => State::Text,
            (State::Escape, '[') | (State::Command, ' '..='?') => State::Command,
            // Such as the choice of a character set, whose name follows.
            (State::Escape, ' '..='/') | (_, '\u{1b}') if self.state != State::Words => {
                State::Escape
            }
            (State::Words, '\u{1b}') => State::WordsEscape,
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::Words,
            (State::Words, it) if !matches!(it, '\u{7}' | '\u{18}' | '\u{1a}' | '\u{9c}') => {
                State::Words
            }
            (State::WordsEscape, it) if it != '\\' => State::Words,
            // Its end, or a character that breaks it off.
            _ => State::Text,
        };
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_left_out_wherever_a_piece_ends() {
        let text =
            "a\u{1b}[2Jb\u{1b}]0;title\u{7}c\u{1b}(Bd\u{1b}]8;;x\u{1b}\\e\r\u{8}\u{9b}31mf\n\tg";
        let mut whole = Cleaner::default();
        assert_eq!(whole.clean(text), "abcdef\n\tg");
        let mut pieces = Cleaner::default();
        let shown: String = text.chars().map(|it| pieces.clean(&it.to_string())).collect();
        assert_eq!(shown, "abcdef\n\tg");
    }

    #[test]
    fn a_sequence_without_an_end_does_not_hide_the_rest() {
        let mut cleaner = Cleaner::default();
        assert_eq!(cleaner.clean("\u{1b}]0;"), "");
        let shown = cleaner.clean(&"x".repeat(1_000));
        assert!((700..1_000).contains(&shown.len()), "{}", shown.len());
    }
}
