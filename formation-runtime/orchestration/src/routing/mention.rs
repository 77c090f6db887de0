//! `@agent` in a message: the user's own choice.

use super::Candidate;

/// The first candidate that is named by its exact id after an `@` that begins a word. Whoever is no
/// candidate is not found, so an agent that is denied looks like any other word.
pub fn mention<'a>(message: &str, candidates: &'a [Candidate]) -> Option<&'a str> {
    let starts = message.match_indices('@').filter(|(at, _)| {
        // In `me@billing.example` it is part of an address.
        !message[..*at]
            .ends_with(|before: char| before.is_alphanumeric() || "@._-+/".contains(before))
    });
    starts.map(|(at, _)| &message[at + 1..]).find_map(|rest| {
        let named = candidates.iter().filter(|candidate| {
            !candidate.id.is_empty()
                && rest.strip_prefix(candidate.id.as_str()).is_some_and(is_end_of_word)
        });
        named.map(|candidate| candidate.id.as_str()).next()
    })
}

/// A full stop ends a word when nothing of a word comes after it, so `@web.` names `web` and `@web.de` does
/// not.
fn is_end_of_word(rest: &str) -> bool {
    let is_part = |next: char| next.is_alphanumeric() || matches!(next, '_' | '-' | '@' | '/');
    let rest = rest.trim_start_matches('.');
    !rest.starts_with(is_part)
}
