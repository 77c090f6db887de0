//! One cell: what kind a value has, and how it is shown.

use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Worksheet};
use serde_json::{Map, Value};

use super::{formula, unwritable};
use crate::error::RenderError;
use crate::limits::LIMITS;

/// Beyond this a spreadsheet would round whole numbers, as it has 15 digits.
const WHOLE_NUMBER_MAX: u64 = 999_999_999_999_999;

pub(super) struct Styles {
    date: Format,
    time: Format,
}

// === impl Styles ===

impl Styles {
    pub(super) fn new() -> Self {
        Self {
            date: Format::new().set_num_format("yyyy-mm-dd"),
            time: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
        }
    }
}

/// `place` is only made when something is wrong there.
pub(super) fn write(
    page: &mut Worksheet,
    (row, column): (u32, u16),
    value: &Value,
    styles: &Styles,
    place: impl Fn() -> String,
) -> Result<(), RenderError> {
    let written = match value {
        Value::Null => return Ok(()),
        Value::Bool(value) => page.write_boolean(row, column, *value),
        Value::Number(number) => match number.as_f64() {
            Some(value) if is_exact(number) => page.write_number(row, column, value),
            _ => page.write_string(row, column, number.to_string()),
        },
        Value::String(text) => match date_or_time(text) {
            Some((moment, has_time)) => {
                let style = if has_time { &styles.time } else { &styles.date };
                page.write_datetime_with_format(row, column, &moment, style)
            }
            None => page.write_string(row, column, checked_text(place, text)?),
        },
        Value::Object(cell) => match explicit(cell) {
            Some(Explicit::Text(text)) => {
                page.write_string(row, column, checked_text(place, text)?)
            }
            Some(Explicit::Formula(text)) => {
                formula::check(text).map_err(|fault| RenderError::argument(place(), fault))?;
                page.write_formula(row, column, Formula::new(text))
            }
            None => return Err(RenderError::argument(place(), WANTED)),
        },
        Value::Array(_) => return Err(RenderError::argument(place(), WANTED)),
    };
    written.map(drop).map_err(unwritable)
}

const WANTED: &str = "a cell is text, a number, true, false, null, {\"formula\": \"=SUM(A2:A9)\"} \
                      or {\"text\": \"2026-01-31\"}";

pub(super) fn checked_text(place: impl IntoPlace, text: &str) -> Result<&str, RenderError> {
    let chars = text.chars().map(char::len_utf16).sum::<usize>();
    if chars > LIMITS.cell_chars {
        let fault = format!("{chars} characters; a cell holds {}", LIMITS.cell_chars);
        return Err(RenderError::argument(place.into_place(), fault));
    }
    Ok(text)
}

pub(super) trait IntoPlace {
    fn into_place(self) -> String;
}

impl IntoPlace for &str {
    fn into_place(self) -> String {
        self.to_owned()
    }
}

impl<F: Fn() -> String> IntoPlace for F {
    fn into_place(self) -> String {
        self()
    }
}

enum Explicit<'a> {
    Formula(&'a str),
    Text(&'a str),
}

fn explicit(cell: &Map<String, Value>) -> Option<Explicit<'_>> {
    let mut entries = cell.iter();
    let (Some((key, Value::String(text))), None) = (entries.next(), entries.next()) else {
        return None;
    };
    match key.as_str() {
        "formula" => Some(Explicit::Formula(text)),
        "text" => Some(Explicit::Text(text)),
        _ => None,
    }
}

fn is_exact(number: &serde_json::Number) -> bool {
    match (number.as_u64(), number.as_i64()) {
        (Some(whole), _) => whole <= WHOLE_NUMBER_MAX,
        (None, Some(whole)) => whole.unsigned_abs() <= WHOLE_NUMBER_MAX,
        (None, None) => number.as_f64().is_some_and(f64::is_finite),
    }
}

/// `2026-01-31`, with or without `T10:30` or `T10:30:00`, if there is such a day. With a zone it
/// stays text: spreadsheets know none.
fn date_or_time(text: &str) -> Option<(ExcelDateTime, bool)> {
    const DATE: &[u8] = b"0000-00-00";
    const MINUTES: &[u8] = b"0000-00-00T00:00";
    const SECONDS: &[u8] = b"0000-00-00T00:00:00";
    let has_shape = |shape: &[u8]| {
        text.len() == shape.len()
            && text.bytes().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'T' => byte == b'T' || byte == b' ',
                _ => byte == *shape,
            })
    };
    let has_time = has_shape(MINUTES) || has_shape(SECONDS);
    if !has_time && !has_shape(DATE) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u16>().ok();
    let small = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let day = ExcelDateTime::from_ymd(number(0, 4)?, small(5, 7)?, small(8, 10)?).ok()?;
    if !has_time {
        return Some((day, false));
    }
    let seconds = if text.len() == SECONDS.len() { number(17, 19)? } else { 0 };
    let (hours, minutes) = (number(11, 13)?, small(14, 16)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some((day.and_hms(hours, minutes, seconds).ok()?, true))
}
