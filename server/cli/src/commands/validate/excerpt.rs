//! A fault or warning with the line that it is about.

use std::collections::BTreeMap;
use std::path::Path;

use console::Style;
use muxi_formation::Diagnostic;

use crate::files::document;
use crate::terminal::plain;

/// Longer lines are cut around the place.
const CHARS_MAX: usize = 100;

/// All of them, an empty line behind each.
pub(super) fn all(folder: &Path, found: &[Diagnostic]) -> String {
    let mut texts = BTreeMap::new();
    let mut shown = String::new();
    for it in found {
        let text = texts.entry(it.file.as_str()).or_insert_with(|| {
            if it.file == muxi_vault::SECRETS_FILE {
                return String::new();
            }
            // What cannot be read is told by the fault itself.
            document::text(&folder.join(&it.file)).ok().flatten().unwrap_or_default()
        });
        shown.push_str(&one(it, text));
        shown.push('\n');
    }
    shown
}

fn one(it: &Diagnostic, text: &str) -> String {
    let (kind, style) = if it.is_error() {
        ("fault", Style::new().red())
    } else {
        ("warning", Style::new().yellow())
    };
    let head = format!("{}: {}\n", style.bold().apply_to(kind), plain(&it.message));
    let place = format!("  {}:{}:{}\n", plain(&it.file), it.line, it.column);
    let mend = format!("  → {}\n", plain(&it.mend));
    format!("{head}{place}{}{mend}", excerpt(text, it.line, it.column))
}

/// The line with a caret below; nothing for files that are not texts.
fn excerpt(text: &str, line: usize, column: usize) -> String {
    let Some(written) = text.lines().nth(line.saturating_sub(1)) else { return String::new() };
    let written = plain(written).replace('\t', " ");
    if written.trim().is_empty() {
        return String::new();
    }
    let from = (column + 20).saturating_sub(CHARS_MAX);
    let shown: String = written.chars().skip(from).take(CHARS_MAX).collect();
    let number = line.to_string();
    let (gap, before) = (" ".repeat(number.len()), " ".repeat((column - 1).saturating_sub(from)));
    format!("  {number} | {}\n  {gap} | {before}^\n", shown.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_place() {
        assert_eq!(excerpt("a: 1\nbad: 2\n", 2, 6), "  2 | bad: 2\n    |      ^\n");
        assert_eq!(excerpt("", 1, 1), "");
        let long = format!("{}x", "a".repeat(300));
        assert!(excerpt(&long, 1, 301).lines().all(|it| it.chars().count() < 110));
    }
}
