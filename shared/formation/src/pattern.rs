//! Patterns of names, as the format has them: `*`, `?`, `[abc]`, `[a-z]`, `[!x]`, and letters as
//! they are. Written here because the crates for paths give `**` and an open `[` meanings of their
//! own, or refuse them.

/// Whether the whole name fits the pattern. Takes at most `pattern × name` steps.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern = tokens(pattern);
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where to go on after the last star, should what follows it not fit.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(Token::Star) => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(token) if token.fits(name[n]) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, from)) = retry else { return false };
                retry = Some((after_star, from + 1));
                p = after_star;
                n = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|token| matches!(token, Token::Star))
}

pub fn has_wildcards(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

enum Token {
    Star,
    Any,
    Letter(char),
    Class { is_negated: bool, ranges: Vec<(char, char)> },
}

// === impl Token ===

impl Token {
    fn fits(&self, letter: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => true,
            Self::Letter(own) => *own == letter,
            Self::Class { is_negated, ranges } => {
                let is_in = ranges.iter().any(|(first, last)| (*first..=*last).contains(&letter));
                is_in != *is_negated
            }
        }
    }
}

// === private helpers ===

fn tokens(pattern: &str) -> Vec<Token> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::new();
    let mut i = 0;
    while let Some(&letter) = letters.get(i) {
        i += 1;
        tokens.push(match letter {
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => match class(&letters[i..]) {
                Some((token, length)) => {
                    i += length;
                    token
                }
                None => Token::Letter('['),
            },
            other => Token::Letter(other),
        });
    }
    tokens
}

/// A class and how many letters it takes up behind its `[`; `None` when it has no end.
fn class(rest: &[char]) -> Option<(Token, usize)> {
    let is_negated = rest.first() == Some(&'!');
    let start = usize::from(is_negated);
    // A `]` that comes first is a member.
    let end = rest.iter().skip(start + 1).position(|it| *it == ']')? + start + 1;
    let members = &rest[start..end];
    let mut ranges = Vec::new();
    let mut i = 0;
    while let Some(&first) = members.get(i) {
        if members.get(i + 1) == Some(&'-')
            && let Some(&last) = members.get(i + 2)
        {
            ranges.push((first, last));
            i += 3;
        } else {
            ranges.push((first, first));
            i += 1;
        }
    }
    Some((Token::Class { is_negated, ranges }, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_fnmatch() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "a/b", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbYb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("A*", "abc", false),
            ("[abc]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[!]]", "a", true),
            ("[]]", "]", true),
            ("[^a]", "^", true),
            ("[a-]", "-", true),
            ("a[b", "a[b", true),
            ("a.c", "abc", false),
            ("é?", "éß", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(50), &"a".repeat(49)));
    }
}
