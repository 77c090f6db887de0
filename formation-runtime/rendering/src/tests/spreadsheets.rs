//! Spreadsheets, read back by another program's reader.

use calamine::{Data, Reader as _, Xlsx};
use serde_json::{Value, json};

use super::{made, refused};

fn book(arguments: Value) -> Xlsx<std::io::Cursor<Vec<u8>>> {
    Xlsx::new(std::io::Cursor::new(made(arguments).bytes.to_vec())).unwrap()
}

#[test]
fn cells_keep_their_kinds_and_text_is_never_a_formula() {
    let mut book = book(json!({
        "file_name": "sales.xlsx",
        "columns": ["what", "value"],
        "rows": [
            ["number", 12.5], ["whole", -7], ["yes", true], ["date", "2026-01-31"],
            ["time", "2026-01-31T10:30:00"], ["no day", "2026-02-31"], ["text", "=1+1"],
            ["forced", {"text": "2026-01-31"}], ["sum", {"formula": "=SUM(B2:B3)"}],
            ["long", 12_345_678_901_234_567_890_u64], ["none", null], {"what": "map", "value": "+1"}
        ]
    }));
    let range = book.worksheet_range("Sheet1").unwrap();
    let cell = |row: u32| range.get_value((row, 1)).cloned().unwrap_or(Data::Empty);
    assert_eq!(range.get_value((0, 0)), Some(&Data::String("what".into())));
    assert_eq!(cell(1), Data::Float(12.5));
    assert_eq!(cell(2), Data::Float(-7.0));
    assert_eq!(cell(3), Data::Bool(true));
    let Data::DateTime(day) = cell(4) else { panic!("{:?}", cell(4)) };
    assert!((day.as_f64() - 46_053.0).abs() < 1e-9, "{day:?}");
    let Data::DateTime(time) = cell(5) else { panic!("{:?}", cell(5)) };
    assert!((time.as_f64() - 46_053.437_5).abs() < 1e-9, "{time:?}");
    for (row, text) in [
        (6, "2026-02-31"),
        (7, "=1+1"),
        (8, "2026-01-31"),
        (10, "12345678901234567890"),
        (12, "+1"),
    ] {
        assert_eq!(cell(row), Data::String(text.into()));
    }
    assert_eq!(cell(11), Data::Empty);
    let formulas = book.worksheet_formula("Sheet1").unwrap();
    let formulas: Vec<_> = formulas.used_cells().map(|(_, _, text)| text.clone()).collect();
    assert_eq!(formulas, ["SUM(B2:B3)"]);
}

#[test]
fn several_sheets_have_their_names_and_widths() {
    let arguments = json!({"file_name": "b.xlsx", "sheets": [
        {"name": "Sales", "columns": ["a"], "rows": [[1]], "column_widths": [30]},
        {"name": "Räume", "rows": [["x", "y"]]},
    ]});
    let mut book = book(arguments.clone());
    assert_eq!(book.sheet_names(), ["Sales", "Räume"]);
    let second = book.worksheet_range("Räume").unwrap();
    assert_eq!(second.get_value((0, 1)), Some(&Data::String("y".into())));
    assert_eq!(made(arguments.clone()).bytes, made(arguments).bytes);
}

#[test]
fn what_no_spreadsheet_can_hold_is_told_with_its_place() {
    let sheet = |sheet: Value| refused(json!({"file_name": "a.xlsx", "sheets": [sheet]}));
    insta::assert_snapshot!(
        [
            sheet(json!({"name": "a/b", "rows": []})),
            sheet(json!({"name": "", "rows": []})),
            sheet(json!({"name": "x".repeat(32), "rows": []})),
            sheet(json!({"name": "a", "rows": [[1, {"formula": "=WEBSERVICE(\"http://x\")"}]]})),
            sheet(json!({"name": "a", "rows": [[{"formula": "1+1"}]]})),
            sheet(json!({"name": "a", "rows": [[{"value": 1}]]})),
            sheet(json!({"name": "a", "rows": [[[1]]]})),
            sheet(json!({"name": "a", "rows": [["x".repeat(32_768)]]})),
            sheet(json!({"name": "a", "rows": [[1]], "column_widths": [-1]})),
            sheet(json!({"name": "a", "rows": [[1]], "column_widths": [1, 1]})),
            refused(json!({"file_name": "a.xlsx", "sheets": []})),
            refused(json!({"file_name": "a.xlsx", "sheets": [
                {"name": "A", "rows": []}, {"name": "a ", "rows": []}
            ]})),
        ]
        .join("\n")
    );
}
