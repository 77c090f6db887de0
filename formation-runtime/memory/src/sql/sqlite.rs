//! The file of a formation that runs on one machine.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ToSql, TransactionBehavior, params_from_iter};

use super::{Connection, DatabaseError, Driver, Field, Mode, Row, Transaction, Value};

pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that stay prepared; there are not many more.
const STATEMENTS_KEPT: usize = 128;

/// Opens the file, or a database of this process only.
pub(crate) fn open(path: &Path) -> rusqlite::Result<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // FULL: a turn that was told as done must survive a loss of power.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024;",
    )?;
    Ok(connection)
}

impl Connection for rusqlite::Connection {
    fn transact(
        &mut self,
        mode: Mode,
        act: &mut dyn FnMut(&mut Transaction<'_>) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let behavior = match mode {
            Mode::Read => TransactionBehavior::Deferred,
            Mode::Write => TransactionBehavior::Immediate,
        };
        let mut transaction = self.transaction_with_behavior(behavior)?;
        act(&mut Transaction::new(&mut transaction))?;
        transaction.commit()?;
        Ok(())
    }

    fn shares_commits(&self) -> bool {
        true
    }
}

impl Driver for rusqlite::Transaction<'_> {
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, DatabaseError> {
        let changed = self.prepare_cached(sql)?.execute(params_from_iter(values))?;
        Ok(changed as u64)
    }

    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, DatabaseError> {
        let mut statement = self.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query(params_from_iter(values))?;
        let mut read = Vec::new();
        while let Some(row) = rows.next()? {
            let fields = (0..columns).map(|column| row.get_ref(column).map(Field::from));
            read.push(Row(fields.collect::<rusqlite::Result<_>>()?));
        }
        Ok(read)
    }

    fn batch(&mut self, sql: &str) -> Result<(), DatabaseError> {
        Ok(self.execute_batch(sql)?)
    }

    fn now_ms(&mut self) -> Result<i64, DatabaseError> {
        let sql = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
        Ok(self.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(number),
            Self::Real(number) => ValueRef::Real(number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<ValueRef<'_>> for Field {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(text) => Self::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_owned()),
        }
    }
}
