//! Round trips of a data folder, and archives that a restore must refuse before it changes anything.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::layout::Layout;
use crate::running;
use crate::store;
use crate::store::formations::{FIRST, NewFormation};
use crate::store::generations::NewGeneration;
use crate::supervisor::lifecycle::DesiredState;

struct Folders {
    folder: TempDir,
    layout: Layout,
}

impl Folders {
    /// A data folder with two formations.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(&folder.path().join("data"));
        layout.create().unwrap();
        let db = store::create(&layout.database()).unwrap();
        let folders = Self { folder, layout };
        for (id, port) in [("one-one", 18_001), ("two-two", 18_002)] {
            folders.deploy(&db, id, port);
        }
        folders
    }

    fn deploy(&self, db: &Connection, id: &str, port: u16) {
        let new = NewFormation {
            id: id.parse().unwrap(),
            port,
            bundle: NewGeneration {
                bundle_sha256: format!("{id}-hash"),
                version: "1.2.3".to_owned(),
                name: id.to_owned(),
            },
            source: None,
        };
        store::formations::insert(db, &new, 1).unwrap();
        fs::write(self.layout.bundle(&new.bundle.bundle_sha256), id).unwrap();
        let generation = self.layout.generation(&new.id, FIRST);
        fs::create_dir_all(generation.join("agents")).unwrap();
        fs::write(generation.join("formation.afs"), id).unwrap();
        fs::write(generation.join(".key"), "k").unwrap();
        fs::set_permissions(generation.join(".key"), fs::Permissions::from_mode(0o600)).unwrap();
        let data = self.layout.formation_data(&new.id);
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("A.txt"), "upper").unwrap();
        fs::write(data.join("a.txt"), "lower").unwrap();
    }

    fn options(&self) -> BackupOptions {
        BackupOptions {
            output: self.folder.path().join("backup.tar.gz"),
            include_logs: false,
            include_config: false,
            config_file: self.folder.path().join("config/config.yaml"),
            config_dir: self.folder.path().join("config"),
            formation: None,
            patience: Duration::from_millis(100),
        }
    }

    fn back_up(&self, options: &BackupOptions) -> Result<BackedUp, BackupError> {
        create(&self.layout, options, &mut |_| {})
    }

    fn restore_options(&self) -> RestoreOptions {
        RestoreOptions {
            archive: self.options().output,
            force: false,
            config_file: self.folder.path().join("config/config.yaml"),
        }
    }

    /// Another data folder, empty.
    fn elsewhere(&self) -> Layout {
        Layout::new(&self.folder.path().join("elsewhere"))
    }
}

/// Paths, modes and contents of everything that counts.
fn picture(root: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if ["run", "tmp", "logs", "manager.lock"].contains(&name.as_str())
                || name.starts_with(DATABASE)
            {
                continue;
            }
            let content = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
            found.push((name, path.metadata().unwrap().mode() & 0o777, content));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_comes_back_is_what_there_was() {
    let folders = Folders::new();
    let data = folders.layout.formation_data(&"one-one".parse().unwrap());
    // A database with changes that only its log has yet.
    let memory = Connection::open(data.join("memory.db")).unwrap();
    memory
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE said (text TEXT); INSERT INTO said VALUES ('hi')",
        )
        .unwrap();
    symlink("/etc/passwd", data.join("link")).unwrap();
    // What users' own files need to be opened again.
    fs::create_dir_all(data.join("artifacts/ab")).unwrap();
    for name in ["artifacts/ab/art_abc.bin", "artifacts.key", "credentials.key"] {
        fs::write(data.join(name), name).unwrap();
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let log = folders.layout.log("one-one");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("000001.log"), "said").unwrap();
    let done = folders.back_up(&folders.options()).unwrap();
    assert_eq!(done.formations.len(), 2);
    assert_eq!(done.left_out.len(), 1);
    assert!(done.left_out[0].path.ends_with("data/link"), "{:?}", done.left_out);
    assert_eq!(done.output.metadata().unwrap().mode() & 0o777, 0o600);
    let beside: Vec<_> = fs::read_dir(folders.folder.path()).unwrap().collect();
    assert_eq!(beside.len(), 2, "nothing is left beside the backup");

    let target = folders.elsewhere();
    let restored = restore(&target, &folders.restore_options()).unwrap();
    assert_eq!((restored.moved_aside, restored.config), (None, None));
    let told: Vec<_> = restored.formations.iter().map(|it| (it.port, it.starts)).collect();
    assert_eq!(told, [(18_001, true), (18_002, true)]);
    let copied = target.formation_data(&"one-one".parse().unwrap()).join("memory.db");
    let text: String = Connection::open(&copied)
        .unwrap()
        .query_row("SELECT text FROM said", [], |row| row.get(0))
        .unwrap();
    assert_eq!(text, "hi");
    fs::remove_file(&copied).unwrap();
    drop(memory);
    for name in ["memory.db", "link"] {
        fs::remove_file(data.join(name)).unwrap();
    }
    assert_eq!(picture(target.root()), picture(folders.layout.root()));
    assert!(!target.unfinished_restore().exists());
}

