//! Rows as agents give them, brought to one shape.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::error::RenderError;
use crate::limits::{LIMITS, most};

/// Every row has as many cells as the widest, or as there are columns.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// Empty when none were named.
    pub(crate) columns: Vec<&'a str>,
    pub(crate) rows: Vec<Vec<&'a Value>>,
    place: String,
}

static MISSING: Value = Value::Null;

// === impl Table ===

impl<'a> Table<'a> {
    /// `place` is how the rows are called in faults.
    pub(crate) fn of(
        place: &str,
        columns: &'a [String],
        rows: &'a [Value],
    ) -> Result<Self, RenderError> {
        most("the number of rows", rows.len(), LIMITS.rows)?;
        let columns = if columns.is_empty() {
            keys(rows)?
        } else {
            columns.iter().map(String::as_str).collect()
        };
        most("the number of columns", columns.len(), LIMITS.columns)?;
        let positions: HashMap<&str, usize> =
            columns.iter().enumerate().map(|(position, column)| (*column, position)).collect();
        if positions.len() < columns.len() {
            return Err(RenderError::argument("columns", "two have the same name"));
        }
        let mut table = Self { columns, rows: Vec::with_capacity(rows.len()), place: place.into() };
        for (index, row) in rows.iter().enumerate() {
            let cells = match row {
                Value::Array(cells) => cells.iter().collect(),
                Value::Object(record) => table.cells_of(index, record, &positions)?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(table.fault(index, "a row is a list of cells or a map"));
                }
            };
            table.rows.push(cells);
        }
        table.even_out()?;
        Ok(table)
    }

    pub(crate) fn width(&self) -> usize {
        self.rows.first().map_or(self.columns.len(), Vec::len)
    }

    /// What a cell is called in a fault.
    pub(crate) fn cell(&self, row: usize, column: usize) -> String {
        format!("{}[{row}][{column}]", self.place)
    }

    /// Maps where columns have names, else lists.
    pub(crate) fn records(&self) -> Value {
        let record = |row: &Vec<&Value>| -> Value {
            let cells = row.iter().copied().cloned();
            if self.columns.is_empty() {
                return Value::Array(cells.collect());
            }
            let named = self.columns.iter().map(|column| (*column).to_owned()).zip(cells);
            Value::Object(named.collect::<Map<_, _>>())
        };
        Value::Array(self.rows.iter().map(record).collect())
    }

    pub(crate) fn delimited(&self, delimiter: u8) -> Result<Vec<u8>, RenderError> {
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        let failed = |error: csv::Error| RenderError::argument(&self.place, error.to_string());
        if !self.columns.is_empty() {
            writer.write_record(&self.columns).map_err(failed)?;
        }
        for (row, cells) in self.rows.iter().enumerate() {
            let mut texts = Vec::with_capacity(cells.len());
            for (column, cell) in cells.iter().enumerate() {
                texts.push(self.plain(row, column, cell)?);
            }
            writer.write_record(&texts).map_err(failed)?;
        }
        writer.into_inner().map_err(|error| RenderError::argument(&self.place, error.to_string()))
    }

    fn plain(&self, row: usize, column: usize, cell: &Value) -> Result<String, RenderError> {
        match cell {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            Value::Bool(_) | Value::Number(_) => Ok(cell.to_string()),
            Value::Array(_) | Value::Object(_) => {
                let fault = "a cell is text, a number, true, false or null";
                Err(RenderError::argument(self.cell(row, column), fault))
            }
        }
    }

    fn cells_of(
        &self,
        index: usize,
        record: &'a Map<String, Value>,
        positions: &HashMap<&str, usize>,
    ) -> Result<Vec<&'a Value>, RenderError> {
        let mut cells = vec![&MISSING; self.columns.len()];
        for (key, cell) in record {
            let Some(position) = positions.get(key.as_str()) else {
                let key: String = key.chars().take(40).collect();
                return Err(self.fault(index, &format!("`{key}` is not among the columns")));
            };
            cells[*position] = cell;
        }
        Ok(cells)
    }

    fn even_out(&mut self) -> Result<(), RenderError> {
        let widest = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        most("the number of columns", widest, LIMITS.columns)?;
        if !self.columns.is_empty()
            && let Some(index) = self.rows.iter().position(|row| row.len() > self.columns.len())
        {
            let (cells, columns) = (self.rows[index].len(), self.columns.len());
            return Err(self.fault(index, &format!("{cells} cells for {columns} column(s)")));
        }
        let width = widest.max(self.columns.len());
        most("the number of cells", width.saturating_mul(self.rows.len()), LIMITS.cells)?;
        for row in &mut self.rows {
            row.resize(width, &MISSING);
        }
        Ok(())
    }

    fn fault(&self, index: usize, fault: &str) -> RenderError {
        RenderError::argument(format!("{}[{index}]", self.place), fault)
    }
}

/// The keys of all rows that are maps, in the order in which they come first.
fn keys(rows: &[Value]) -> Result<Vec<&str>, RenderError> {
    let mut seen = HashMap::new();
    for key in rows.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        let next = seen.len();
        seen.entry(key.as_str()).or_insert(next);
        most("the number of columns", seen.len(), LIMITS.columns)?;
    }
    let mut keys: Vec<_> = seen.into_iter().collect();
    keys.sort_by_key(|(_, position)| *position);
    Ok(keys.into_iter().map(|(key, _)| key).collect())
}
