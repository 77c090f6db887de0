//! What an operator sees of a secret: enough to tell two of them apart.

/// Prefixes that say what a key is for, and nothing of its value.
const PREFIXES: [&str; 8] = ["sk-", "pk-", "ghp_", "ghs_", "pat_", "key-", "tok-", "lin_"];

const MASK_WHOLE: &str = "••••••••";
const HIDDEN_WHOLE_CHARS_MAX: usize = 6;
const SHORT_CHARS_MAX: usize = 12;

pub fn mask(value: &str) -> String {
    if let Some((scheme, rest)) = value.split_once("://")
        && !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
    {
        return format!("{scheme}://{}", mask_text(rest));
    }
    mask_text(value)
}

fn mask_text(text: &str) -> String {
    match text.chars().count() {
        0..=HIDDEN_WHOLE_CHARS_MAX => MASK_WHOLE.to_owned(),
        length @ ..=SHORT_CHARS_MAX => around(text, length, 3, "••••", 3),
        length => match PREFIXES.iter().find(|prefix| text.starts_with(**prefix)) {
            Some(prefix) => around(text, length, prefix.len() + 2, "••••••", 4),
            None => around(text, length, 4, MASK_WHOLE, 4),
        },
    }
}

fn around(text: &str, length: usize, first: usize, mask: &str, last: usize) -> String {
    let mut shown: String = text.chars().take(first).collect();
    shown.push_str(mask);
    shown.extend(text.chars().skip(length - last));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_the_documented_form() {
        for (value, shown) in [
            ("", "••••••••"),
            ("short1", "••••••••"),
            ("seven-7", "sev••••n-7"),
            ("twelve-chars", "twe••••ars"),
            ("a-longer-value-0123", "a-lo••••••••0123"),
            ("sk-abcdefghijkl1234", "sk-ab••••••1234"),
            ("ghp_abcdefghijkl1234", "ghp_ab••••••1234"),
            ("sk-abc", "••••••••"),
            ("ключ-от-всех-дверей", "ключ••••••••ерей"),
            ("postgres://u:p@h", "postgres://••••••••"),
            ("https://hooks.example/abcdef", "https://hook••••••••cdef"),
            ("://", "••••••••"),
        ] {
            assert_eq!(mask(value), shown, "{value}");
        }
    }
}
