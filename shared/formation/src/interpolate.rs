//! Placeholders of load time, `${{ secrets.NAME }}` and `${{ env.VAR }}`, in any value; and of call
//! time, `${{ user.credentials.NAME }}`, which stay in the value until a user calls.
//!
//! Invariant: what a placeholder resolves to is kept apart from what was written, so that messages
//! can only quote the latter.

use std::collections::BTreeSet;
use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::diagnostic::{Diagnostic, Place};
use crate::schema::is_word;
use crate::yaml::{Filled, Node};

const OPEN: &str = "${{";
const CLOSE: &str = "}}";
const USER: &str = "user.credentials.";

/// Where the value of a placeholder comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Secrets,
    Env,
}

/// A placeholder and where it stands first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub source: Source,
    /// As written; the vault normalises it.
    pub name: String,
    pub file: String,
    pub line: usize,
    pub column: usize,
}

/// What loading does with placeholders.
#[derive(Clone, Copy)]
pub enum Resolve<'a> {
    /// They stay as they are and count as texts: the manager checks bundles without their secrets.
    Keep,
    /// Each is looked up; one that is not found is a fault.
    With(&'a dyn Fn(Source, &str) -> Option<String>),
}

/// The placeholders in a text, as written; broken ones are none.
pub fn placeholders(text: &str) -> Vec<(Source, &str)> {
    let found = pieces(text).unwrap_or_default();
    let placeholder = |piece| match piece {
        Piece::Plain(_) | Piece::User(_) => None,
        Piece::Placeholder(source, name) => Some((source, name)),
    };
    found.into_iter().filter_map(placeholder).collect()
}

/// The services of `${{ user.credentials.NAME }}` in a text, in lower case, each once.
pub fn user_credentials(text: &str) -> Vec<String> {
    let found = pieces(text).unwrap_or_default();
    let services = found.into_iter().filter_map(|piece| match piece {
        Piece::User(service) => Some(service.to_lowercase()),
        Piece::Plain(_) | Piece::Placeholder(..) => None,
    });
    services.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Fills in what a user entrusted. `look_up` is asked for names in lower case.
pub fn fill_user_credentials(
    text: &str,
    look_up: &dyn Fn(&str) -> Option<SecretString>,
) -> Result<SecretString, MissingCredential> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    // Only whole placeholders of users are looked for: what a secret brought along stays as it is.
    while let Some((before, service, after)) = next_user(rest) {
        let name = service.to_lowercase();
        let value = look_up(&name).ok_or(MissingCredential { service: name })?;
        filled.push_str(before);
        filled.push_str(value.expose_secret());
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled.into())
}

/// Fills in the secrets that a text refers to, and names those that are missing, whose placeholders stay.
pub fn fill_secrets(
    text: &str,
    look_up: &dyn Fn(&str) -> Option<SecretString>,
) -> (SecretString, Vec<String>) {
    let mut filled = String::with_capacity(text.len());
    let mut missing = Vec::new();
    for piece in pieces(text).unwrap_or_else(|_| vec![Piece::Plain(text)]) {
        match piece {
            Piece::Plain(plain) => filled.push_str(plain),
            Piece::User(service) => filled.push_str(&user_placeholder(service)),
            Piece::Placeholder(Source::Env, name) => {
                filled.extend([OPEN, " env.", name, " ", CLOSE]);
            }
            Piece::Placeholder(Source::Secrets, name) => {
                if let Some(secret) = look_up(name) {
                    filled.push_str(secret.expose_secret());
                } else {
                    filled.extend([OPEN, " secrets.", name, " ", CLOSE]);
                    missing.push(name.to_owned());
                }
            }
        }
    }
    (filled.into(), missing)
}

/// A user has not entrusted what a call needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the user has no credential for `{service}`")]
pub struct MissingCredential {
    pub service: String,
}

/// Fills in every placeholder below `node` and gathers references and faults.
pub(crate) fn fill(
    file: &str,
    node: &mut Node,
    resolve: Resolve<'_>,
    references: &mut Vec<Reference>,
    faults: &mut Vec<Diagnostic>,
) {
    let mut known: BTreeSet<(Source, String)> =
        references.iter().map(|it| (it.source, it.name.clone())).collect();
    node.texts_mut(&mut |place, text| {
        if !text.written.contains(OPEN) {
            return;
        }
        let pieces = match pieces(&text.written) {
            Ok(pieces) => pieces,
            Err(fault) => {
                faults.push(Diagnostic::error(file, place, fault.to_string(), fault.mend()));
                return;
            }
        };
        text.needs_user = pieces.iter().any(|piece| matches!(piece, Piece::User(_)));
        let is_loaded = pieces.iter().any(|piece| matches!(piece, Piece::Placeholder(..)));
        let mut filled = String::new();
        for piece in pieces {
            let (source, name) = match piece {
                Piece::Plain(plain) => {
                    filled.push_str(plain);
                    continue;
                }
                Piece::User(service) => {
                    filled.push_str(&user_placeholder(service));
                    continue;
                }
                Piece::Placeholder(source, name) => (source, name),
            };
            let value = match resolve {
                Resolve::Keep => None,
                Resolve::With(look_up) => look_up(source, name),
            };
            let is_missing = value.is_none() && matches!(resolve, Resolve::With(_));
            filled.push_str(value.as_deref().unwrap_or_default());
            if known.insert((source, name.to_owned())) {
                references.push(Reference::new(source, name, file, place));
                if is_missing {
                    faults.push(missing(source, name, file, place));
                }
            }
        }
        text.filled = match resolve {
            Resolve::Keep if is_loaded => Filled::Kept,
            Resolve::Keep | Resolve::With(_) => Filled::Resolved(filled),
        };
    });
}

