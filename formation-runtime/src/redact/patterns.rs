//! The shapes of what is private.

use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use regex::{Regex, RegexSet};

use super::digits;

/// What was found. Where two overlap, the one that comes first here names the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A value that the formation keeps as a secret.
    Secret,
    PrivateKey,
    DatabaseUrl,
    AwsKey,
    ApiKey,
    Jwt,
    BearerToken,
    Password,
    Email,
    Ssn,
    Card,
    Phone,
    DateOfBirth,
}

struct Pattern {
    kind: Kind,
    /// Its first group, if it has one, is what is private.
    shape: &'static str,
    check: Check,
}

/// What of a match is private after all.
enum Check {
    All,
    If(fn(&str, &Range<usize>) -> bool),
    /// The match is a run in which there may be several.
    Within(fn(&str, Range<usize>) -> Vec<Range<usize>>),
    /// As much of the beginning as fits, or nothing; then the search goes on one character later. Only
    /// for shapes of bounded length.
    Beginning(fn(&str, Range<usize>) -> Option<Range<usize>>),
}

const PATTERNS: &[Pattern] = &[
    Pattern {
        kind: Kind::PrivateKey,
        shape: r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?s:.*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|.*)",
        check: Check::All,
    },
    Pattern {
        kind: Kind::DatabaseUrl,
        shape: r#"(?i)(?:postgres(?:ql)?|mysql|mariadb|mongodb|rediss?|amqps?|mssql|sqlserver|clickhouse|cockroachdb|oracle|cassandra|neo4j|snowflake)(?:\+[a-z0-9]+)?://[^\s"'<>]+"#,
        check: Check::All,
    },
    Pattern {
        kind: Kind::AwsKey,
        shape: r"(?:^|[^A-Za-z0-9])((?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})(?:$|[^A-Za-z0-9])",
        check: Check::All,
    },
    Pattern {
        kind: Kind::ApiKey,
        shape: r"(?x)(?:^|[^A-Za-z0-9])(
            sk-[A-Za-z0-9_-]{16,} | (?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{10,}
            | sk_muxi_(?:client|admin)_[A-Za-z0-9]{8,} | fm[ac]_[A-Za-z0-9_-]{16,}
            | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,} | glpat-[A-Za-z0-9_-]{16,}
            | AIza[A-Za-z0-9_-]{30,} | ya29\.[A-Za-z0-9_-]{20,} | xox[abeoprs]-[A-Za-z0-9-]{10,}
            | hf_[A-Za-z0-9]{20,} | gsk_[A-Za-z0-9]{20,} | xai-[A-Za-z0-9]{20,} | npm_[A-Za-z0-9]{30,}
            | pypi-[A-Za-z0-9_-]{20,} | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}
        )",
        check: Check::All,
    },
    Pattern {
        kind: Kind::Jwt,
        shape: r"(?:^|[^A-Za-z0-9])(eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4})",
        check: Check::All,
    },
    Pattern {
        kind: Kind::BearerToken,
        shape: r"(?i)bearer\s{1,3}([A-Za-z0-9._~+/=-]{8,})",
        check: Check::If(is_no_word),
    },
    Pattern {
        kind: Kind::BearerToken,
        shape: r#"(?i)authorization["']?\s{0,3}[:=]\s{0,3}["']?(?:[a-z]{3,12}\s+)?([^\s"',]{8,})"#,
        check: Check::If(is_no_token),
    },
    Pattern {
        kind: Kind::Password,
        shape: r#"(?i)[a-z][a-z0-9+.-]*://[^\s/?\#@:"'<>]*:([^\s/?\#"'<>]+)@"#,
        check: Check::If(is_no_token),
    },
    Pattern {
        kind: Kind::Password,
        shape: r#"(?ix)(?: pass(?:word|wd|phrase) | pwd | secret(?:[_-]?(?:access[_-]?)?key)?
            | (?:api|private|admin|client|access)[_-]?key
            | (?:access|refresh|auth|id|session)[_-]?token
        )["']?\s{0,3}[=:]\s{0,3}["']?([^\s"'&,;)}]{3,})"#,
        check: Check::If(is_no_token),
    },
    Pattern {
        kind: Kind::Email,
        shape: r"[\w.%+'&-]+@(?:[\w-]+\.)+[\w-]+",
        check: Check::If(has_top_level_domain),
    },
    Pattern {
        kind: Kind::Ssn,
        shape: r"[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}",
        check: Check::Beginning(digits::ssn),
    },
    Pattern {
        kind: Kind::Ssn,
        shape: r"(?i)(?:ssn|social security)[^0-9\n]{0,12}([0-9]{9})",
        check: Check::Beginning(digits::ssn),
    },
    Pattern {
        kind: Kind::Card,
        shape: r"[0-9](?:[ -]?[0-9]){12,}",
        check: Check::Within(digits::cards),
    },
    Pattern {
        kind: Kind::Phone,
        shape: r"\+[1-9][0-9 ()./-]{6,22}[0-9]",
        check: Check::Beginning(digits::phone),
    },
    Pattern {
        kind: Kind::Phone,
        shape: r"00[1-9][0-9]{0,2}[ /-]\(?[0-9][0-9 ()./-]{4,18}[0-9]",
        check: Check::Beginning(digits::phone),
    },
    Pattern {
        kind: Kind::Phone,
        shape: r"(?:1[-. ])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-. ])[2-9][0-9]{2}[-. ][0-9]{4}",
        check: Check::Beginning(digits::phone),
    },
    Pattern {
        kind: Kind::DateOfBirth,
        shape: r"(?i)(?:born|birthday|birth|dob)[^0-9\n]{0,20}([0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4})",
        check: Check::All,
    },
];

