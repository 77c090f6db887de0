//! Two databases behind one trait: each statement is written once, in words that both know.
//!
//! Placeholders are `?1`, `?2` …; whole numbers have 64 bits, times are milliseconds, and truth is
//! 0 or 1. `sum` is cast to `BIGINT`, and a parameter that is only compared with NULL is cast to its
//! type, since one of the two databases would not guess either.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::str::FromStr;
use std::sync::Arc;

/// One transaction: all of its statements take effect, or none.
pub(crate) struct Transaction<'a> {
    driver: &'a mut dyn Driver,
}

/// What each database does in its own way.
pub(crate) trait Driver {
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, DatabaseError>;
    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, DatabaseError>;
    /// Runs statements that are separated by semicolons.
    fn batch(&mut self, sql: &str) -> Result<(), DatabaseError>;
    /// The database's own clock, which all of its users share.
    fn now_ms(&mut self) -> Result<i64, DatabaseError>;
}

/// A connection of one thread.
pub(crate) trait Connection: Send {
    /// Runs `act` within a transaction that is committed if it succeeds.
    fn transact(
        &mut self,
        mode: Mode,
        act: &mut dyn FnMut(&mut Transaction<'_>) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError>;

    /// Whether several calls should be one transaction: where each commit waits for the disk, and everybody waits
    /// for one connection.
    fn shares_commits(&self) -> bool;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    /// Writers of one formation go one after another.
    Write,
}

/// A parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// Parameters of a statement, of whatever types have a [`Value`].
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Value::from($value)),*] };
}
pub(crate) use values;

/// One row of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row(Vec<Field>);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A type that a column can be read as.
pub(crate) trait FromField: Sized {
    fn from_field(field: &Field) -> Option<Self>;
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("SQLite refused")]
    Sqlite(#[from] rusqlite::Error),
    #[error("PostgreSQL refused")]
    Postgres(#[from] ::postgres::Error),
    #[error("column {column} does not hold what it should: {found}")]
    Shape { column: usize, found: String },
    #[error("a statement that answers one row answered none")]
    NoRow,
    #[error("the transaction that this call shared with others was not kept")]
    Together(#[source] Arc<DatabaseError>),
}

// === impl Transaction ===

impl<'a> Transaction<'a> {
    pub(crate) fn new(driver: &'a mut dyn Driver) -> Self {
        Self { driver }
    }

    /// Changes rows and says how many.
    pub(crate) fn execute(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<u64, DatabaseError> {
        self.driver.execute(sql, values)
    }

    /// The database's own clock, which all of its users share.
    pub(crate) fn now_ms(&mut self) -> Result<i64, DatabaseError> {
        self.driver.now_ms()
    }

    /// Runs statements that are separated by semicolons.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.driver.batch(sql)
    }

    pub(crate) fn all<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(&Row) -> Result<T, DatabaseError>,
    ) -> Result<Vec<T>, DatabaseError> {
        self.driver.query(sql, values)?.iter().map(read).collect()
    }

    /// The first row, if there is one.
    pub(crate) fn first<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(&Row) -> Result<T, DatabaseError>,
    ) -> Result<Option<T>, DatabaseError> {
        self.driver.query(sql, values)?.first().map(read).transpose()
    }

    /// The row of a statement that always has one.
    pub(crate) fn one<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(&Row) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        self.first(sql, values, read)?.ok_or(DatabaseError::NoRow)
    }
}

// === impl Row ===

impl Row {
    pub(crate) fn get<T: FromField>(&self, column: usize) -> Result<T, DatabaseError> {
        T::from_field(self.field(column)).ok_or_else(|| self.unexpected(column))
    }

    /// A text that is written in its own form, such as an id.
    pub(crate) fn parsed<T: FromStr>(&self, column: usize) -> Result<T, DatabaseError> {
        let Field::Text(text) = self.field(column) else { return Err(self.unexpected(column)) };
        text.parse().map_err(|_| self.unexpected(column))
    }

    fn field(&self, column: usize) -> &Field {
        self.0.get(column).unwrap_or(&Field::Null)
    }

    /// Names the kind only: what people wrote stays out of logs.
    fn unexpected(&self, column: usize) -> DatabaseError {
        let found = match self.field(column) {
            Field::Null => "nothing",
            Field::Integer(_) => "a whole number",
            Field::Real(_) => "a number",
            Field::Text(_) => "a text",
            Field::Bytes(_) => "bytes",
        };
        DatabaseError::Shape { column, found: found.to_owned() }
    }
}

// === impl DatabaseError ===

impl DatabaseError {
    /// Whether a row with the same key is there already.
    pub fn is_duplicate(&self) -> bool {
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) => {
                failure.code == rusqlite::ErrorCode::ConstraintViolation
            }
            Self::Postgres(error) => {
                error.code() == Some(&::postgres::error::SqlState::UNIQUE_VIOLATION)
            }
            Self::Sqlite(_) | Self::Shape { .. } | Self::NoRow | Self::Together(_) => false,
        }
    }
}

// === conversions ===

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u64> for Value<'_> {
    /// Counts stay below 2⁶³; what is more is as much as the database can say.
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl FromField for i64 {
    fn from_field(field: &Field) -> Option<Self> {
        if let Field::Integer(number) = field { Some(*number) } else { None }
    }
}

impl FromField for u64 {
    fn from_field(field: &Field) -> Option<Self> {
        i64::from_field(field)?.try_into().ok()
    }
}

impl FromField for u32 {
    fn from_field(field: &Field) -> Option<Self> {
        i64::from_field(field)?.try_into().ok()
    }
}

impl FromField for bool {
    fn from_field(field: &Field) -> Option<Self> {
        i64::from_field(field).map(|number| number != 0)
    }
}

impl FromField for f64 {
    #[expect(clippy::cast_precision_loss, reason = "a column of numbers may hold whole ones")]
    fn from_field(field: &Field) -> Option<Self> {
        match field {
            Field::Real(number) => Some(*number),
            Field::Integer(number) => Some(*number as Self),
            Field::Null | Field::Text(_) | Field::Bytes(_) => None,
        }
    }
}

impl FromField for String {
    fn from_field(field: &Field) -> Option<Self> {
        if let Field::Text(text) = field { Some(text.clone()) } else { None }
    }
}

impl FromField for Vec<u8> {
    fn from_field(field: &Field) -> Option<Self> {
        if let Field::Bytes(bytes) = field { Some(bytes.clone()) } else { None }
    }
}

impl<T: FromField> FromField for Option<T> {
    fn from_field(field: &Field) -> Option<Self> {
        if *field == Field::Null { Some(None) } else { T::from_field(field).map(Some) }
    }
}
