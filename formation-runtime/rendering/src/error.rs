//! Why a file was not made, in words that its author can mend it by.

use crate::format;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("`{format}` is no known format; take one of: {}", format::names())]
    UnknownFormat { format: String },
    #[error("{format} files are not made here: {mend}")]
    NotMade { format: &'static str, mend: &'static str },
    #[error(
        "the format is open: end `file_name` with an extension, such as .csv, or name `format`"
    )]
    NoFormat,
    #[error("nothing to make a file of: {format} is made of {takes}")]
    Missing { format: &'static str, takes: &'static str },
    #[error("`{field}` does not fit here: {format} is made of {takes}")]
    Misplaced { field: &'static str, format: &'static str, takes: &'static str },
    #[error("`{0}` and `{1}` exclude each other; leave one of them out")]
    Both(&'static str, &'static str),
    #[error("`{place}`: {fault}")]
    Argument { place: String, fault: String },
    #[error("the content is no well-formed {format}: line {line}, column {column}: {fault}")]
    Malformed { format: &'static str, line: usize, column: usize, fault: String },
    #[error("the drawing {fault} (line {line}, column {column}); leave that out")]
    Unsafe { line: usize, column: usize, fault: String },
    #[error("{what} is {found}, and at most {most} is possible")]
    TooLarge { what: String, found: usize, most: usize },
    #[error("the chart could not be drawn: {0}")]
    Chart(String),
    #[error("the spreadsheet could not be written: {0}")]
    Spreadsheet(String),
}

// === impl RenderError ===

impl RenderError {
    pub(crate) fn argument(place: impl Into<String>, fault: impl Into<String>) -> Self {
        Self::Argument { place: place.into(), fault: fault.into() }
    }
}
