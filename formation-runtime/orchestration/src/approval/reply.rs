//! Yes or no, said in words. Strict on purpose: whoever says more than that has something to say, and a
//! call is never made on a guess.

use crate::text::normalised;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Yes,
    No,
    /// Anything else, such as a wish to change what was asked about.
    Other,
}

const YES: &[&str] = &[
    "yes",
    "y",
    "yep",
    "yeah",
    "yup",
    "ok",
    "okay",
    "k",
    "sure",
    "sure thing",
    "of course",
    "go",
    "go ahead",
    "go for it",
    "proceed",
    "approve",
    "approved",
    "approve it",
    "i approve",
    "accept",
    "accepted",
    "confirm",
    "confirmed",
    "agreed",
    "do it",
    "do that",
    "run it",
    "start",
    "continue",
    "carry on",
    "looks good",
    "lgtm",
    "sounds good",
    "that's fine",
    "fine",
    "correct",
    "right",
    "absolutely",
    "definitely",
    "ja",
    "jawohl",
    "klar",
    "natürlich",
    "gerne",
    "mach das",
    "mach es",
    "los",
    "genehmigt",
    "einverstanden",
    "weiter",
    "oui",
    "d'accord",
    "vas y",
    "bien sûr",
    "sí",
    "si",
    "vale",
    "claro",
    "de acuerdo",
    "adelante",
    "va bene",
    "certo",
    "procedi",
    "sim",
    "pode",
    "tak",
    "evet",
    "да",
    "так",
    "是",
    "好",
    "はい",
    "네",
    "نعم",
];
const NO: &[&str] = &[
    "no",
    "n",
    "nope",
    "nah",
    "stop",
    "stop it",
    "cancel",
    "cancel it",
    "cancel that",
    "abort",
    "reject",
    "rejected",
    "reject it",
    "deny",
    "denied",
    "decline",
    "declined",
    "don't",
    "don't do it",
    "don't do that",
    "do not",
    "do not do it",
    "do not do that",
    "never",
    "never mind",
    "nevermind",
    "forget it",
    "not now",
    "no way",
    "refuse",
    "no thanks",
    "no thank you",
    "nein",
    "stopp",
    "abbrechen",
    "ablehnen",
    "abgelehnt",
    "lass es",
    "nicht",
    "non",
    "annuler",
    "arrête",
    "arrêtez",
    "para",
    "cancelar",
    "cancela",
    "annulla",
    "fermati",
    "não",
    "nee",
    "nie",
    "nej",
    "hayır",
    "нет",
    "ні",
    "不",
    "いいえ",
    "아니요",
];
/// Politeness beside the word.
const POLITE: &[&str] = &[
    "please",
    "pls",
    "thanks",
    "thank you",
    "thx",
    "bitte",
    "danke",
    "s'il te plaît",
    "s'il vous plaît",
    "merci",
    "por favor",
    "gracias",
    "per favore",
    "grazie",
    "obrigado",
    "obrigada",
    "lütfen",
    "пожалуйста",
];

/// The whole message must be a yes or a no, said once or repeatedly; both in one is neither.
pub fn reply(text: &str) -> Reply {
    if text.len() > 100 || text.contains(['?', '？', '؟']) {
        return Reply::Other;
    }
    match text.trim() {
        "👍" | "✅" | "👌" => return Reply::Yes,
        "👎" | "❌" | "🛑" => return Reply::No,
        _ => {}
    }
    let plain = normalised(text);
    let words: Vec<&str> = plain.split(' ').filter(|word| !word.is_empty()).collect();
    let mut rest = words.as_slice();
    let mut meaning = None;
    while !rest.is_empty() {
        let lengths = [longest(rest, YES), longest(rest, NO), longest(rest, POLITE)];
        let longest = lengths.into_iter().max().unwrap_or(0);
        if longest == 0 {
            return Reply::Other;
        }
        // Of equals, the first does not matter: no phrase is in two lists.
        let said = match lengths.iter().position(|length| *length == longest) {
            Some(0) => Some(Reply::Yes),
            Some(1) => Some(Reply::No),
            _ => None,
        };
        if meaning.is_some() && said.is_some() && meaning != said {
            return Reply::Other;
        }
        meaning = meaning.or(said);
        rest = &rest[longest..];
    }
    meaning.unwrap_or(Reply::Other)
}

fn longest(words: &[&str], phrases: &[&str]) -> usize {
    let lengths = phrases.iter().map(|phrase| {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        if words.starts_with(&phrase) { phrase.len() } else { 0 }
    });
    lengths.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_and_a_no_are_whole_messages() {
        for yes in [
            "yes",
            "Y",
            "Yes!",
            "ok",
            "OK, go ahead.",
            "yes please",
            "Go ahead",
            "proceed",
            "sí",
            "Ja, bitte",
            "d’accord",
            "looks good, thanks",
            "👍",
            "はい",
            "да",
            "yes yes",
        ] {
            assert_eq!(reply(yes), Reply::Yes, "{yes}");
        }
        for no in [
            "no",
            "N",
            "No!",
            "stop",
            "cancel",
            "No, thank you.",
            "don’t do it",
            "reject",
            "never mind",
            "nein danke",
            "нет",
            "不",
            "no, stop",
            "👎",
            "No thanks",
        ] {
            assert_eq!(reply(no), Reply::No, "{no}");
        }
        for other in [
            "",
            "  ",
            "yes but only the first one",
            "yes?",
            "ok, and what does it cost",
            "no yes",
            "not yes",
            "why",
            "please",
            "delete the other one instead",
            "go ahead without deleting",
            "yes, no",
            "approve everything from now on",
            "👍👎",
            "nothing",
            "yesterday",
        ] {
            assert_eq!(reply(other), Reply::Other, "{other}");
        }
        assert_eq!(reply(&"yes ".repeat(100)), Reply::Other);
    }

    #[test]
    fn no_phrase_says_two_things() {
        for phrase in YES {
            assert!(!NO.contains(phrase) && !POLITE.contains(phrase), "{phrase}");
        }
        assert!(NO.iter().all(|phrase| !POLITE.contains(phrase)));
    }
}
