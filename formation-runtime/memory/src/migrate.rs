//! The schema's history: numbered steps, counted in the database itself, written for each dialect.

use crate::sql::{Connection, DatabaseError, Mode};

/// Marks a file as ours: "MUXI" in ASCII.
pub(crate) const APPLICATION_ID: i32 = 0x4d55_5849;

/// Whose words a step is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// One step in both dialects.
struct Step {
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! steps {
    ($($name:literal),* $(,)?) => {
        &[$(Step {
            sqlite: include_str!(concat!("migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("migrations/postgres/", $name, ".sql")),
        }),*]
    };
}

const STEPS: &[Step] = steps![
    "0001_transcripts",
    "0002_user_id",
    "0003_requests",
    "0004_usage",
    "0005_people",
    "0006_audit",
    "0007_jobs",
    "0008_memories",
    "0009_credentials",
    "0010_files",
    "0011_delivery_owners",
    "0012_artifacts",
    "0013_request_work",
    "0014_agents",
    "0015_taints",
];

#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(
        "the memory has schema {found} and this version knows up to {known}; run the newer version again"
    )]
    Newer { found: i64, known: i64 },
    #[error("failed to bring the memory to schema {step}")]
    Step {
        step: i64,
        #[source]
        source: DatabaseError,
    },
}

/// Brings the database to the newest schema, all missing steps in one transaction: a new file waits
/// for its disk once.
pub(crate) fn run(connection: &mut dyn Connection, dialect: Dialect) -> Result<(), MigrationError> {
    run_all(connection, dialect, STEPS)
}

fn run_all(
    connection: &mut dyn Connection,
    dialect: Dialect,
    steps: &[Step],
) -> Result<(), MigrationError> {
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let (mut found, mut step) = (0, 0);
    connection
        .transact(Mode::Write, &mut |transaction| {
            // Read under the lock: another process may be migrating the same database.
            found = transaction.schema_version(dialect)?;
            if found >= known {
                return Ok(());
            }
            for (number, texts) in (1..).zip(steps).filter(|(number, _)| *number > found) {
                step = number;
                transaction.batch(match dialect {
                    Dialect::Sqlite => texts.sqlite,
                    Dialect::Postgres => texts.postgres,
                })?;
            }
            transaction.set_schema_version(dialect, known)
        })
        .map_err(|source| MigrationError::Step { step, source })?;
    if found > known { Err(MigrationError::Newer { found, known }) } else { Ok(()) }
}

impl crate::sql::Transaction<'_> {
    fn schema_version(&mut self, dialect: Dialect) -> Result<i64, DatabaseError> {
        match dialect {
            Dialect::Sqlite => {
                self.one("SELECT user_version FROM pragma_user_version", &[], |row| row.get(0))
            }
            Dialect::Postgres => {
                self.batch("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")?;
                let newest = "SELECT coalesce(max(version), 0) FROM schema_version";
                self.one(newest, &[], |row| row.get(0))
            }
        }
    }

    fn set_schema_version(&mut self, dialect: Dialect, step: i64) -> Result<(), DatabaseError> {
        self.batch(&match dialect {
            Dialect::Sqlite => {
                format!("PRAGMA user_version = {step}; PRAGMA application_id = {APPLICATION_ID}")
            }
            Dialect::Postgres => format!("INSERT INTO schema_version (version) VALUES ({step})"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::postgres::{Place, Postgres};
    use crate::sql::values;

    fn what_is_to_be_done_moves(connection: &mut dyn Connection, dialect: Dialect) {
        run_all(connection, dialect, &STEPS[..12]).unwrap();
        let accepted = [
            ("pending", Some(r#"{"text":"hi","webhook_url":"https://example.com"}"#)),
            ("pending", Some(r#"{"text":"\u0000","webhook_url":null}"#)),
            ("processing", Some(r#"{"text":"hi","webhook_url":"https://example.org"}"#)),
            ("completed", None),
        ];
        let fill = &mut |transaction: &mut crate::sql::Transaction<'_>| {
            for (status, work) in accepted {
                transaction.execute(
                    "INSERT INTO requests (id, user_id, session, kind, mode, status, work, created_ms)
                     VALUES ('r', 'a', 's', 'chat', 'async', ?1, ?2, 1)",
                    values![status, work],
                )?;
            }
            Ok(())
        };
        connection.transact(Mode::Write, fill).unwrap();
        run(connection, dialect).unwrap();
        let mut found: Vec<(Option<String>, Option<String>)> = Vec::new();
        let read = &mut |transaction: &mut crate::sql::Transaction<'_>| {
            found = transaction.all(
                "SELECT work, webhook_url FROM requests LEFT JOIN request_work ON request = seq
                 ORDER BY seq",
                &[],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            Ok(())
        };
        connection.transact(Mode::Read, read).unwrap();
        let found: Vec<_> = found.iter().map(|it| (it.0.as_deref(), it.1.as_deref())).collect();
        let [first, second, ..] = accepted.map(|(_, work)| work);
        let expected = [
            (first, Some("https://example.com")),
            (second, None),
            (None, Some("https://example.org")),
            (None, None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_to_be_done_is_found_after_the_update() {
        let mut file = rusqlite::Connection::open_in_memory().unwrap();
        what_is_to_be_done_moves(&mut file, Dialect::Sqlite);
        let server = muxi_testkit::postgres::Postgres::start();
        let place = Place { url: server.url().into(), schema: "old".to_owned() };
        what_is_to_be_done_moves(&mut Postgres::connect(place).unwrap(), Dialect::Postgres);
    }
}
