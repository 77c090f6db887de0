//! Lists as columns, and one thing as facts.

use console::{Alignment, Style, measure_text_width, pad_str};
use serde_json::Value;

use super::format::{bytes, cut, duration, text_of, time};

const GAP: &str = "  ";
/// Of a cell that only hints at its text.
const SHORT_CHARS: usize = 60;

/// A column's head and where its value stands in each item, such as `version.semantic`; behind a bar, how
/// it is read: `time`, `bytes`, `seconds` or `short`.
pub(crate) type Column = (&'static str, &'static str);

/// The items as a table, or `empty` when there are none.
pub(crate) fn list(items: &[Value], columns: &[Column], empty: &str) -> String {
    if items.is_empty() {
        return format!("{empty}\n");
    }
    let row = |item: &Value| columns.iter().map(|(_, path)| cell(item, path)).collect();
    table(
        &columns.iter().map(|(head, _)| *head).collect::<Vec<_>>(),
        items.iter().map(row).collect(),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "rows are made to be shown")]
pub(crate) fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| measure_text_width(&row[at]));
        cells.chain([heads[at].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded =
            cells.iter().zip(&widths).map(|(it, width)| pad_str(it, *width, Alignment::Left, None));
        let line = padded.collect::<Vec<_>>().join(GAP);
        format!("{}\n", line.trim_end())
    };
    let bold = Style::new().bold();
    let heads: Vec<String> = heads.iter().map(|it| bold.apply_to(it).to_string()).collect();
    std::iter::once(line(&heads)).chain(rows.iter().map(|row| line(row))).collect()
}

/// One thing with its facts, a line each; those that are null are left out.
pub(crate) fn facts(item: &Value, facts: &[Column]) -> String {
    let present: Vec<(&str, String)> = facts
        .iter()
        .filter(|(_, column)| !at(item, column.split('|').next().unwrap_or_default()).is_null())
        .map(|(head, column)| (*head, cell(item, column)))
        .collect();
    let width = present.iter().map(|(head, _)| head.len()).max().unwrap_or_default();
    present.iter().map(|(head, text)| format!("{head:width$}{GAP}{text}\n")).collect()
}

/// A text below a title, or nothing when it is empty.
pub(crate) fn section(title: &str, text: &str) -> String {
    let text = super::plain(text);
    let lines = text.trim().lines().map(|it| format!("  {it}").trim_end().to_owned() + "\n");
    let lines: String = lines.collect();
    if lines.is_empty() {
        return lines;
    }
    format!("\n{}\n{lines}", Style::new().bold().apply_to(title))
}

/// A document as people write it: a line for each value.
pub(crate) fn document(value: &Value) -> String {
    let text = serde_yaml::to_string(value).unwrap_or_else(|_| value.to_string());
    super::plain(&text)
}

/// The list that stands there, empty where there is none.
pub(crate) fn items<'a>(item: &'a Value, path: &str) -> &'a [Value] {
    at(item, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

fn cell(item: &Value, column: &str) -> String {
    let (path, kind) = column.split_once('|').unwrap_or((column, ""));
    let value = at(item, path);
    let read = match kind {
        "time" => time(value),
        "bytes" => value.as_u64().map(bytes),
        "seconds" => value.as_u64().map(duration),
        "short" => value.as_str().map(|it| cut(it, SHORT_CHARS)),
        _ => None,
    };
    read.filter(|it| !it.is_empty()).unwrap_or_else(|| text_of(value))
}

/// The value at a dotted path, null where there is none.
pub(crate) fn at<'a>(item: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(item, |value, key| &value[key])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let items = [json!({"id": "a", "v": {"n": 1}}), json!({"id": "longer", "v": null})];
        let shown = list(&items, &[("ID", "id"), ("N", "v.n")], "none");
        assert_eq!(console::strip_ansi_codes(&shown), "ID      N\na       1\nlonger  -\n");
        assert_eq!(list(&[], &[("ID", "id")], "nothing here"), "nothing here\n");
    }

    #[test]
    fn facts_that_are_not_known_are_left_out() {
        let item = json!({"id": "a", "port": 8000, "gone": null});
        let shown = facts(&item, &[("Id", "id"), ("Gone", "gone|time"), ("Port", "port")]);
        assert_eq!(shown, "Id    a\nPort  8000\n");
    }

    #[test]
    fn a_column_says_how_it_is_read() {
        let item = json!({"size": 2048, "left": 61, "text": "x".repeat(80), "at": null});
        assert_eq!(cell(&item, "size|bytes"), "2.00 KiB");
        assert_eq!(cell(&item, "left|seconds"), "1m 1s");
        assert_eq!(cell(&item, "text|short").chars().count(), SHORT_CHARS);
        assert_eq!(cell(&item, "at|time"), "-");
    }

    #[test]
    fn a_section_is_indented_and_nothing_makes_none() {
        let shown = section("Text", " one\n\n  two\u{7}\n");
        assert_eq!(console::strip_ansi_codes(&shown), "\nText\n  one\n\n    two\n");
        assert_eq!(section("Text", " \n"), "");
    }
}