/// Whatever a formation has made of its folder, it costs no other formation its backup.
#[test]
fn odd_files_of_a_formation_are_copied_as_they_are_or_told() {
    let folders = Folders::new();
    let data = folders.layout.formation_data(&"one-one".parse().unwrap());
    let zeros = [&b"SQLite format 3\0"[..], &[0; 8_000]].concat();
    fs::write(data.join("zeros.db"), &zeros).unwrap();
    fs::write(data.join("zeros.db-wal"), "its own").unwrap();
    let locked = Connection::open(data.join("locked.db")).unwrap();
    locked.execute_batch("CREATE TABLE t (a); BEGIN EXCLUSIVE").unwrap();
    let piped = Connection::open(data.join("piped.db")).unwrap();
    piped.execute_batch("CREATE TABLE t (a)").unwrap();
    let fifo = |name: &str| nix::unistd::mkfifo(&data.join(name), nix::sys::stat::Mode::S_IRWXU);
    for name in ["pipe", "piped.db-journal"] {
        fifo(name).unwrap();
    }
    symlink(data.join("piped.db"), data.join("link.db")).unwrap();

    let done = folders.back_up(&folders.options()).unwrap();
    assert_eq!(done.formations.len(), 2);
    let told: Vec<_> = done.left_out.iter().map(|it| (&*it.path, &*it.reason)).collect();
    let locked_out = "the database cannot be copied: another program has it locked";
    assert_eq!(
        told,
        [
            ("formations/one-one/data/locked.db", locked_out),
            ("formations/one-one/data/link.db", "it is a symbolic link")
        ]
    );
    let target = folders.elsewhere();
    restore(&target, &folders.restore_options()).unwrap();
    let restored = target.formation_data(&"one-one".parse().unwrap());
    assert_eq!(fs::read(restored.join("zeros.db")).unwrap(), zeros);
    assert_eq!(fs::read_to_string(restored.join("zeros.db-wal")).unwrap(), "its own");
    assert_eq!(
        fs::read(restored.join("piped.db")).unwrap(),
        fs::read(data.join("piped.db")).unwrap()
    );
    assert!(!restored.join("pipe").exists() && !restored.join("locked.db").exists());
}

#[test]
fn a_configuration_below_the_data_is_neither_taken_along_nor_moved() {
    let folders = Folders::new();
    let root = folders.layout.root();
    let config = root.join("etc/server");
    fs::create_dir_all(&config).unwrap();
    for name in ["config.yaml", "manager.key", "tls.key"] {
        fs::write(config.join(name), "secret").unwrap();
    }
    // However it is named.
    let linked = folders.folder.path().join("linked");
    symlink(root, &linked).unwrap();
    let options = BackupOptions {
        config_file: linked.join("etc/server/config.yaml"),
        config_dir: linked.join("etc/server"),
        ..folders.options()
    };
    folders.back_up(&options).unwrap();
    let target = folders.elsewhere();
    restore(&target, &folders.restore_options()).unwrap();
    assert!(!target.root().join("etc").exists());

    let options = RestoreOptions {
        force: true,
        config_file: config.join("config.yaml"),
        ..folders.restore_options()
    };
    restore(&folders.layout, &options).unwrap();
    assert_eq!(fs::read_to_string(config.join("manager.key")).unwrap(), "secret");
}

