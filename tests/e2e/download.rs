//! A formation as a zip, opened by somebody else's program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use muxi_testkit::daemon::{Daemon, manifest};
use muxi_testkit::fake_llm::FakeLlm;
use muxi_testkit::hostile::Archive;
use serde_json::json;

const PATH: &str = "/rpc/formations/hello/download";

/// Unpacks with Python's zipfile, which checks sums; prints name, mode and year of each entry.
const UNPACK: &str = "
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    assert archive.testzip() is None
    archive.extractall(sys.argv[2])
    for entry in sorted(archive.infolist(), key=lambda it: it.filename):
        print(entry.filename, oct(entry.external_attr >> 16 & 0o777), entry.date_time[0])
";

async fn download(daemon: &Daemon, query: &str) -> Vec<u8> {
    let response =
        daemon.request("GET", &format!("{PATH}{query}")).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/zip");
    assert_eq!(headers["content-disposition"], "attachment; filename=\"hello.zip\"");
    assert!(!headers.contains_key("content-length"), "it is made while it is sent");
    response.bytes().await.expect("a whole body").to_vec()
}

/// The lines of [`UNPACK`]; the files lie in the folder `name` then.
fn unpack(daemon: &Daemon, name: &str, zip: &[u8]) -> Vec<String> {
    let path = daemon.scratch().join(format!("{name}.zip"));
    fs::write(&path, zip).expect("a fresh folder");
    let mut command = Command::new("python3");
    command.args(["-c", UNPACK]).arg(&path).arg(daemon.scratch().join(name));
    let output = command.output().expect("python3 is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_formation_can_be_downloaded_with_and_without_its_memory() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let answer = daemon.get(PATH).await;
    assert_eq!((answer.status, &answer.body["message"]), (404, &json!("Formation not found")));
    let text = manifest("hello", &llm.base_url());
    let bundle = Archive::default()
        .folder("hello")
        .file("hello/formation.afs", text.as_bytes())
        .file("hello/.env", b"A=1")
        .file("hello/.key", b"0000")
        .folder("hello/knowledge")
        .file("hello/knowledge/notes.md", "Grüße\n".repeat(40_000).as_bytes())
        .gzip();
    assert_eq!(daemon.deploy(bundle).await.status, 201);
    let formation = daemon.formation("hello").await;
    assert_eq!(formation.say("remember this").await.status, 200);

    let entries = unpack(&daemon, "plain", &download(&daemon, "").await);
    let names: Vec<&str> = entries.iter().filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(names, [".env", "formation.afs", "knowledge/notes.md"]);
    let year = |entry: &String| entry.rsplit(' ').next().and_then(|it| it.parse::<i64>().ok());
    assert!(entries.iter().all(|it| year(it).is_some_and(|it| it >= 2_020)), "{entries:?}");
    let unpacked = daemon.scratch().join("plain");
    assert_eq!(fs::read_to_string(unpacked.join("formation.afs")).expect("a file"), text);
    let generation = daemon.data_dir().join("formations/hello/generations/1");
    for name in names {
        let deployed = generation.join(name);
        assert_eq!(
            fs::read(unpacked.join(name)).expect("a file"),
            fs::read(&deployed).expect("one")
        );
        let mode = fs::metadata(&deployed).expect("a file").permissions().mode() & 0o777;
        assert!(
            entries.iter().any(|it| it.starts_with(&format!("{name} 0o{mode:o} "))),
            "{entries:?}"
        );
    }

    // The memory is a working database with what was said, while the formation goes on.
    for not_true in ["?db=1", "?db=TRUE", "?db="] {
        let entries = unpack(&daemon, "none", &download(&daemon, not_true).await);
        assert_eq!(entries.len(), 3, "{not_true}");
    }
    let entries = unpack(&daemon, "whole", &download(&daemon, "?db=true").await);
    assert_eq!(entries.len(), 4, "{entries:?}");
    let copy = daemon.scratch().join("whole/memory.db");
    let mut command = Command::new("python3");
    command.arg("-c").arg(
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);
print(db.execute('PRAGMA integrity_check').fetchone()[0]); print('\\n'.join(db.iterdump()))",
    );
    let output = command.arg(copy).output().expect("python3 is there");
    let dump = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(dump.starts_with("ok\n") && dump.contains("remember this"), "{dump}");
    assert_eq!(formation.say("and this").await.status, 200);
    assert!(
        !daemon.files_left().iter().any(|it| it.starts_with("tmp/") && !it.ends_with('/')),
        "no copy is left"
    );

    assert_eq!(unpack(&daemon, "first", &download(&daemon, "?generation=1").await).len(), 3);
    let answer = daemon.get(&format!("{PATH}?generation=7")).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(daemon.get(&format!("{PATH}?generation=new")).await.status, 400);
}

#[tokio::test]
async fn a_download_that_fails_in_the_middle_is_broken_off() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    // Too much for the buffers in between, and nothing that could be compressed away.
    let mut noise = vec![0u8; 24 << 20];
    let mut state = 1u64;
    for byte in &mut noise {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = state.to_be_bytes()[0];
    }
    let bundle = Archive::default()
        .folder("hello")
        .file("hello/formation.afs", manifest("hello", &llm.base_url()).as_bytes())
        .file("hello/noise.bin", &noise)
        .file("hello/zz.txt", b"the last")
        .gzip();
    assert_eq!(daemon.deploy(bundle).await.status, 201);
    let mut response = daemon.request("GET", PATH).send().await.expect("an answer");
    assert!(response.chunk().await.expect("a piece").is_some());
    let last = daemon.data_dir().join("formations/hello/generations/1/zz.txt");
    fs::remove_file(last).expect("a file of ours");
    let broken = loop {
        match response.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken, "a part must not look like the whole");
}
