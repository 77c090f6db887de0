//! A database that formations on several machines share. Each formation has a schema of its own.

use std::collections::HashMap;
use std::error::Error;
use std::str::FromStr as _;
use std::time::Duration;

use postgres::config::SslMode;
use postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Connection, DatabaseError, Driver, Field, Mode, Row, Transaction, Value};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A statement that takes longer is a fault; nobody waits for it.
const STATEMENT_TIMEOUT_MS: u32 = 30_000;

/// Where the database is, and which part of it is this formation's.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) url: SecretString,
    pub(crate) schema: String,
}

/// A connection that is made anew when it was lost.
pub(crate) struct Postgres {
    place: Place,
    client: Client,
    statements: HashMap<String, Statement>,
}

struct Running<'a> {
    transaction: postgres::Transaction<'a>,
    statements: &'a mut HashMap<String, Statement>,
}

// === impl Postgres ===

impl Postgres {
    pub(crate) fn connect(place: Place) -> Result<Self, DatabaseError> {
        let client = client(&place)?;
        Ok(Self { place, client, statements: HashMap::new() })
    }

    fn again_if_lost(&mut self) -> Result<(), DatabaseError> {
        if self.client.is_closed() {
            self.statements.clear();
            self.client = client(&self.place)?;
        }
        Ok(())
    }
}

impl Connection for Postgres {
    fn transact(
        &mut self,
        mode: Mode,
        act: &mut dyn FnMut(&mut Transaction<'_>) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        self.again_if_lost()?;
        let builder = self.client.build_transaction();
        let mut transaction = builder.read_only(mode == Mode::Read).start()?;
        if mode == Mode::Write {
            // One writer at a time, as in a file: what was read before a write is still true then.
            let lock = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema(), 0))";
            transaction.execute(lock, &[])?;
        }
        let mut running = Running { transaction, statements: &mut self.statements };
        act(&mut Transaction::new(&mut running))?;
        running.transaction.commit()?;
        Ok(())
    }

    fn shares_commits(&self) -> bool {
        false
    }
}

impl Running<'_> {
    fn prepared(&mut self, sql: &str) -> Result<Statement, DatabaseError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.transaction.prepare(&with_dollars(sql))?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Driver for Running<'_> {
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, DatabaseError> {
        let statement = self.prepared(sql)?;
        Ok(self.transaction.execute(&statement, &parameters(values))?)
    }

    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, DatabaseError> {
        let statement = self.prepared(sql)?;
        let rows = self.transaction.query(&statement, &parameters(values))?;
        rows.iter().map(read).collect()
    }

    fn batch(&mut self, sql: &str) -> Result<(), DatabaseError> {
        Ok(self.transaction.batch_execute(sql)?)
    }

    fn now_ms(&mut self) -> Result<i64, DatabaseError> {
        let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
        Ok(self.transaction.query_one(sql, &[])?.try_get(0)?)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        wanted: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) if *wanted == Type::INT4 => {
                i32::try_from(*number)?.to_sql(wanted, out)
            }
            #[expect(clippy::cast_precision_loss, reason = "the column holds numbers")]
            Self::Integer(number) if *wanted == Type::FLOAT8 => {
                (*number as f64).to_sql(wanted, out)
            }
            Self::Integer(number) => number.to_sql_checked(wanted, out),
            Self::Real(number) => number.to_sql_checked(wanted, out),
            Self::Text(text) => text.to_sql_checked(wanted, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(wanted, out),
        }
    }

    /// Looked at value by value.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

// === private helpers ===

fn client(place: &Place) -> Result<Client, DatabaseError> {
    let mut config = Config::from_str(place.url.expose_secret())?;
    config.connect_timeout(CONNECT_TIMEOUT).application_name("muxi formation");
    let mut client = if config.get_ssl_mode() == SslMode::Disable {
        config.connect(NoTls)?
    } else {
        config.connect(MakeRustlsConnect::new(tls()))?
    };
    let schema = &place.schema;
    client.batch_execute(&format!(
        "CREATE SCHEMA IF NOT EXISTS \"{schema}\"; SET search_path TO \"{schema}\"; \
         SET statement_timeout = {STATEMENT_TIMEOUT_MS};"
    ))?;
    Ok(client)
}

fn tls() -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    // A machine without any is told so by the refusal of the first certificate.
    let (_added, _unusable) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider speaks the usual versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn parameters<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn read(row: &postgres::Row) -> Result<Row, DatabaseError> {
    let field = |(column, described): (usize, &postgres::Column)| {
        Ok(match *described.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map(Field::Integer),
            Type::INT4 => {
                row.try_get::<_, Option<i32>>(column)?.map(|it| Field::Integer(it.into()))
            }
            Type::BOOL => {
                row.try_get::<_, Option<bool>>(column)?.map(|it| Field::Integer(it.into()))
            }
            Type::FLOAT8 => row.try_get::<_, Option<f64>>(column)?.map(Field::Real),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(column)?.map(Field::Bytes),
            _ => row.try_get::<_, Option<String>>(column)?.map(Field::Text),
        }
        .unwrap_or(Field::Null))
    };
    row.columns().iter().enumerate().map(field).collect::<Result<_, DatabaseError>>().map(Row)
}

/// `?1` as PostgreSQL writes it. No statement has a question mark in a text.
fn with_dollars(sql: &str) -> String {
    sql.replace('?', "$")
}