#[test]
fn one_formation_comes_alone() {
    let folders = Folders::new();
    let only = |id: &str| BackupOptions { formation: id.parse().ok(), ..folders.options() };
    let unknown = folders.back_up(&only("three"));
    assert!(matches!(unknown, Err(BackupError::UnknownFormation(_))), "{unknown:?}");
    assert_eq!(folders.back_up(&only("two-two")).unwrap().formations.len(), 1);
    let target = folders.elsewhere();
    let restored = restore(&target, &folders.restore_options()).unwrap();
    assert_eq!(restored.formations.len(), 1);
    assert_eq!(restored.formations[0].port, 18_002);
    assert!(!target.formation(&"one-one".parse().unwrap()).exists());
    assert!(target.bundle("two-two-hash").exists());
}

#[test]
fn logs_and_configuration_come_when_they_are_asked_for() {
    let folders = Folders::new();
    let config = folders.folder.path().join("config/config.yaml");
    fs::create_dir(config.parent().unwrap()).unwrap();
    fs::write(&config, "server_id: s").unwrap();
    let log = folders.layout.log("one-one");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("000001.log"), "said").unwrap();
    let options = BackupOptions { include_logs: true, include_config: true, ..folders.options() };
    folders.back_up(&options).unwrap();
    let target = folders.elsewhere();
    let restored = restore(&target, &folders.restore_options()).unwrap();
    // Keys in use are not replaced.
    let beside = config.with_file_name("config.yaml.restored");
    assert_eq!(restored.config.as_deref(), Some(beside.as_path()));
    assert_eq!(fs::read_to_string(beside).unwrap(), "server_id: s");
    assert_eq!(fs::read_to_string(target.log("one-one").join("000001.log")).unwrap(), "said");
}

#[test]
fn what_is_there_is_moved_aside_and_only_when_told_to() {
    let folders = Folders::new();
    folders.back_up(&folders.options()).unwrap();
    let again = folders.back_up(&folders.options());
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    let root = folders.layout.root();
    fs::write(root.join("config.yaml"), "mine").unwrap();
    fs::write(root.join("precious"), "mine").unwrap();
    let mut options = folders.restore_options();
    let refused = restore(&folders.layout, &options);
    assert!(matches!(refused, Err(RestoreError::NotEmpty(_))), "{refused:?}");
    options.force = true;
    {
        let _manager = running::lock(&folders.layout).unwrap().unwrap();
        let refused = restore(&folders.layout, &options);
        assert!(matches!(refused, Err(RestoreError::Held(_))), "{refused:?}");
    }
    let restored = restore(&folders.layout, &options).unwrap();
    let aside = restored.moved_aside.unwrap();
    assert_eq!(fs::read_to_string(aside.join("precious")).unwrap(), "mine");
    assert!(aside.join(DATABASE).exists());
    assert_eq!(fs::read_to_string(root.join("config.yaml")).unwrap(), "mine");
    assert!(!root.join("precious").exists());
    // What was moved aside is in no later backup.
    let output = folders.folder.path().join("second.tar.gz");
    let second = folders.back_up(&BackupOptions { output, ..folders.options() }).unwrap();
    let first = fs::metadata(folders.options().output).unwrap().len();
    assert!(second.archive_bytes < first + first / 4, "{} and {first}", second.archive_bytes);
}

#[test]
fn a_backup_that_cannot_be_whole_is_refused() {
    let folders = Folders::new();
    let inside = folders.layout.root().join("backup.tar.gz");
    let refused = folders.back_up(&BackupOptions { output: inside, ..folders.options() });
    assert!(matches!(refused, Err(BackupError::Inside(_))), "{refused:?}");
    let refused = create(&folders.elsewhere(), &folders.options(), &mut |_| {});
    assert!(matches!(refused, Err(BackupError::NoData(_))), "{refused:?}");
    fs::remove_file(folders.layout.bundle("one-one-hash")).unwrap();
    let refused = folders.back_up(&folders.options());
    assert!(matches!(refused, Err(BackupError::Missing(_))), "{refused:?}");
    assert!(!folders.options().output.exists());
}

