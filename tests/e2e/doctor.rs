//! `doctor`, `status`, and a store that a newer manager has used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use muxi_testkit::daemon::{Answer, Daemon};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

fn run(mut command: Command, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command.args(arguments).output().expect("the program starts");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(said).expect("text"))
}

fn examine(daemon: &Daemon) -> (Option<i32>, Value) {
    let (code, said) = run(daemon.command(), &["doctor", "--json"]);
    (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("no JSON: {said}")))
}

#[track_caller]
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name}: {report}"))
}

#[tokio::test]
async fn a_sound_installation_has_no_failure_whether_it_runs_or_not() {
    let mut daemon = Daemon::builder().install();
    let (_, report) = examine(&daemon);
    for name in ["configuration", "store", "manager", "management port", "port range", "runtime"] {
        assert_eq!(check(&report, name)["status"], "ok", "{report}");
    }
    assert!(!daemon.data_dir().exists(), "it looks and changes nothing");
    let (code, said) = run(daemon.command(), &["status"]);
    assert!(code == Some(3) && said.contains("not running"), "{said}");

    daemon.start_again().await;
    let llm = FakeLlm::start().await;
    daemon.deploy_formation("hello", &llm.base_url()).await;
    let (_, report) = examine(&daemon);
    for name in ["data folder", "store", "manager", "answers", "port range", "runtime"] {
        assert_eq!(check(&report, name)["status"], "ok", "{report}");
    }
    let found = check(&report, "manager")["found"].as_str().expect("text");
    assert!(found.contains(&daemon.pid().to_string()) && found.contains(daemon.url()), "{found}");
    let range = check(&report, "port range")["found"].as_str().expect("text");
    assert!(range.contains("1 leased"), "{range}");

    let (code, said) = run(daemon.command(), &["status"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ready") && said.contains("1 running, 0 stopped"), "{said}");
    let (code, said) = run(daemon.command(), &["status", "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &said["manager"]["url"]), (Some(0), &json!(daemon.url())));
    assert_eq!(Answer::of(daemon.unsigned("GET", "/health")).await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_mend() {
    let daemon = Daemon::start().await;
    // Another program has the port of a second installation; its folders and its file are open to all.
    let port: u16 = daemon.url().rsplit(':').next().and_then(|it| it.parse().ok()).expect("a port");
    let other = Daemon::builder()
        .config(json!({
            "server": {"port": port},
            "runtime": {"program": "/bin/true"},
            "limits": {"disk_free_min_bytes": 1u64 << 39},
        }))
        .install();
    fs::set_permissions(other.config_file(), fs::Permissions::from_mode(0o644)).expect("our file");
    fs::create_dir(other.data_dir()).expect("our folder");
    fs::set_permissions(other.data_dir(), fs::Permissions::from_mode(0o755)).expect("our folder");
    fs::write(other.data_dir().join("manager.db"), vec![7; 8_192]).expect("our folder");
    let (code, report) = examine(&other);
    assert_eq!((code, &report["status"]), (Some(1), &json!("fail")));
    for (name, status, mend) in [
        ("configuration", "warn", "config.yaml"),
        ("data folder", "warn", "chmod 700"),
        ("disk", "fail", "free space"),
        ("store", "fail", "manager.db"),
        ("management port", "fail", "server.port"),
        ("runtime", "fail", "install it anew"),
    ] {
        let check = check(&report, name);
        assert_eq!(check["status"], status, "{check}");
        assert!(check["mend"].as_str().is_some_and(|it| it.contains(mend)), "{check}");
    }

    fs::write(
        other.config_file(),
        "formations: {max_restarts: 1, unhealthy_threshold: 0}\nlimits: {entries: 0}",
    )
    .expect("our file");
    let (code, said) = run(other.command(), &["doctor"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("unhealthy_threshold") && said.contains("limits.entries"), "{said}");
    assert!(!said.contains('\x1b'), "no colour without a terminal: {said}");

    // The same faults, alone.
    let (code, said) = run(other.command(), &["config", "check"]);
    assert!(code == Some(1) && said.contains("limits.entries must be"), "{said}");
    let file = daemon.config_file();
    let (code, said) = run(other.command(), &["config", "check", file.to_str().expect("UTF-8")]);
    assert!(code == Some(0) && said.contains("is fine"), "{said}");
}

/// What `sqlite3` would do to the store's version.
fn set_version(daemon: &Daemon, change: impl FnOnce(i64) -> i64) -> (i64, i64) {
    let db = rusqlite::Connection::open(daemon.data_dir().join("manager.db")).expect("the store");
    let found = db.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a version");
    let set = change(found);
    db.pragma_update(None, "user_version", set).expect("our own file");
    (found, set)
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_untouched() {
    let mut daemon = Daemon::start().await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    let (known, newer) = set_version(&daemon, |version| version + 1);
    let before = fs::read(daemon.data_dir().join("manager.db")).expect("the store");
    let (code, said) = run(daemon.command(), &["start"]);
    assert_eq!(code, Some(1), "{said}");
    let versions = format!("is of version {newer}, and this program knows none above {known}");
    assert!(said.contains(&versions) && said.contains("Install that one again"), "{said}");
    let after = fs::read(daemon.data_dir().join("manager.db")).expect("the store");
    assert!(before == after, "a refused store was changed");
    let (code, report) = examine(&daemon);
    assert_eq!((code, &check(&report, "store")["status"]), (Some(1), &json!("fail")));

    set_version(&daemon, |_| known);
    daemon.start_again().await;
    assert_eq!(daemon.get("/rpc/formations").await.status, 200);
}
