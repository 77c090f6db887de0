//! From one version of the database to the next, with a way back: the version before is kept as a copy.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{MIGRATIONS, StoreError, VERSION};

/// What a look at a database found.
#[derive(Debug, PartialEq, Eq)]
pub struct Inspection {
    pub version: i64,
    /// The version that this program works with.
    pub known: i64,
    /// What `quick_check` says is damaged.
    pub faults: Vec<String>,
}

/// A damaged database has no end of faults.
const FAULTS_MAX: usize = 10;

/// Brings the database to the newest version. One that is newer is refused as it is; of one that is
/// older, a copy is made before anything changes.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let (found, known) = versions(connection)?;
    if found == known {
        return Ok(());
    }
    if found > 0 {
        keep_copy(connection, path, found, known)?;
    }
    for (version, sql) in (1i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Reads a database, which a manager may be using, and changes nothing.
pub fn inspect(path: &Path) -> Result<Inspection, StoreError> {
    let connection = open_to_read(path)?;
    let (version, known) = versions(&connection)?;
    let mut statement = connection.prepare(&format!("PRAGMA quick_check({FAULTS_MAX})"))?;
    let rows = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let faults = rows.into_iter().filter(|row| row != "ok").collect();
    Ok(Inspection { version, known, faults })
}

/// The ports that formations hold, without a store to ask.
pub fn leased_ports(path: &Path) -> Result<Vec<u16>, StoreError> {
    let connection = open_to_read(path)?;
    versions(&connection)?;
    let mut statement = connection.prepare("SELECT port FROM ports ORDER BY port")?;
    let ports = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ports)
}

fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    Ok(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

/// The database's version and ours, which is never the smaller one.
fn versions(connection: &Connection) -> Result<(i64, i64), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Err(StoreError::Newer { found, known: VERSION });
    }
    Ok((found, VERSION))
}

/// Copies the database beside itself; copies of earlier migrations go.
fn keep_copy(
    connection: &Connection,
    path: &Path,
    found: i64,
    known: i64,
) -> Result<(), StoreError> {
    let copy = copy_path(path, known);
    let failed = |source| StoreError::Copy { path: copy.clone(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    // Under another name until it is whole, so that a copy is a copy.
    let unfinished =
        tempfile::Builder::new().prefix(".copy-").tempfile_in(folder).map_err(failed)?;
    connection.backup("main", unfinished.path(), None::<fn(rusqlite::backup::Progress)>)?;
    unfinished.as_file().sync_all().map_err(failed)?;
    unfinished.persist(&copy).map_err(|error| failed(error.error))?;
    tracing::info!(from = found, to = known, copy = %copy.display(), "migrating the database");
    for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
        let old = entry.path();
        if old != copy && is_copy_of(path, &old) {
            fs::remove_file(&old).map_err(failed)?;
        }
    }
    Ok(())
}

fn copy_path(path: &Path, version: i64) -> PathBuf {
    path.with_added_extension(format!("before-v{version}"))
}

fn is_copy_of(path: &Path, other: &Path) -> bool {
    other.file_stem() == path.file_name()
        && other.extension().is_some_and(|it| it.to_string_lossy().starts_with("before-v"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_keeps_one_copy_of_what_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manager.db");
        let mut connection = Connection::open(&path).unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let older = copy_path(&path, 1);
        fs::write(&older, "of an earlier migration").unwrap();

        migrate(&mut connection, &path).unwrap();
        let copy = copy_path(&path, VERSION);
        assert_eq!(
            inspect(&path).unwrap(),
            Inspection { version: VERSION, known: VERSION, faults: vec![] }
        );
        assert_eq!(inspect(&copy).unwrap().version, 1);
        assert!(!older.exists());

        // What is new or up to date needs no copy.
        fs::remove_file(&copy).unwrap();
        migrate(&mut connection, &path).unwrap();
        assert!(!copy.exists());
    }

    #[test]
    fn a_newer_database_is_refused_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manager.db");
        let mut connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        let refused = migrate(&mut connection, &path).unwrap_err();
        assert!(matches!(refused, StoreError::Newer { found, .. } if found == VERSION + 1));
        assert!(matches!(inspect(&path), Err(StoreError::Newer { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manager.db");
        let mut connection = Connection::open(&path).unwrap();
        migrate(&mut connection, &path).unwrap();
        drop(connection);
        let mut bytes = fs::read(&path).unwrap();
        // The second page: the schema's first table or index.
        bytes[4096..8192].fill(0x5a);
        fs::write(&path, bytes).unwrap();
        let inspected = inspect(&path);
        assert!(inspected.is_err() || !inspected.unwrap().faults.is_empty());
    }
}