/// Tells in one pass which of the shapes are there at all; mostly none is.
static ANY: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new(PATTERNS.iter().map(|it| it.shape)).expect("the shapes are written right")
});
/// Made when the shape is first met.
static EACH: [OnceLock<Regex>; PATTERNS.len()] = [const { OnceLock::new() }; PATTERNS.len()];

pub(super) fn find(text: &str, found: &mut Vec<(Range<usize>, Kind)>) {
    for index in &ANY.matches(text) {
        let pattern = &PATTERNS[index];
        let mut from = 0;
        while let Some(captures) = each(index).captures_at(text, from) {
            let Some(part) = captures.get(1).or_else(|| captures.get(0)) else { break };
            from = pattern.look(text, part.range(), found);
        }
    }
}

// === impl Kind ===

impl Kind {
    pub const COUNT: usize = 13;

    pub const fn name(self) -> &'static str {
        match self {
            Self::Secret => "SECRET",
            Self::PrivateKey => "PRIVATE_KEY",
            Self::DatabaseUrl => "DATABASE_URL",
            Self::AwsKey => "AWS_KEY",
            Self::ApiKey => "API_KEY",
            Self::Jwt => "JWT",
            Self::BearerToken => "TOKEN",
            Self::Password => "PASSWORD",
            Self::Email => "EMAIL",
            Self::Ssn => "SSN",
            Self::Card => "CARD",
            Self::Phone => "PHONE",
            Self::DateOfBirth => "DATE_OF_BIRTH",
        }
    }
}

// === impl Pattern ===

impl Pattern {
    /// Takes what is private of a match; the answer is where the search goes on.
    fn look(&self, text: &str, part: Range<usize>, found: &mut Vec<(Range<usize>, Kind)>) -> usize {
        let (start, end) = (part.start, part.end);
        match self.check {
            Check::All => found.push((part, self.kind)),
            Check::If(is_private) => {
                if is_private(text, &part) {
                    found.push((part, self.kind));
                }
            }
            Check::Within(parts) => {
                found.extend(parts(text, part).into_iter().map(|part| (part, self.kind)));
            }
            Check::Beginning(fitting) => {
                let Some(part) = fitting(text, part) else {
                    return text.ceil_char_boundary(start + 1);
                };
                let end = part.end;
                found.push((part, self.kind));
                return end;
            }
        }
        end
    }
}

// === private helpers ===

fn each(index: usize) -> &'static Regex {
    EACH[index]
        .get_or_init(|| Regex::new(PATTERNS[index].shape).expect("the shapes are written right"))
}

/// `Bearer authentication` is no token.
fn is_no_word(text: &str, part: &Range<usize>) -> bool {
    let part = &text[part.clone()];
    is_no_redaction(part) && (part.len() >= 20 || part.bytes().any(|byte| byte.is_ascii_digit()))
}

fn is_no_token(text: &str, part: &Range<usize>) -> bool {
    is_no_redaction(&text[part.clone()])
}

fn is_no_redaction(part: &str) -> bool {
    !(part.starts_with('[') && part.trim_end_matches(']').ends_with(|c: char| c.is_ascii_digit()))
}

fn has_top_level_domain(text: &str, part: &Range<usize>) -> bool {
    let last = text[part.clone()].rsplit('.').next().unwrap_or_default();
    last.chars().count() >= 2 && last.chars().any(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_written_right() {
        assert_eq!(ANY.len(), PATTERNS.len());
        for index in 0..PATTERNS.len() {
            assert!(each(index).captures_len() <= 2, "{index}");
        }
    }
}
