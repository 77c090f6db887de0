//! How much harm a tool can do, as far as its maker told. Hints are no promises: they choose who is asked,
//! never what is allowed.

use crate::Danger;

/// A maker's hints, each absent when it was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Annotations {
    pub read_only: Option<bool>,
    pub destructive: Option<bool>,
    pub idempotent: Option<bool>,
}

/// Words that begin the names of tools which only look.
const READING: &[&str] = &[
    "check",
    "compare",
    "convert",
    "count",
    "describe",
    "diff",
    "explain",
    "fetch",
    "find",
    "get",
    "head",
    "help",
    "info",
    "inspect",
    "list",
    "lookup",
    "peek",
    "ping",
    "preview",
    "query",
    "read",
    "search",
    "select",
    "show",
    "stat",
    "status",
    "summarize",
    "tail",
    "validate",
    "view",
    "whoami",
];

/// Words that make a name doubtful wherever they stand: `get_or_create` does not only look.
const ACTING: &[&str] = &[
    "add",
    "append",
    "apply",
    "archive",
    "cancel",
    "clear",
    "commit",
    "copy",
    "create",
    "delete",
    "drop",
    "edit",
    "execute",
    "insert",
    "install",
    "invoke",
    "kill",
    "merge",
    "modify",
    "move",
    "overwrite",
    "pay",
    "post",
    "publish",
    "purge",
    "push",
    "put",
    "remove",
    "rename",
    "replace",
    "reset",
    "revoke",
    "run",
    "save",
    "send",
    "set",
    "start",
    "stop",
    "store",
    "submit",
    "update",
    "upload",
    "write",
];

/// What the hints say, and without them what the name sounds like.
pub fn danger(annotations: Annotations, name: &str) -> Danger {
    match (annotations.read_only, annotations.destructive) {
        // A tool that claims both is taken at its worse word.
        (_, Some(true)) => Danger::Destructive,
        (Some(true), _) => Danger::ReadOnly,
        (_, Some(false)) => Danger::Additive,
        (None, None) if sounds_like_reading(name) => Danger::PresumedReadOnly,
        // One that says it changes something, and not how much, may be called anything.
        (Some(false) | None, None) => Danger::Unknown,
    }
}

fn sounds_like_reading(name: &str) -> bool {
    let words = words_of(name);
    let is_any = |word: &String, list: &[&str]| list.contains(&word.as_str());
    // Servers often set their own name in front: `git_status`, `notion-search`.
    words.iter().take(2).any(|word| is_any(word, READING))
        && !words.iter().any(|word| is_any(word, ACTING))
}

/// `getUserName`, `get_user-name` and `get.user.name` have the same words.
pub(super) fn words_of(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut after_lower = false;
    for it in name.chars() {
        if !it.is_alphanumeric() || (it.is_uppercase() && after_lower) {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
        if it.is_alphanumeric() {
            word.extend(it.to_lowercase());
        }
        after_lower = it.is_lowercase() || it.is_numeric();
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(read_only: Option<bool>, destructive: Option<bool>) -> Annotations {
        Annotations { read_only, destructive, idempotent: None }
    }

    #[test]
    fn hints_decide_before_names() {
        let table = [
            (hints(Some(true), None), "delete_all", Danger::ReadOnly),
            (hints(Some(true), Some(false)), "anything", Danger::ReadOnly),
            (hints(Some(true), Some(true)), "get_file", Danger::Destructive),
            (hints(None, Some(true)), "get_file", Danger::Destructive),
            (hints(Some(false), Some(true)), "write", Danger::Destructive),
            (hints(None, Some(false)), "write", Danger::Additive),
            (hints(Some(false), Some(false)), "get_file", Danger::Additive),
            (hints(Some(false), None), "get_file", Danger::Unknown),
        ];
        for (annotations, name, expected) in table {
            assert_eq!(danger(annotations, name), expected, "{annotations:?} {name}");
        }
    }

    #[test]
    fn names_decide_without_hints() {
        let reading = [
            "get_weather",
            "listFiles",
            "read-file",
            "search",
            "find.user",
            "fetchURL",
            "query",
            "git_status",
            "describe_table",
            "show",
            "count_rows",
            "notion-search",
            "READ_GRAPH",
        ];
        for name in reading {
            assert_eq!(danger(hints(None, None), name), Danger::PresumedReadOnly, "{name}");
        }
        let unknown = [
            "",
            "echo",
            "delete_file",
            "get_or_create_user",
            "getAndDelete",
            "write_query",
            "gets",
            "budget",
            "listing",
            "move_file",
            "send",
            "issue_search_delete",
            "__",
            "читать",
            "search_and_replace",
            "find_and_merge",
            "run_query",
        ];
        for name in unknown {
            assert_eq!(danger(hints(None, None), name), Danger::Unknown, "{name}");
        }
    }
}