// === impl Source ===

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secrets => "secrets",
            Self::Env => "env",
        })
    }
}

// === impl Reference ===

impl Reference {
    pub(crate) fn new(source: Source, name: &str, file: &str, place: Place) -> Self {
        let Place { line, column } = place;
        Self { source, name: name.to_owned(), file: file.to_owned(), line, column }
    }
}

// === impl Resolve ===

impl fmt::Debug for Resolve<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "Keep",
            Self::With(_) => "With(…)",
        })
    }
}

// === private helpers ===

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Plain(&'a str),
    Placeholder(Source, &'a str),
    /// The service whose credential of the calling user is meant.
    User(&'a str),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum PlaceholderFault {
    #[error("a placeholder starts with `{OPEN}` and does not end")]
    Open,
    #[error("the placeholder `{OPEN} {0} {CLOSE}` is not one that is filled in at load")]
    Unknown(String),
    #[error("`{0}` is no name of a service whose credentials users entrust")]
    Service(String),
}

impl PlaceholderFault {
    fn mend(&self) -> &'static str {
        match self {
            Self::Open => "close it with `}}`",
            Self::Unknown(_) => "write `${{ secrets.NAME }}` or `${{ env.NAME }}`",
            Self::Service(_) => "use letters, digits, `-` and `_`",
        }
    }
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, PlaceholderFault> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        let (plain, after) = rest.split_at(start);
        let after = &after[OPEN.len()..];
        let end = after.find(CLOSE).ok_or(PlaceholderFault::Open)?;
        pieces.push(Piece::Plain(plain));
        pieces.push(placeholder(after[..end].trim())?);
        rest = &after[end + CLOSE.len()..];
    }
    pieces.push(Piece::Plain(rest));
    Ok(pieces)
}

fn placeholder(inner: &str) -> Result<Piece<'_>, PlaceholderFault> {
    let unknown = || PlaceholderFault::Unknown(inner.to_owned());
    if let Some(service) = inner.strip_prefix(USER) {
        let service = service.trim();
        let is_name = is_word(service);
        let fault = || PlaceholderFault::Service(service.to_owned());
        return is_name.then_some(Piece::User(service)).ok_or_else(fault);
    }
    let (source, name) = inner.split_once('.').ok_or_else(unknown)?;
    let name = name.trim();
    let source = match source.trim() {
        "secrets" if name.contains(char::is_alphanumeric) => Source::Secrets,
        "env" if is_variable(name) => Source::Env,
        _ => return Err(unknown()),
    };
    Ok(Piece::Placeholder(source, name))
}

fn user_placeholder(service: &str) -> String {
    format!("{OPEN} {USER}{service} {CLOSE}")
}

/// What is before the next placeholder of a user, its service, and what is after it.
fn next_user(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(start) = text[from..].find(OPEN).map(|it| from + it) {
        let inner = start + OPEN.len();
        let end = text[inner..].find(CLOSE).map(|it| inner + it)?;
        if let Ok(Piece::User(service)) = placeholder(text[inner..end].trim()) {
            return Some((&text[..start], service, &text[end + CLOSE.len()..]));
        }
        from = inner;
    }
    None
}

pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn missing(source: Source, name: &str, file: &str, place: Place) -> Diagnostic {
    let (message, mend) = match source {
        Source::Secrets => (
            format!("the secret `{name}` is not set"),
            format!("add it to secrets.enc, for example with `muxi secrets set {name}`"),
        ),
        Source::Env => (
            format!("the environment variable `{name}` is not set"),
            "set it for the process that runs the formation".to_owned(),
        ),
    };
    Diagnostic::error(file, place, message, mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_with_any_inner_space() {
        for (text, expected) in [
            ("${{secrets.A}}", Piece::Placeholder(Source::Secrets, "A")),
            ("${{   secrets.my key-2 }}", Piece::Placeholder(Source::Secrets, "my key-2")),
            ("${{ env.HOME_1 }}", Piece::Placeholder(Source::Env, "HOME_1")),
        ] {
            assert_eq!(
                pieces(text).unwrap(),
                [Piece::Plain(""), expected, Piece::Plain("")],
                "{text}"
            );
        }
        assert_eq!(pieces("{{ secrets.A }} $").unwrap().len(), 1);
    }

    #[test]
    fn other_placeholders_are_refused() {
        let unknown = |inner: &str| Err(PlaceholderFault::Unknown(inner.to_owned()));
        for (text, expected) in [
            ("${{ secrets.A", Err(PlaceholderFault::Open)),
            ("${{ secrets. }}", unknown("secrets.")),
            ("${{ secrets.__ }}", unknown("secrets.__")),
            ("${{ env.1A }}", unknown("env.1A")),
            ("${{ data.a.b }}", unknown("data.a.b")),
            ("${{ }}", unknown("")),
            ("${{ user.credentials.a b }}", Err(PlaceholderFault::Service("a b".to_owned()))),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }

    #[test]
    fn what_users_entrust_is_filled_in_when_they_call() {
        let text =
            "${{ secrets.A }} Bearer ${{user.credentials.GitHub}}, ${{ user.credentials.x }}";
        assert_eq!(user_credentials(text), ["github", "x"]);
        let look_up = |name: &str| (name == "github").then(|| "${{ hunter2".to_owned().into());
        let filled = fill_user_credentials("a ${{ user.credentials.GITHUB }} b", &look_up).unwrap();
        assert_eq!(filled.expose_secret(), "a ${{ hunter2 b");
        let missing = fill_user_credentials(text, &look_up).unwrap_err();
        assert_eq!(missing.to_string(), "the user has no credential for `x`");
        let none = fill_user_credentials("${{ b }} c", &look_up).unwrap();
        assert_eq!(none.expose_secret(), "${{ b }} c");
    }
}
