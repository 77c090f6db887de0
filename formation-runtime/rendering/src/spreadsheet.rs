//! Spreadsheets with typed cells. Text stays text: only `{"formula": …}` is one.

mod cell;
mod formula;

use rust_xlsxwriter::{
    Color, DocProperties, ExcelDateTime, Format, FormatBorder, Workbook, Worksheet, XlsxError,
};
use serde_json::Value;

use crate::error::RenderError;
use crate::limits::{LIMITS, most};
use crate::order::Sheet;
use crate::table::Table;

use cell::Styles;

/// Wider columns than this are read worse than ones that are cut.
const COLUMN_PIXELS_MAX: u32 = 420;
/// What a spreadsheet program takes.
const COLUMN_CHARS_MAX: f64 = 255.0;

pub(crate) fn one_sheet(columns: &[String], rows: &[Value]) -> Result<Vec<u8>, RenderError> {
    let mut book = empty_book()?;
    let table = Table::of("rows", columns, rows)?;
    fill(book.add_worksheet(), &table, &[], "column_widths")?;
    book.save_to_buffer().map_err(unwritable)
}

pub(crate) fn workbook(sheets: &[Sheet]) -> Result<Vec<u8>, RenderError> {
    most("the number of sheets", sheets.len(), LIMITS.sheets)?;
    if sheets.is_empty() {
        return Err(RenderError::argument("sheets", "there is none"));
    }
    let mut book = empty_book()?;
    let mut cells = 0;
    for (index, sheet) in sheets.iter().enumerate() {
        let place = format!("sheets[{index}]");
        let table = Table::of(&format!("{place}.rows"), &sheet.columns, &sheet.rows)?;
        cells += table.width() * table.rows.len();
        most("the number of cells of all sheets", cells, LIMITS.cells)?;
        let name = sheet.name.trim();
        let is_taken = |other: &Sheet| other.name.trim().to_lowercase() == name.to_lowercase();
        if sheets[..index].iter().any(is_taken) {
            return Err(RenderError::argument(
                format!("{place}.name"),
                "another sheet has this name",
            ));
        }
        let page = book.add_worksheet();
        if !is_sheet_name(name) {
            let fault = "1 to 31 characters, none of [ ] : * ? / \\, and no ' at its ends";
            return Err(RenderError::argument(format!("{place}.name"), fault));
        }
        page.set_name(name).map_err(unwritable)?;
        fill(page, &table, &sheet.column_widths, &format!("{place}.column_widths"))?;
    }
    book.save_to_buffer().map_err(unwritable)
}

/// What spreadsheet programs take.
fn is_sheet_name(name: &str) -> bool {
    (1..=31).contains(&name.encode_utf16().count())
        && !name.contains(['[', ']', ':', '*', '?', '/', '\\'])
        && !name.contains(char::is_control)
        && !name.starts_with('\'')
        && !name.ends_with('\'')
}

/// Says nothing of when it was made, so that the same order makes the same bytes.
fn empty_book() -> Result<Workbook, RenderError> {
    let mut book = Workbook::new();
    let made = ExcelDateTime::from_ymd(2000, 1, 1).map_err(unwritable)?;
    book.set_properties(&DocProperties::new().set_creation_datetime(&made));
    Ok(book)
}

fn fill(
    page: &mut Worksheet,
    table: &Table<'_>,
    widths: &[f64],
    place: &str,
) -> Result<(), RenderError> {
    let styles = Styles::new();
    let mut first = 0;
    if !table.columns.is_empty() {
        let header = Format::new()
            .set_bold()
            .set_background_color(Color::RGB(0x00DD_E6F0))
            .set_border_bottom(FormatBorder::Thin);
        for (column, name) in (0..).zip(&table.columns) {
            cell::checked_text("columns", name)?;
            page.write_string_with_format(0, column, *name, &header).map_err(unwritable)?;
        }
        page.set_freeze_panes(1, 0).map_err(unwritable)?;
        first = 1;
    }
    for (row, (line, cells)) in (first..).zip(table.rows.iter().enumerate()) {
        for (column, (index, value)) in (0..).zip(cells.iter().enumerate()) {
            cell::write(page, (row, column), value, &styles, || table.cell(line, index))?;
        }
    }
    page.set_autofit_max_width(COLUMN_PIXELS_MAX).autofit();
    most("the number of column widths", widths.len(), table.width())?;
    for (column, (index, width)) in (0..).zip(widths.iter().enumerate()) {
        if !(0.0..=COLUMN_CHARS_MAX).contains(width) {
            let fault = format!("{width} characters; it is from 0 to {COLUMN_CHARS_MAX}");
            return Err(RenderError::argument(format!("{place}[{index}]"), fault));
        }
        page.set_column_width(column, *width).map_err(unwritable)?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn unwritable(error: XlsxError) -> RenderError {
    RenderError::Spreadsheet(error.to_string())
}
