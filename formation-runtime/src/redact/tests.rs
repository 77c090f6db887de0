use super::*;

fn redacted(text: &str) -> String {
    Redactor::default().text(text).into_owned()
}

fn knowing(values: &[&str]) -> Redactor {
    let redactor = Redactor::default();
    let secrets: Vec<SecretString> = values.iter().map(|it| SecretString::from(*it)).collect();
    redactor.learn(&secrets);
    redactor
}

#[test]
fn what_is_private_becomes_a_token() {
    for (text, expected) in [
        ("mail alice@example.com.", "mail [EMAIL_1]."),
        ("Jörg.Müller+x@mail.example.co.uk said", "[EMAIL_1] said"),
        ("a@b.org, c@d.org and a@b.org", "[EMAIL_1], [EMAIL_2] and [EMAIL_1]"),
        ("key sk-proj-abcdefghijklmnop1234 is", "key [API_KEY_1] is"),
        ("ghp_abcdefghijklmnopqrst0123456789ABCDEF", "[API_KEY_1]"),
        ("AKIAIOSFODNN7EXAMPLE", "[AWS_KEY_1]"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [TOKEN_1]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [TOKEN_1]"),
        ("https://bob:hunter2@host/x", "https://bob:[PASSWORD_1]@host/x"),
        ("postgresql://u:p@h:5432/db?x=1 failed", "[DATABASE_URL_1] failed"),
        ("password=hunter2&x=1", "password=[PASSWORD_1]&x=1"),
        (r#"{"api_key": "abc12"}"#, r#"{"api_key": "[PASSWORD_1]"}"#),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sflKxwRJSMeKKF2QT4", "[JWT_1]"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----!",
            "[PRIVATE_KEY_1]!",
        ),
        ("ssn 123-45-6789", "ssn [SSN_1]"),
        ("SSN: 123456789", "SSN: [SSN_1]"),
        ("4111 1111 1111 1111 12/29", "[CARD_1] 12/29"),
        ("pay 12 4111-1111-1111-1111 now", "pay 12 [CARD_1] now"),
        ("378282246310005,5555555555554444", "[CARD_1],[CARD_2]"),
        ("card-6011111111111117", "card-[CARD_1]"),
        ("call +49 (0)151 2345678!", "call [PHONE_1]!"),
        ("+14155550100 +14155550101", "[PHONE_1] [PHONE_2]"),
        ("(415) 555-0100 or 212.555.0123", "[PHONE_1] or [PHONE_2]"),
        ("whatsapp:+14155550100", "whatsapp:[PHONE_1]"),
        ("0049 151 2345678", "[PHONE_1]"),
        ("she was born on 1990-04-01", "she was born on [DATE_OF_BIRTH_1]"),
    ] {
        let once = redacted(text);
        assert_eq!(once, expected, "{text}");
        assert_eq!(redacted(&once), once, "what was redacted stays");
    }
}

#[test]
fn ids_times_and_plain_text_stay() {
    for text in [
        "req_V1StGXR8_Z5jdHi6B-myT",
        "sess_0123456789abcdefABCDE",
        "evt_hf_456789012345678901",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "01934fe0-7c3b-7cc0-98c4-dc0c0c07398f",
        "41111111-1111-1111-1111-111111111111",
        "sched_job_8fK2mPq7Rt4Vx9Zb",
        "2026-11-22T14:07:17.123456Z",
        "2026-11-22 14:07:17+01:00",
        "Sun, 22 Nov 2026 14:07:17 +0000",
        "1763820437",
        "1763820437123",
        "1763820437123456",
        "1763820437123456789",
        "4111111111111112",
        "0.4111111111111111",
        "127.0.0.1:8271",
        "192.168.100.200",
        "prompt_tokens=4096 completion_tokens=12",
        "max_tokens: 4096",
        "openai/gpt-4o-2024-08-06",
        "d527e84c9f0a41b2837465910abcdef012345678",
        "0123456789012345678901234567890123456789",
        "Bearer authentication is needed",
        "the secret 'OPENAI_KEY' exists already; PUT replaces it",
        "hello@draft and node@20.11.1",
        "http://127.0.0.1:8080/v1/chat?x=1",
        "took 123-45 ms, 12-34-5678",
        "[EMAIL_1] password=[PASSWORD_1] Bearer [TOKEN_1]",
        "a task-management-tool-for-everybody",
        "日本語のテキスト",
        "",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn known_values_are_found_in_every_form() {
    let redactor = knowing(&["s3cr3t/väl\"ue", "s3cr3t", "abc", "hunter22"]);
    let mut scope = redactor.scope(Depth::Secrets);
    for (text, expected) in [
        ("x s3cr3t/väl\"ue y", "x [SECRET_1] y"),
        (r#"{"x":"s3cr3t/väl\"ue"}"#, r#"{"x":"[SECRET_2]"}"#),
        ("?t=s3cr3t%2Fv%C3%A4l%22ue", "?t=[SECRET_3]"),
        ("s3cr3t", "[SECRET_4]"),
        // A short one is no part of a word, a shorter one nothing at all.
        ("s3cr3ts abc", "s3cr3ts abc"),
        ("key=hunter22;", "key=[SECRET_5];"),
        // For a user, only the formation's secrets are hidden.
        ("alice@example.com", "alice@example.com"),
    ] {
        assert_eq!(scope.text(text), expected);
    }
}

#[test]
fn tokens_are_stable_in_one_scope_and_numbers_may_be_cards() {
    let mut scope = Redactor::default().scope(Depth::Everything);
    let value =
        serde_json::json!({"to": ["a@b.org", "c@d.org"], "n": 4_111_111_111_111_111_u64, "t": 5});
    let expected = serde_json::json!({"to": ["[EMAIL_1]", "[EMAIL_2]"], "n": "[CARD_1]", "t": 5});
    assert_eq!(scope.value(&value), expected);
    assert_eq!(scope.text("c@d.org"), "[EMAIL_2]");
}

/// A small generator, so that a failure can be repeated.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn chars(&mut self, alphabet: &str, count: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..count).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    fn email(&mut self) -> String {
        let (local, host) = (1 + self.below(12), 1 + self.below(10));
        let inner = self.chars("abcXYZ0189._%+-éß", local);
        let host = self.chars("abcz019", host);
        let domain = self.of(&["com", "co.uk", "museum", "io", "example.org"]);
        format!("a{inner}z@{host}.{domain}")
    }

    fn phone(&mut self) -> String {
        let (area, exchange) = (200 + self.below(800), 200 + self.below(800));
        let line = format!("{:04}", self.below(10_000));
        match self.below(5) {
            0 => format!("({area}) {exchange}-{line}"),
            1 => format!("{area}-{exchange}-{line}"),
            2 => format!("+1{area}{exchange}{line}"),
            3 => format!("+{} {area} {exchange}{line}", 20 + self.below(79)),
            _ => format!("1.{area}.{exchange}.{line}"),
        }
    }

    fn ssn(&mut self) -> String {
        let (area, group) = (1 + self.below(665), 1 + self.below(99));
        format!("{area:03}-{group:02}-{:04}", 1 + self.below(9999))
    }

    fn card(&mut self) -> String {
        let prefix = self.of(&["4", "51", "55", "2221", "6011", "3530", "62"]);
        let mut digits = prefix.to_owned() + &self.chars("0123456789", 15 - prefix.len());
        let sum: usize = digits
            .bytes()
            .rev()
            .enumerate()
            .map(|(place, byte)| {
                let digit = usize::from(byte - b'0') * if place % 2 == 0 { 2 } else { 1 };
                digit / 10 + digit % 10
            })
            .sum();
        digits.push_str(&((10 - sum % 10) % 10).to_string());
        let separator = self.of(&["", " ", "-"]);
        let groups: Vec<&str> = (0..4).map(|group| &digits[group * 4..group * 4 + 4]).collect();
        groups.join(separator)
    }
}

#[test]
fn nothing_private_survives_wherever_it_stands() {
    let mut chance = Chance(4);
    for case in 0..3_000 {
        let secret = {
            let length = VALUE_BYTES_MIN + chance.below(30);
            chance.chars("abcdefXYZ0189/+=_-.!ü", length)
        };
        let redactor = knowing(&[&secret]);
        let private = [chance.email(), chance.phone(), chance.ssn(), chance.card(), secret];
        let mut text = String::new();
        for item in &private {
            text.push_str(chance.of(&["", "Say: ", "日本 ", "[x] ", "id=", "\"", "(", "a, "]));
            text.push_str(item);
            text.push_str(chance.of(&[" ", ", ", "\n", "\" ", ") ", "; "]));
        }
        let redacted = redactor.text(&text);
        for item in &private {
            assert!(
                !redacted.contains(item.as_str()),
                "{case}: `{item}` of {text:?}: {redacted:?}"
            );
        }
    }
}

/// Longer texts take longer in proportion; a worse than linear search would not end here.
#[test]
fn hostile_texts_are_searched_too() {
    let redactor = knowing(&["hunter22hunter22"]);
    for unit in [
        "1-",
        "4111 ",
        "a@",
        "a.b@c.",
        "eyJaaaaaaaa.",
        "://a:",
        "+1 ",
        "-----BEGIN PRIVATE KEY-----",
        "password=\"",
    ] {
        let text = unit.repeat(200_000 / unit.len());
        assert!(redactor.text(&text).len() <= text.len() + 200_000);
    }
}
