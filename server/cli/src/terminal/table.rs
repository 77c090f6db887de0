//! Lists as columns.

use console::{Alignment, Style, measure_text_width, pad_str};
use serde_json::Value;

use super::format::text_of;

const GAP: &str = "  ";

/// A column's head and where its value stands in each item, such as `version.semantic`.
pub(crate) type Column = (&'static str, &'static str);

/// The items as a table, or `empty` when there are none.
pub(crate) fn list(items: &[Value], columns: &[Column], empty: &str) -> String {
    if items.is_empty() {
        return format!("{empty}\n");
    }
    let row = |item: &Value| columns.iter().map(|(_, path)| text_of(at(item, path))).collect();
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
        .filter(|(_, path)| !at(item, path).is_null())
        .map(|(head, path)| (*head, text_of(at(item, path))))
        .collect();
    let width = present.iter().map(|(head, _)| head.len()).max().unwrap_or_default();
    present.iter().map(|(head, text)| format!("{head:width$}{GAP}{text}\n")).collect()
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
        let shown = facts(&item, &[("Id", "id"), ("Gone", "gone"), ("Port", "port")]);
        assert_eq!(shown, "Id    a\nPort  8000\n");
    }
}
