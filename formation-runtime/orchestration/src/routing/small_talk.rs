//! Messages that ask for nothing.

use crate::text::normalised;

/// Longer messages say more than hello.
const WORDS: usize = 10;

/// Greetings, farewells and thanks in the languages that most people write to a computer in.
const PHRASES: &[&str] = &[
    "hi",
    "hello",
    "hey",
    "hiya",
    "howdy",
    "greetings",
    "good morning",
    "good afternoon",
    "good evening",
    "good night",
    "good day",
    "morning",
    "bye",
    "goodbye",
    "bye bye",
    "see you",
    "see you later",
    "see ya",
    "have a nice day",
    "have a good day",
    "thanks",
    "thank you",
    "thx",
    "ty",
    "cheers",
    "much appreciated",
    "i appreciate it",
    "nice to meet you",
    "hallo",
    "guten tag",
    "guten morgen",
    "guten abend",
    "gute nacht",
    "moin",
    "servus",
    "grüezi",
    "grüß gott",
    "tschüss",
    "tschüs",
    "auf wiedersehen",
    "danke",
    "danke schön",
    "dankeschön",
    "vielen dank",
    "herzlichen dank",
    "bonjour",
    "bonsoir",
    "salut",
    "coucou",
    "au revoir",
    "bonne nuit",
    "bonne journée",
    "merci",
    "merci beaucoup",
    "hola",
    "buenos días",
    "buenos dias",
    "buenas tardes",
    "buenas noches",
    "buenas",
    "adiós",
    "adios",
    "hasta luego",
    "gracias",
    "muchas gracias",
    "mil gracias",
    "ciao",
    "buongiorno",
    "buonasera",
    "salve",
    "arrivederci",
    "grazie",
    "grazie mille",
    "mille grazie",
    "olá",
    "ola",
    "oi",
    "bom dia",
    "boa tarde",
    "boa noite",
    "tchau",
    "obrigado",
    "obrigada",
    "muito obrigado",
    "muito obrigada",
    "goedemorgen",
    "goedemiddag",
    "goedenavond",
    "dank je",
    "dank je wel",
    "dank u",
    "bedankt",
    "tot ziens",
    "cześć",
    "dzień dobry",
    "dziękuję",
    "hej",
    "god morgon",
    "tack",
    "tack så mycket",
    "takk",
    "tak",
    "merhaba",
    "teşekkürler",
    "teşekkür ederim",
    "привет",
    "здравствуйте",
    "добрый день",
    "спасибо",
    "привіт",
    "дякую",
    "你好",
    "您好",
    "谢谢",
    "謝謝",
    "こんにちは",
    "ありがとう",
    "ありがとうございます",
    "안녕하세요",
];
const MORE_PHRASES: &[&str] =
    &["감사합니다", "مرحبا", "السلام عليكم", "شكرا", "नमस्ते", "धन्यवाद", "γεια σου", "ευχαριστώ"];

/// What may stand beside a greeting without asking for anything.
const FILLERS: &[&str] = &[
    "there",
    "all",
    "everyone",
    "team",
    "again",
    "so much",
    "very much",
    "a lot",
    "a million",
    "for your help",
    "for the help",
    "for everything",
    "for that",
    "my friend",
    "friend",
    "ok",
    "okay",
    "great",
    "perfect",
    "awesome",
    "cool",
    "nice",
    "super",
    "wow",
    "you too",
    "and",
    "oh",
    "sehr",
    "schön",
    "zusammen",
    "alle",
    "für die hilfe",
    "für deine hilfe",
    "à tous",
    "pour ton aide",
    "por tu ayuda",
    "a todos",
    "a tutti",
];

/// Whether a message is a greeting or thanks as a whole; one that asks anything is not.
pub fn small_talk(message: &str) -> bool {
    if message.len() > 200 || message.contains(['?', '？', '؟', ';', '@', '/', '#']) {
        return false;
    }
    let plain = normalised(message);
    let words: Vec<&str> = plain.split(' ').filter(|word| !word.is_empty()).collect();
    if words.is_empty() || words.len() > WORDS {
        return false;
    }
    let mut rest = words.as_slice();
    let mut greets = false;
    while !rest.is_empty() {
        let greeting = longest(rest, PHRASES.iter().chain(MORE_PHRASES));
        let filler = longest(rest, FILLERS.iter());
        if greeting == 0 && filler == 0 {
            return false;
        }
        greets |= greeting > 0;
        rest = &rest[greeting.max(filler)..];
    }
    greets
}

/// So many words at the front are one of the phrases.
fn longest<'a>(words: &[&str], phrases: impl Iterator<Item = &'a &'static str>) -> usize {
    let lengths = phrases.map(|phrase| {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        if words.starts_with(&phrase) { phrase.len() } else { 0 }
    });
    lengths.max().unwrap_or(0)
}
