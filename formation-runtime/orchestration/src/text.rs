//! Texts cut to a bound, and the words of a text that tell what it is about.
//!
//! Words are compared without case and without the commonest English endings (the "S stemmer" of
//! information retrieval, and `-ing`, `-ed`); scripts without spaces are read as pairs of characters, as
//! search engines do.

use std::collections::BTreeSet;

/// So many words of a text are looked at.
const WORDS: usize = 2_000;

/// One that is in every text and tells nothing about it.
const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "been", "before", "but", "by", "can", "could", "did", "do", "does", "for", "from", "get",
    "give", "had", "has", "have", "he", "hello", "help", "her", "hey", "hi", "him", "his", "how",
    "i", "if", "in", "into", "is", "it", "its", "just", "let", "like", "made", "make", "may", "me",
    "more", "most", "my", "need", "no", "not", "now", "of", "on", "one", "only", "or", "our",
    "out", "over", "please", "she", "should", "so", "some", "such", "tell", "than", "thank",
    "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "too",
    "under", "up", "us", "use", "very", "want", "was", "we", "were", "what", "when", "where",
    "which", "who", "why", "will", "with", "would", "you", "your", "auf", "aus", "bei", "bitte",
    "das", "dem", "den", "der", "des", "die", "ein", "eine", "einen", "er", "es", "für", "ich",
    "im", "ist", "mein", "meine", "mir", "mit", "nicht", "oder", "sie", "und", "von", "was", "wie",
    "zu", "au", "avec", "ce", "dans", "de", "du", "en", "est", "et", "je", "la", "le", "les",
    "mon", "pour", "que", "qui", "sur", "un", "une", "con", "del", "el", "los", "mi", "para",
    "por", "como", "il", "per", "che", "di", "um", "uma", "com", "não", "het", "een", "van", "met",
];

/// A word as it stands in the text and as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) shown: String,
    pub(crate) stem: String,
}

/// The words that tell something, in their order.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    for run in text.split(|character: char| !character.is_alphanumeric()) {
        if found.len() >= WORDS {
            break;
        }
        if run.is_empty() {
            continue;
        }
        let run = run.to_lowercase();
        if run.chars().all(is_unspaced) {
            found.extend(pairs(&run));
        } else if !STOP_WORDS.contains(&run.as_str())
            && (run.chars().count() > 1 || run.chars().all(|it| it.is_ascii_digit()))
        {
            found.push(Word { stem: stem(&run), shown: run });
        }
    }
    found.truncate(WORDS);
    found
}

pub(crate) fn stems(text: &str) -> BTreeSet<String> {
    words(text).into_iter().map(|word| word.stem).collect()
}

/// How much two sets share: 1 for the same, 0 for nothing in common.
#[expect(clippy::cast_precision_loss, reason = "counts of words are far below 2^52")]
pub(crate) fn overlap(one: &BTreeSet<String>, other: &BTreeSet<String>) -> f64 {
    let shared = one.intersection(other).count();
    let all = one.len() + other.len() - shared;
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}

/// Lower case, single spaces, and no punctuation but apostrophes within words.
pub(crate) fn normalised(text: &str) -> String {
    let lower = text.to_lowercase().replace('’', "'");
    let kept: String = lower
        .chars()
        .map(|character| if is_letter(character) || character == '\'' { character } else { ' ' })
        .collect();
    let words = kept.split_whitespace().map(|word| word.trim_matches('\''));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The beginning of a text, never cut within a character, and whether anything was left off.
pub(crate) fn cut(text: &str, bytes: usize) -> (&str, bool) {
    if text.len() <= bytes {
        return (text, false);
    }
    (&text[..text.floor_char_boundary(bytes)], true)
}

/// On one line, without what moves a cursor, and no longer than the bound.
pub(crate) fn line(text: &str, bytes: usize) -> String {
    let plain: String =
        text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(bytes).collect();
    let single = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    match cut(&single, bytes) {
        (whole, false) => whole.to_owned(),
        (beginning, true) => format!("{beginning}…"),
    }
}

/// Letters, digits, and the marks that belong to letters in Indic and Arabic scripts.
fn is_letter(character: char) -> bool {
    character.is_alphanumeric()
        || matches!(character, '\u{300}'..='\u{36f}' | '\u{900}'..='\u{97f}' | '\u{610}'..='\u{6ed}')
}

/// Of a script that writes no spaces between words.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{e00}'..='\u{e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

fn pairs(run: &str) -> Vec<Word> {
    let characters: Vec<char> = run.chars().collect();
    let word = |part: &[char]| {
        let text: String = part.iter().collect();
        Word { stem: text.clone(), shown: text }
    };
    if characters.len() < 2 {
        return vec![word(&characters)];
    }
    characters.windows(2).map(word).collect()
}

fn stem(word: &str) -> String {
    let without_plural = if word.ends_with("ies") && word.len() > 4 {
        format!("{}y", &word[..word.len() - 3])
    } else if word.len() > 3
        && word.ends_with('s')
        && !word.ends_with("ss")
        && !word.ends_with("us")
    {
        word[..word.len() - 1].to_owned()
    } else {
        word.to_owned()
    };
    let bare = ["ing", "ed"]
        .iter()
        .find_map(|ending| without_plural.strip_suffix(ending).filter(|rest| rest.len() >= 4))
        .unwrap_or(&without_plural);
    let bare = bare.strip_suffix('e').filter(|rest| rest.len() >= 3).unwrap_or(bare);
    bare.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_without_case_number_and_ending() {
        let stems = |text: &str| words(text).into_iter().map(|word| word.stem).collect::<Vec<_>>();
        assert_eq!(stems("Invoices, invoice INVOICED"), ["invoic", "invoic", "invoic"]);
        assert_eq!(stems("policies policy"), ["policy", "policy"]);
        assert_eq!(stems("the status of it"), ["status"]);
        assert_eq!(stems("東京天気"), ["東京", "京天", "天気"]);
        assert_eq!(stems("class bus"), ["class", "bus"]);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("größe", 3), ("gr", true));
        assert_eq!(cut("größe", 7), ("größe", false));
        assert_eq!(line("a\nb\u{1b}[31m c", 100), "a b [31m c");
        assert_eq!(line("größe", 3), "gr…");
    }

    #[test]
    fn a_flood_of_words_is_read_to_a_bound() {
        assert_eq!(words(&"word ".repeat(100_000)).len(), WORDS);
        assert_eq!(words(&"東".repeat(100_000)).len(), WORDS);
    }

    #[test]
    fn punctuation_and_case_do_not_count() {
        assert_eq!(normalised("  Yes, PLEASE!! 🙂"), "yes please");
        assert_eq!(normalised("Don’t"), "don't");
    }
}
