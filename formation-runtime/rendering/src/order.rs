//! What an agent orders: which file, and what it is made of.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::RenderError;
use crate::format::{Family, Format};
use crate::limits::{LIMITS, most};

/// The arguments of the tool, as its schema describes them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    pub file_name: Option<String>,
    /// In place of the name's extension.
    pub format: Option<String>,
    pub content: Option<String>,
    /// HTML is made of `content`, which is Markdown.
    pub from_markdown: bool,
    pub data: Option<Value>,
    pub columns: Vec<String>,
    /// Each a list of cells, or a map from columns to cells.
    pub rows: Option<Vec<Value>>,
    pub sheets: Option<Vec<Sheet>>,
    pub chart: Option<Chart>,
}

/// One sheet of a spreadsheet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    pub name: String,
    #[serde(default)]
    pub columns: Vec<String>,
    pub rows: Vec<Value>,
    /// In characters, from the first column on; the others fit their content.
    #[serde(default)]
    pub column_widths: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    pub kind: ChartKind,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub subtitle: String,
    /// One for each value of a series.
    #[serde(default)]
    pub labels: Vec<String>,
    pub series: Vec<Series>,
    #[serde(default)]
    pub y_title: String,
    #[serde(default)]
    pub stacked: bool,
    #[serde(default)]
    pub show_values: bool,
    #[serde(default)]
    pub theme: Theme,
    #[serde(default = "Chart::default_width")]
    pub width: usize,
    #[serde(default = "Chart::default_height")]
    pub height: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartKind {
    Bar,
    HorizontalBar,
    Line,
    Area,
    Pie,
    Donut,
    Scatter,
    Radar,
    Funnel,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    #[default]
    Light,
    Dark,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Series {
    pub name: String,
    /// `null` where a value is missing.
    pub values: Vec<Option<f64>>,
    /// `[x, y]`, of a scatter chart only.
    pub points: Vec<[f64; 2]>,
}

/// The one thing that a file is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Content(&'a str),
    Data(&'a Value),
    Rows(&'a [Value]),
    Sheets(&'a [Sheet]),
    Chart(&'a Chart),
}

// === impl Order ===

impl Order {
    /// From a tool's arguments; a fault is told with its place.
    pub fn parse(arguments: Map<String, Value>) -> Result<Self, RenderError> {
        serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
            let place = error.path().to_string();
            let fault = error.into_inner().to_string();
            RenderError::argument(if place == "." { "arguments".to_owned() } else { place }, fault)
        })
    }

    /// What the file is made of, if it is one thing and all else fits to it.
    pub(crate) fn source(&self, format: &Format) -> Result<Source<'_>, RenderError> {
        let sources = [
            self.content.as_deref().map(Source::Content),
            self.data.as_ref().map(Source::Data),
            self.rows.as_deref().map(Source::Rows),
            self.sheets.as_deref().map(Source::Sheets),
            self.chart.as_ref().map(Source::Chart),
        ];
        let mut given = sources.into_iter().flatten();
        let source = given.next().ok_or_else(|| format.missing())?;
        if let Some(second) = given.next() {
            return Err(RenderError::Both(source.field(), second.field()));
        }
        if !self.columns.is_empty() && !matches!(source, Source::Rows(_)) {
            return Err(RenderError::argument("columns", "they need `rows`"));
        }
        let is_page = format.family == Family::Html && matches!(source, Source::Content(_));
        if self.from_markdown && !is_page {
            return Err(RenderError::argument("from_markdown", "only html is made of Markdown"));
        }
        if let Source::Content(text) = source {
            if !format.family.takes_content() {
                return Err(format.misplaced("content"));
            }
            most("the content's size in bytes", text.len(), LIMITS.content_bytes)?;
        }
        Ok(source)
    }
}

// === impl Chart ===

impl Chart {
    fn default_width() -> usize {
        800
    }

    fn default_height() -> usize {
        500
    }
}

// === impl Source ===

impl Source<'_> {
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::Content(_) => "content",
            Self::Data(_) => "data",
            Self::Rows(_) => "rows",
            Self::Sheets(_) => "sheets",
            Self::Chart(_) => "chart",
        }
    }
}
