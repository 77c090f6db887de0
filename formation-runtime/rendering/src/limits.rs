//! How large a file may be, and all that it is made of.

use crate::error::RenderError;

/// What is beyond these is refused with the figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub content_bytes: usize,
    pub file_bytes: usize,
    pub file_name_bytes: usize,
    pub sheets: usize,
    pub rows: usize,
    pub columns: usize,
    /// Of all sheets of a file.
    pub cells: usize,
    /// What a spreadsheet program can hold.
    pub cell_chars: usize,
    pub series: usize,
    /// Of all series of a chart.
    pub points: usize,
    /// Of titles, labels and names in a chart.
    pub label_chars: usize,
    /// Of each side of a chart.
    pub pixels_min: usize,
    pub pixels: usize,
}

pub const LIMITS: Limits = Limits {
    content_bytes: 2 << 20,
    file_bytes: 10 << 20,
    file_name_bytes: 120,
    sheets: 20,
    rows: 50_000,
    columns: 256,
    cells: 500_000,
    cell_chars: 32_767,
    series: 24,
    points: 10_000,
    label_chars: 200,
    pixels_min: 100,
    pixels: 2_000,
};

pub(crate) fn most(what: &str, found: usize, most: usize) -> Result<(), RenderError> {
    if found > most {
        return Err(RenderError::TooLarge { what: what.to_owned(), found, most });
    }
    Ok(())
}
