use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use muxi_formation::{PackError, PackOptions, UnpackLimits, pack, unpack};
use proptest::prelude::*;

fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn read(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

fn packed(folder: &Path) -> Result<Vec<u8>, PackError> {
    let mut archive = Vec::new();
    pack(folder, &"my-team".parse().unwrap(), PackOptions::default(), &mut archive)?;
    Ok(archive)
}

fn files() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    // A letter that is no ending or start of a name that is left out; long parts need extensions.
    let part = "[a-d]{1,3}é?|x{60,90}";
    let path = proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"));
    let content = proptest::collection::vec(any::<u8>(), 0..2000);
    proptest::collection::btree_map(path, content, 0..12).prop_map(|mut files| {
        let names: Vec<String> = files.keys().cloned().collect();
        // A name cannot be a file and a folder.
        files.retain(|name, _| !names.iter().any(|it| it.starts_with(&format!("{name}/"))));
        files.insert("formation.afs".to_owned(), b"id: my-team".to_vec());
        files
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_is_unpacked(files in files()) {
        let source = tempfile::tempdir().unwrap();
        write(source.path(), &files);
        let target = tempfile::tempdir().unwrap();
        let archive = packed(source.path()).unwrap();
        let unpacked = unpack(&archive[..], target.path(), &UnpackLimits::default()).unwrap();
        prop_assert_eq!(unpacked.root.file_name().unwrap(), "my-team");
        prop_assert_eq!(unpacked.files, files.len());
        prop_assert_eq!(read(&unpacked.root), files);
    }

    #[test]
    fn any_bytes_end_well(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let target = tempfile::tempdir().unwrap();
        let mut gzip = Vec::new();
        {
            use std::io::Write as _;
            let mut encoder = flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::fast());
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap();
        }
        let path = target.path().join("bundle");
        prop_assert!(unpack(&gzip[..], &path, &UnpackLimits::default()).is_err());
        prop_assert!(!path.exists());
    }
}

#[test]
fn the_same_folder_gives_the_same_bytes() {
    let files: BTreeMap<String, Vec<u8>> = ["b", "a/z", "a/b", "formation.afs"]
        .map(|name| (name.to_owned(), name.as_bytes().to_vec()))
        .into();
    let archives: Vec<Vec<u8>> = (0..2)
        .map(|_| {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &files);
            packed(folder.path()).unwrap()
        })
        .collect();
    assert_eq!(archives[0], archives[1]);
}

#[test]
fn what_the_cli_leaves_out_is_left_out() {
    let source = tempfile::tempdir().unwrap();
    let names = [
        ".git/config",
        ".muxi",
        "secrets",
        ".env",
        ".env.local",
        "node_modules/x/y",
        "a.pyc",
        "__pycache__/b",
        ".DS_Store",
        "run.log",
        "x.tmp",
        ".vscode/c",
        ".idea/d",
        "memory.db",
        "memory.db-wal",
        "formation.afs",
        "secrets.enc",
        ".key",
        "agents/a.afs",
        ".environment",
        "knowledge/secrets/kept.md",
    ];
    write(source.path(), &names.map(|name| (name.to_owned(), Vec::new())).into());
    let unpacked_names = |options| {
        let mut archive = Vec::new();
        pack(source.path(), &"my-team".parse().unwrap(), options, &mut archive).unwrap();
        let target = tempfile::tempdir().unwrap();
        let root = unpack(&archive[..], target.path(), &UnpackLimits::default()).unwrap().root;
        read(&root).into_keys().collect::<Vec<_>>()
    };
    // `secrets` is left out by its base name wherever it stands, as the command line tool does.
    let kept = [".environment", ".key", "agents/a.afs", "formation.afs", "secrets.enc"];
    assert_eq!(unpacked_names(PackOptions::default()), kept);
    let with_database = unpacked_names(PackOptions { include_database: true });
    assert!(with_database.contains(&"memory.db".to_owned()));
}

#[test]
fn links_are_not_packed() {
    let source = tempfile::tempdir().unwrap();
    symlink("/etc/passwd", source.path().join("passwd")).unwrap();
    let error = packed(source.path()).unwrap_err();
    assert!(matches!(error, PackError::Kind { entry } if entry == "my-team/passwd"));
}

#[test]
fn scripts_stay_executable() {
    let source = tempfile::tempdir().unwrap();
    write(source.path(), &["formation.afs", "run"].map(|it| (it.to_owned(), Vec::new())).into());
    fs::set_permissions(source.path().join("run"), fs::Permissions::from_mode(0o750)).unwrap();
    let target = tempfile::tempdir().unwrap();
    let archive = packed(source.path()).unwrap();
    let root = unpack(&archive[..], target.path(), &UnpackLimits::default()).unwrap().root;
    assert_eq!(fs::metadata(root.join("run")).unwrap().permissions().mode() & 0o777, 0o755);
}
