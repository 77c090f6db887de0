//! The schema's history: numbered steps, counted in the file itself.

use rusqlite::{Connection, TransactionBehavior};

/// Marks a file as ours: "MUXI" in ASCII.
pub(crate) const APPLICATION_ID: i32 = 0x4d55_5849;

const STEPS: [&str; 1] = [include_str!("migrations/0001_transcripts.sql")];

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
        source: rusqlite::Error,
    },
    #[error("failed to read the memory's schema version")]
    Version(#[source] rusqlite::Error),
}

/// Brings the file to the newest schema, each step in a transaction of its own.
pub(crate) fn run(connection: &mut Connection) -> Result<(), MigrationError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    for (step, sql) in (1..).zip(STEPS) {
        let failed = |source| MigrationError::Step { step, source };
        // The version is read under the lock: another process may be migrating the same file.
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let found: i64 = transaction
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(MigrationError::Version)?;
        if found > known {
            return Err(MigrationError::Newer { found, known });
        }
        if found >= step {
            continue;
        }
        transaction.execute_batch(sql).map_err(failed)?;
        transaction.pragma_update(None, "user_version", step).map_err(failed)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
