//! Databases within a backup: found by their first bytes, copied whole while others write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use muxi_contract::FormationId;
use rusqlite::backup::{Backup, StepResult::Done};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::BackupError;
use crate::store;

/// What a database of the manager speaks of, and what must therefore be in a backup with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) generations: BTreeMap<FormationId, BTreeSet<u64>>,
    pub(super) bundles: BTreeSet<String>,
}

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// What `SQLite` puts beside a database; it means nothing without its database's moment.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Between two tries to copy a database that is busy.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether a file begins like a database.
pub(super) fn is_one(file: &File) -> std::io::Result<bool> {
    let mut start = [0; MAGIC.len()];
    match file.read_exact_at(&mut start, 0) {
        Ok(()) => Ok(&start == MAGIC),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The name of the database that a file of this name would belong to.
pub(super) fn owner(name: &str) -> Option<&str> {
    COMPANIONS.iter().find_map(|end| name.strip_suffix(end))
}

/// The names of what may lie beside a database.
pub(super) fn companions(name: &str) -> [String; 3] {
    COMPANIONS.map(|end| format!("{name}{end}"))
}

/// Copies a database as it is at one moment, if it is not busy all the time. Writers go on meanwhile.
/// No part of the path may be a link.
pub(super) fn copy(from: &Path, to: &Path, patience: Duration) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let source = Connection::open_with_flags(from, flags)?;
    // It is waited for here, once.
    source.busy_timeout(Duration::ZERO)?;
    let mut target = Connection::open(to)?;
    let begun = Instant::now();
    loop {
        // Begun anew, for some ways of being busy end a copy. All pages in one step are those of one
        // moment, and hold nobody up.
        let step = Backup::new(&source, &mut target)?.step(-1);
        match step {
            Ok(Done) => return Ok(()),
            Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                return Err(error);
            }
            _ if begun.elapsed() < patience => std::thread::sleep(PAUSE),
            _ => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                let said = "another program has it locked".to_owned();
                return Err(rusqlite::Error::SqliteFailure(busy, Some(said)));
            }
        }
    }
}

/// What a copy of the manager's database speaks of.
pub(super) fn named(database: &Path) -> Result<Named, BackupError> {
    let failed = |source| BackupError::Database { path: database.to_owned(), source };
    let read = || -> rusqlite::Result<Named> {
        let db = Connection::open(database)?;
        // Of what is being removed the files go first.
        let mut statement = db.prepare(
            "SELECT g.formation, g.generation, g.bundle_sha256 FROM generations g
                 JOIN formations f ON f.id = g.formation WHERE f.desired_state <> 'removed'",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?, row.get::<_, String>(2)?))
        })?;
        let mut named = Named::default();
        for row in rows {
            let (formation, generation, bundle) = row?;
            if let Ok(id) = formation.parse::<FormationId>() {
                named.generations.entry(id).or_default().insert(generation);
                named.bundles.insert(bundle);
            }
        }
        Ok(named)
    };
    read().map_err(failed)
}

/// Makes a new database with one formation of another: no keys, no events, nothing of others.
pub(super) fn single_out(from: &Path, id: &FormationId, to: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::Database { path: to.to_owned(), source };
    let found = version(from).map_err(failed)?;
    if found != store::VERSION {
        return Err(BackupError::OtherVersion { found, known: store::VERSION });
    }
    let db = store::create(to)?;
    let copy = || -> rusqlite::Result<()> {
        db.execute("ATTACH ?1 AS whole", [from.to_string_lossy()])?;
        for (table, column) in
            [("formations", "id"), ("generations", "formation"), ("ports", "formation")]
        {
            let rows = format!("SELECT * FROM whole.{table} WHERE {column} = ?1");
            db.execute(&format!("INSERT INTO main.{table} {rows}"), [id.as_str()])?;
        }
        db.execute_batch("DETACH whole")
    };
    copy().map_err(failed)
}

/// Makes a copy fit for another life: processes of the old one are gone. Answers its version.
pub(super) fn forget_processes(database: &Path) -> rusqlite::Result<()> {
    let db = Connection::open(database)?;
    let fault: String = db.query_row("PRAGMA quick_check", [], |row| row.get(0))?;
    if fault != "ok" {
        let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(corrupt, Some(fault)));
    }
    // A draft ran from a folder that may be another one here, or none.
    db.execute_batch(
        "PRAGMA foreign_keys = ON; DELETE FROM formations WHERE id LIKE '%@draft';
         DELETE FROM instances;",
    )?;
    db.execute_batch("PRAGMA journal_mode = DELETE")
}

/// The number of migrations that a database has seen.
pub(super) fn version(database: &Path) -> rusqlite::Result<i64> {
    Connection::open(database)?.query_row("PRAGMA user_version", [], |row| row.get(0))
}