#[test]
fn a_formation_that_is_deployed_meanwhile_is_whole_or_not_there() {
    let folders = Folders::new();
    let mut deployed = false;
    let tell = &mut |_: Progress| {
        if !std::mem::replace(&mut deployed, true) {
            let db = Connection::open(folders.layout.database()).unwrap();
            folders.deploy(&db, "late-one", 18_003);
            db.execute("DELETE FROM formations WHERE id = 'two-two'", []).unwrap();
            fs::remove_dir_all(folders.layout.formation(&"two-two".parse().unwrap())).unwrap();
        }
    };
    let done = create(&folders.layout, &folders.options(), tell).unwrap();
    let ids: Vec<_> = done.formations.iter().map(FormationId::as_str).collect();
    assert_eq!(ids, ["late-one", "one-one"]);
    let target = folders.elsewhere();
    restore(&target, &folders.restore_options()).unwrap();
    let late = target.generation(&"late-one".parse().unwrap(), FIRST);
    assert_eq!(fs::read_to_string(late.join("formation.afs")).unwrap(), "late-one");
}

#[test]
fn what_is_being_removed_is_not_missed() {
    let folders = Folders::new();
    let db = Connection::open(folders.layout.database()).unwrap();
    let id = "two-two".parse().unwrap();
    let removed = store::formations::set_desired(&db, &id, DesiredState::Removed, false, 2);
    removed.unwrap();
    fs::remove_dir_all(folders.layout.formation(&id)).unwrap();
    assert_eq!(folders.back_up(&folders.options()).unwrap().formations.len(), 1);
    let restored = restore(&folders.elsewhere(), &folders.restore_options()).unwrap();
    assert_eq!(restored.formations.len(), 1);
}

#[test]
fn a_damaged_archive_changes_nothing() {
    let folders = Folders::new();
    folders.back_up(&folders.options()).unwrap();
    let whole = fs::read(folders.options().output).unwrap();
    let target = folders.elsewhere();
    let refuse = |bytes: &[u8]| {
        let archive = folders.folder.path().join("damaged.tar.gz");
        fs::write(&archive, bytes).unwrap();
        let refused = restore(&target, &RestoreOptions { archive, ..folders.restore_options() });
        let left: Vec<_> =
            fs::read_dir(target.root()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["manager.lock"], "nothing is left of it");
        refused.unwrap_err()
    };
    for at in [20, whole.len() / 3, whole.len() / 2, whole.len() - 5] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        // Some bits of a compressed stream mean nothing.
        if inflate(&bytes) == inflate(&whole) {
            continue;
        }
        let error = refuse(&bytes);
        println!("byte {at}: {error}: {:?}", std::error::Error::source(&error));
    }
    assert!(matches!(refuse(&whole[..whole.len() / 2]), RestoreError::Unpack(_)));

    // What the gzip's own checksum does not see: files that are not those of the list.
    let mut changed = inflate(&whole).unwrap();
    let content = changed.windows(5).rposition(|it| it == b"upper").unwrap();
    changed[content] = b'U';
    assert!(matches!(refuse(&deflate(&changed)), RestoreError::Damaged(_)));
    let bundle = tar_of("hello/formation.afs", b"id: hello");
    assert!(matches!(refuse(&deflate(&bundle)), RestoreError::NotABackup { .. }));
    let outside = r#"{"format":1,"version":"1","created_at":"","formations":[],"folders":[],"left_out":[],
        "files":[{"path":"../../etc/passwd","bytes":0,"mode":420,"sha256":""}]}"#;
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in [("data/x", ""), (CONTENTS, outside)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let error = refuse(&deflate(&archive.into_inner().unwrap()));
    assert!(error.to_string().contains("etc/passwd"), "{error}");
    let newer = outside.replace("\"format\":1", "\"format\":2");
    let newer = refuse(&deflate(&tar_of(CONTENTS, newer.as_bytes())));
    assert!(matches!(newer, RestoreError::Newer(_)), "{newer}");
}

fn tar_of(path: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content).unwrap();
    archive.into_inner().unwrap()
}

fn inflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut inflated = Vec::new();
    let mut gzip = flate2::read::GzDecoder::new(bytes);
    std::io::Read::read_to_end(&mut gzip, &mut inflated).ok().map(|_| inflated)
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, bytes).unwrap();
    gzip.finish().unwrap()
}
