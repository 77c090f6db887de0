//! Files made of what agents describe: texts, tables, charts, spreadsheets. Pure: bytes in, bytes out.
//!
//! Invariants:
//! - The same order makes the same bytes; nothing here reads a clock, a file or the network.
//! - A file that is handed out is well-formed in its format and within [`LIMITS`].
//! - Text is data: none becomes a formula, a script or a path.

mod chart;
mod data;
mod error;
mod format;
mod limits;
mod name;
mod order;
mod schema;
mod spreadsheet;
mod svg;
mod table;
mod text;

use bytes::Bytes;

pub use error::RenderError;
pub use format::media_type;
pub use limits::{LIMITS, Limits};
pub use order::{Chart, ChartKind, Order, Series, Sheet, Theme};
pub use schema::{DESCRIPTION, NAME, schema};

use format::{Family, Format};
use order::Source;
use table::Table;

/// A file, ready to be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Without folders, with the extension of its format.
    pub name: String,
    /// `type/subtype`.
    pub media_type: &'static str,
    pub bytes: Bytes,
}

/// Makes the file that was ordered.
pub fn render(order: &Order) -> Result<Rendered, RenderError> {
    let format = Format::of(order)?;
    let source = order.source(format)?;
    let bytes = body(order, format, source)?;
    limits::most("the file's size in bytes", bytes.len(), LIMITS.file_bytes)?;
    let name = name::sanitised(order.file_name.as_deref(), format);
    Ok(Rendered { name, media_type: format.media_type, bytes: bytes.into() })
}

fn body(order: &Order, format: &Format, source: Source<'_>) -> Result<Vec<u8>, RenderError> {
    match (format.family, source) {
        (Family::Html, Source::Content(text)) if order.from_markdown => {
            Ok(text::page(&name::title(order), text).into_bytes())
        }
        (Family::Svg, Source::Content(text)) => {
            svg::check(text)?;
            Ok(text.as_bytes().to_vec())
        }
        (_, Source::Content(text)) => {
            text::check(format, text)?;
            Ok(text.as_bytes().to_vec())
        }
        (Family::Delimited(delimiter), Source::Rows(rows)) => {
            Table::of("rows", &order.columns, rows)?.delimited(delimiter)
        }
        (Family::Json, Source::Data(value)) => data::json(value),
        (Family::JsonLines, Source::Data(value)) => data::json_lines(value),
        (Family::Yaml, Source::Data(value)) => data::yaml(value),
        (Family::Json, Source::Rows(rows)) => data::json(&records(order, rows)?),
        (Family::JsonLines, Source::Rows(rows)) => data::json_lines(&records(order, rows)?),
        (Family::Yaml, Source::Rows(rows)) => data::yaml(&records(order, rows)?),
        (Family::Svg, Source::Chart(chart)) => chart::svg(chart).map(String::into_bytes),
        (Family::Png, Source::Chart(chart)) => chart::png(chart),
        (Family::Spreadsheet, Source::Rows(rows)) => spreadsheet::one_sheet(&order.columns, rows),
        (Family::Spreadsheet, Source::Sheets(sheets)) => spreadsheet::workbook(sheets),
        (_, source) => Err(format.misplaced(source.field())),
    }
}

fn records(order: &Order, rows: &[serde_json::Value]) -> Result<serde_json::Value, RenderError> {
    Table::of("rows", &order.columns, rows).map(|table| table.records())
}

#[cfg(test)]
mod tests;
