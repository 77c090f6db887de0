use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use zip::ZipArchive;

use super::*;

const MANIFEST: &str = "schema: '1.0.0'
id: hello
name: Hello
description: Says hello
llm: {models: [{text: fake/model-1}], base_urls: {fake: 'http://127.0.0.1:1'}}
agents: [{schema: '1.0.0', id: helper, description: Helps, system_message: Be brief.}]
";

/// A formation with these files in its first generation.
fn formation(files: &[(&str, &str)]) -> (TempDir, Layout, FormationId) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    layout.create().unwrap();
    let id: FormationId = "hello".parse().unwrap();
    fs::create_dir_all(layout.formation_data(&id)).unwrap();
    for (name, text) in files {
        let path = layout.generation(&id, 1).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (folder, layout, id)
}

fn database(path: &Path, word: &str) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch("CREATE TABLE words (word TEXT)").unwrap();
    connection.execute("INSERT INTO words VALUES (?1)", [word]).unwrap();
    connection
}

fn content(archive: Archive) -> BTreeMap<String, Vec<u8>> {
    let bytes: Vec<u8> = archive.flat_map(|piece| piece.unwrap()).collect();
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..zip.len())
        .map(|at| {
            let mut file = zip.by_index(at).unwrap();
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            (file.name().unwrap().into_owned(), content)
        })
        .collect()
}

fn names(archive: Archive) -> Vec<String> {
    content(archive).into_keys().collect()
}

#[test]
fn it_holds_what_was_deployed_and_nothing_hidden() {
    let (_folder, layout, id) = formation(&[
        ("formation.afs", MANIFEST),
        (".env", "A=1"),
        (".key", "secret"),
        (".git/config", "x"),
        ("secrets.enc", "x"),
        ("memory.db", "x"),
        ("memory.db-wal", "x"),
        ("knowledge/memory.db", "x"),
        ("knowledge/ä.md", "text"),
        ("MUXI.md", "deployed"),
    ]);
    fs::write(layout.formation_data(&id).join("MUXI.md"), "live").unwrap();
    let content = content(prepare(&layout, &id, 1, false).unwrap());
    let names: Vec<&str> = content.keys().map(String::as_str).collect();
    assert_eq!(names, [".env", "MUXI.md", "formation.afs", "knowledge/ä.md", "secrets.enc"]);
    assert_eq!(content["MUXI.md"], b"live");
    assert!(matches!(prepare(&layout, &id, 2, false), Err(DownloadError::NoGeneration(2))));
}

#[test]
fn the_live_database_is_copied_whole_while_it_is_written_to() {
    let manifest = format!(
        "{MANIFEST}memory: {{persistent: {{connection_string: 'sqlite:///state/chat.db'}}}}\n"
    );
    for (manifest, name) in [(MANIFEST, "memory.db"), (manifest.as_str(), "state/chat.db")] {
        let (_folder, layout, id) = formation(&[("formation.afs", manifest), (name, "deployed")]);
        assert_eq!(names(prepare(&layout, &id, 1, false).unwrap()), ["formation.afs"]);
        let live = layout.formation_data(&id).join(name);
        fs::create_dir_all(live.parent().unwrap()).unwrap();
        // What was committed lies in the journal beside the file.
        let mut writer = database(&live, "committed");
        let transaction = writer.transaction().unwrap();
        transaction.execute("INSERT INTO words VALUES ('not yet')", []).unwrap();
        let archive = prepare(&layout, &id, 1, true).unwrap();
        let copy = content(archive).remove(name).unwrap();
        transaction.commit().unwrap();
        let opened = layout.root().join("opened.db");
        fs::write(&opened, copy).unwrap();
        let words: Vec<String> = Connection::open(&opened)
            .unwrap()
            .prepare("SELECT word FROM words")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(words, ["committed"]);
        assert_eq!(fs::read_dir(layout.uploads()).unwrap().count(), 0, "the copy is gone");
    }
}

#[test]
fn a_bundled_database_is_there_when_there_is_no_live_one() {
    let (_folder, layout, id) = formation(&[("formation.afs", MANIFEST), ("memory.db", "bundled")]);
    let content = content(prepare(&layout, &id, 1, true).unwrap());
    assert_eq!(content["memory.db"], b"bundled");
}

#[test]
fn links_of_a_runtime_lead_nowhere() {
    let (folder, layout, id) = formation(&[("formation.afs", MANIFEST)]);
    drop(database(&folder.path().join("manager.db"), "secret"));
    let data = layout.formation_data(&id);
    symlink("../../../manager.db", data.join("memory.db")).unwrap();
    symlink("../../../manager.db", data.join("MUXI.md")).unwrap();
    assert_eq!(names(prepare(&layout, &id, 1, true).unwrap()), ["formation.afs"]);

    // Nor does a folder that leads elsewhere.
    let manifest = format!(
        "{MANIFEST}memory: {{persistent: {{connection_string: 'sqlite:///up/manager.db'}}}}\n"
    );
    fs::write(layout.generation(&id, 1).join("formation.afs"), manifest).unwrap();
    symlink("../../..", data.join("up")).unwrap();
    let refused = prepare(&layout, &id, 1, true).unwrap_err();
    assert!(matches!(refused, DownloadError::Database(_)), "{refused}");
}

#[test]
fn what_disappears_meanwhile_breaks_the_archive() {
    let large = "x".repeat(1 << 20);
    let (_folder, layout, id) = formation(&[("a.txt", &large), ("formation.afs", MANIFEST)]);
    let mut archive = prepare(&layout, &id, 1, false).unwrap();
    fs::remove_file(layout.generation(&id, 1).join("formation.afs")).unwrap();
    let pieces: Vec<_> = archive.by_ref().collect();
    assert!(pieces.last().unwrap().is_err());
    assert!(archive.next().is_none());
}
