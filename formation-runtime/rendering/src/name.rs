//! Names of files that are no paths, hide nothing, and end as their format does.

use crate::format::{self, Format};
use crate::limits::LIMITS;
use crate::order::Order;

/// What systems keep for devices, with whatever extension.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// The wanted name without folders and without what a system or a reader could stumble over.
pub(crate) fn sanitised(wanted: Option<&str>, format: &Format) -> String {
    let last = wanted.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|character| is_harmless(*character)).collect();
    let clean = clean.trim_matches(|character: char| character.is_whitespace() || character == '.');
    if format.name == clean.to_ascii_lowercase() && format.extensions[0] == format.name {
        return clean.to_owned(); // Such as `Dockerfile`, whose whole name is its format.
    }
    let (stem, extension) = match clean.rsplit_once('.') {
        Some((stem, extension)) if format.extensions.contains(&lower(extension).as_str()) => {
            (stem, extension)
        }
        // Another format's extension would lie about what is inside.
        Some((stem, extension)) if format::known(extension).is_some() => {
            (stem, format.extensions[0])
        }
        _ => (clean, format.extensions[0]),
    };
    let stem =
        stem.trim_end_matches(|character: char| character.is_whitespace() || character == '.');
    let device = DEVICES.iter().any(|device| {
        let rest = lower(stem);
        rest.strip_prefix(device).is_some_and(|rest| {
            rest.is_empty() || (rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
        })
    });
    let stem = match stem {
        "" => "file".to_owned(),
        stem if device => format!("{stem}_"),
        stem => cut(stem, LIMITS.file_name_bytes - extension.len() - 1).to_owned(),
    };
    format!("{stem}.{extension}")
}

/// What a page made for this order is called.
pub(crate) fn title(order: &Order) -> String {
    let name = order.file_name.as_deref().unwrap_or("Document");
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    last.rsplit_once('.').map_or(last, |(stem, _)| stem).chars().take(LIMITS.label_chars).collect()
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn is_harmless(character: char) -> bool {
    // The last ranges turn the direction of text, so that a name reads otherwise than it is.
    !character.is_control()
        && !"<>:\"|?*".contains(character)
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
