//! Passwords that stand within addresses: `postgres://user:password@host/database`.

use std::sync::LazyLock;

use regex::Regex;

/// The password is the third group.
static WITH_PASSWORD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/\s:@'\x22]*:)([^/\s@'\x22]+)@")
        .expect("the pattern is well-formed")
});

/// Whether one is written out; a placeholder is none.
pub(crate) fn has_password(text: &str) -> bool {
    WITH_PASSWORD.captures_iter(text).any(|found| !found[3].contains("${{"))
}

/// The text without them.
pub(crate) fn without_passwords(text: &str) -> String {
    WITH_PASSWORD
        .replace_all(text, |found: &regex::Captures<'_>| {
            let password =
                if found[3].contains("${{") { &found[3] } else { "••••••••" };
            format!("{}{}{password}@", &found[1], &found[2])
        })
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_and_hidden() {
        for (text, hidden) in [
            ("postgres://u:pw@h/db", Some("postgres://u:••••••••@h/db")),
            ("x: 'http://u:p@h' y", Some("x: 'http://u:••••••••@h' y")),
            ("http://u:${{secrets.P}}@h", None),
            ("http://host:8080/a@b", None),
            ("git@host:team/repo", None),
        ] {
            assert_eq!(has_password(text), hidden.is_some(), "{text}");
            assert_eq!(without_passwords(text), hidden.unwrap_or(text));
        }
    }
}
