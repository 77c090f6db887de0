//! Fields that nobody knows and that look like typing errors. Pure.

use serde_json::{Map, Value};

/// Remarks on them.
pub(super) fn warnings(fields: &Map<String, Value>, known: &[&str]) -> Vec<String> {
    let known = || known.iter().copied();
    let unknown = fields.keys().filter(|name| !known().any(|it| it == name.as_str()));
    // A body has room for a hundred thousand names, and comparing them takes time.
    unknown
        .take(UNKNOWN_MAX)
        .filter_map(|name| {
            let near =
                known().filter(|it| edits(name, it) <= 2).min_by_key(|it| edits(name, it))?;
            Some(format!("the field `{name}` is not known and was ignored; did you mean `{near}`?"))
        })
        .take(WARNINGS_MAX)
        .collect()
}

const WARNINGS_MAX: usize = 10;
const UNKNOWN_MAX: usize = 100;
/// No known field is longer, so a longer name is not one of them mistyped.
const NAME_CHARS_MAX: usize = 24;

/// How many insertions, deletions and replacements lead from one name to the other.
fn edits(from: &str, to: &str) -> usize {
    if from.chars().count() > NAME_CHARS_MAX {
        return usize::MAX;
    }
    strsim::levenshtein(from, to)
}
