//! Keys with roles, made, rotated and revoked beside a manager that runs, and what is left of them
//! on the disk.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use muxi_testkit::daemon::{Answer, Daemon, KEY, SECRET, now_s, wait_until};
use serde_json::{Value, json};

const PATH: &str = "/rpc/formations";

fn run(daemon: &Daemon, arguments: &[&str]) -> Output {
    daemon.command().args(arguments).output().expect("the program starts")
}

/// A command that must succeed, with what it printed.
#[track_caller]
fn done(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = run(daemon, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// A command that must be refused, with its words.
#[track_caller]
fn refused(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = run(daemon, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// Id and secret of a fresh key.
#[track_caller]
fn add(daemon: &Daemon, role: &str) -> (String, String) {
    pair(&done(daemon, &["keys", "add", "--role", role, "--label", "ci", "--json"]))
}

fn pair(json: &str) -> (String, String) {
    let made: Value = serde_json::from_str(json).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&made["key"]["id"]), text(&made["secret"]))
}

async fn ask(daemon: &Daemon, method: &str, path: &str, key: &(String, String)) -> Answer {
    Answer::of(daemon.signed_with(method, path, &key.0, &key.1, now_s())).await
}

async fn send(daemon: &Daemon, path: &str, body: Value) -> Answer {
    Answer::of(daemon.request("POST", path).json(&body)).await
}

fn listed(daemon: &Daemon, id: &str) -> Value {
    let keys: Value =
        serde_json::from_str(&done(daemon, &["keys", "list", "--json"])).expect("JSON");
    let found = keys.as_array().expect("a list").iter().find(|it| it["id"] == id);
    found.expect("the key is listed").clone()
}

#[tokio::test]
async fn a_key_made_rotated_or_revoked_on_the_command_line_counts_at_the_next_request() {
    let daemon = Daemon::start().await;
    let (id, first) = add(&daemon, "deploy");
    let key = |secret: &str| (id.clone(), secret.to_owned());
    assert_eq!(ask(&daemon, "GET", PATH, &key(&first)).await.status, 200);

    let rotated = done(&daemon, &["keys", "rotate", &id, "--grace", "1h", "--json"]);
    let (_, second) = pair(&rotated);
    assert_ne!(first, second);
    for secret in [&first, &second] {
        assert_eq!(ask(&daemon, "GET", PATH, &key(secret)).await.status, 200);
    }
    assert!(listed(&daemon, &id)["old_secret_valid_until"].is_string());

    let rotated = send(&daemon, &format!("/rpc/keys/{id}/rotate"), json!({})).await;
    let third = rotated.data()["secret"].as_str().expect("a secret").to_owned();
    for secret in [&first, &second] {
        let answer = ask(&daemon, "GET", PATH, &key(secret)).await;
        assert_eq!((answer.status, &answer.body["message"]), (401, &json!("Invalid signature")));
    }
    assert_eq!(ask(&daemon, "GET", PATH, &key(&third)).await.status, 200);

    assert!(done(&daemon, &["keys", "revoke", &id]).contains("revoked"));
    let answer = ask(&daemon, "GET", PATH, &key(&third)).await;
    assert_eq!((answer.status, &answer.body["message"]), (401, &json!("Invalid key")));
    assert_eq!(listed(&daemon, &id)["status"], "revoked");
    assert!(refused(&daemon, &["keys", "rotate", &id]).contains("is revoked"));
    assert!(refused(&daemon, &["keys", "revoke", "nobody"]).contains("no key `nobody`"));
}

#[tokio::test]
async fn the_same_over_the_api() {
    let daemon = Daemon::start().await;
    let new = json!({"label": "pipeline", "role": "read", "expires": "30d"});
    let made = send(&daemon, "/rpc/keys", new).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.data().clone();
    let key = pair(&made.to_string());
    assert_eq!(made["key"]["label"], "pipeline");
    assert_eq!(made["key"]["role"], "read");
    assert!(made["key"]["expires_at"].is_string());
    assert_eq!(ask(&daemon, "GET", PATH, &key).await.status, 200);

    let list = daemon.get("/rpc/keys").await.data().clone();
    assert_eq!(list["total"], 2);
    let (configured, stored) = (&list["keys"][0], &list["keys"][1]);
    assert_eq!((&configured["id"], &configured["source"]), (&json!(KEY), &json!("config")));
    assert_eq!((&stored["id"], &stored["source"]), (&json!(key.0), &json!("store")));
    assert!(configured["last_used_at"].is_string() && stored["last_used_at"].is_string(), "{list}");
    assert!(!list.to_string().contains("secret\":"), "{list}");

    let answer = daemon.delete(&format!("/rpc/keys/{}", key.0)).await;
    assert_eq!(answer.data()["status"], "revoked");
    assert_eq!(ask(&daemon, "GET", PATH, &key).await.status, 401);

    let answer = daemon.delete(&format!("/rpc/keys/{KEY}")).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body["message"].as_str().is_some_and(|it| it.contains("config.yaml")));
    assert_eq!(daemon.delete("/rpc/keys/nobody").await.status, 404);
    for wrong in [
        json!({"role": "boss"}),
        json!({"expires": "yesterday"}),
        json!({"expires": "2020-01-01T00:00:00Z"}),
        json!({"rôle": "read"}),
        json!({"label": "x".repeat(201)}),
    ] {
        let answer = send(&daemon, "/rpc/keys", wrong.clone()).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
}

#[tokio::test]
async fn each_role_may_do_its_own_and_is_told_which_one_it_needs() {
    let daemon = Daemon::start().await;
    let keys = ["read", "deploy", "admin"].map(|role| add(&daemon, role));
    let cases = [
        ("GET", "/rpc/formations", 0),
        ("GET", "/rpc/formations/hello", 0),
        ("GET", "/rpc/server/status", 0),
        ("POST", "/rpc/formations", 1),
        ("POST", "/rpc/formations/hello/start", 1),
        ("POST", "/rpc/formations/hello/stop", 1),
        ("DELETE", "/rpc/formations/hello", 1),
        ("GET", "/rpc/keys", 2),
        ("POST", "/rpc/keys/nobody/rotate", 2),
        ("DELETE", "/rpc/keys/nobody", 2),
        ("GET", "/rpc/audit", 2),
        ("GET", "/rpc/server/logs", 2),
    ];
    for (method, path, least) in cases {
        for (level, key) in keys.iter().enumerate() {
            let answer = ask(&daemon, method, path, key).await;
            let allowed = level >= least;
            assert_eq!(answer.status != 403, allowed, "{method} {path} as {level}: {answer:?}");
            assert_ne!(answer.status, 401, "{method} {path}: {answer:?}");
            if !allowed {
                let role = ["read", "deploy", "admin"][least];
                assert_eq!(answer.body["error"], "Forbidden");
                let message = answer.body["message"].as_str().expect("a message");
                assert!(message.contains(&format!("the role {role}")), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let config = json!({"auth": {"keys": [{"id": KEY, "secret": SECRET, "role": "deploy"}]}});
    let mut daemon = Daemon::builder().config(config).install();
    let admin = add(&daemon, "admin");
    daemon.start_again().await;
    assert_eq!(daemon.get("/rpc/keys").await.status, 403, "the configured role counts");
    let answer = ask(&daemon, "DELETE", &format!("/rpc/keys/{}", admin.0), &admin).await;
    assert_eq!((answer.status, &answer.body["error"]), (409, &json!("Conflict")), "{answer:?}");
    assert!(refused(&daemon, &["keys", "revoke", &admin.0]).contains("last usable"));
    assert_eq!(ask(&daemon, "GET", "/rpc/keys", &admin).await.status, 200);
    done(&daemon, &["keys", "revoke", &admin.0, "--force"]);
    assert_eq!(ask(&daemon, "GET", "/rpc/keys", &admin).await.status, 401);
}

#[tokio::test]
async fn a_key_and_an_old_secret_end_at_their_time() {
    let daemon = Daemon::start().await;
    let made = done(&daemon, &["keys", "add", "--expires", "1500ms", "--json"]);
    let key = pair(&made);
    assert_eq!(ask(&daemon, "GET", PATH, &key).await.status, 200);
    wait_until(Duration::from_secs(10), "the key has expired", async || {
        (ask(&daemon, "GET", PATH, &key).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(listed(&daemon, &key.0)["status"], "expired");

    let old = add(&daemon, "read");
    done(&daemon, &["keys", "rotate", &old.0, "--grace", "1500ms"]);
    assert_eq!(ask(&daemon, "GET", PATH, &old).await.status, 200);
    wait_until(Duration::from_secs(10), "the grace is over", async || {
        (ask(&daemon, "GET", PATH, &old).await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_manager_without_any_usable_key_says_how_to_make_one() {
    let mut daemon = Daemon::builder().config(json!({"auth": {"keys": []}})).install();
    let said = refused(&daemon, &["start"]);
    assert!(said.contains("muxi-server keys add --role admin"), "{said}");
    let admin = add(&daemon, "admin");
    daemon.start_again().await;
    assert_eq!(ask(&daemon, "GET", "/rpc/keys", &admin).await.status, 200);
}

#[tokio::test]
async fn secrets_are_sealed_on_the_disk_and_a_lost_master_key_costs_a_rotation() {
    let mut daemon = Daemon::start().await;
    let key = add(&daemon, "admin");
    let over_api = send(&daemon, "/rpc/keys", json!({"role": "read"})).await;
    let other = pair(&over_api.data().to_string());
    let master_key = daemon.config_file().with_file_name("manager.key");
    let mode = fs::metadata(&master_key).expect("the master key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    daemon.restart().await;
    assert_eq!(ask(&daemon, "GET", PATH, &key).await.status, 200);
    daemon.terminate().await;
    let mut files = 0;
    for secret in [&key.1, &other.1, &SECRET.to_owned()] {
        files += assert_nowhere(&daemon.data_dir(), secret.as_bytes());
        for log in ["manager-1.log", "manager-2.log"] {
            let text = fs::read_to_string(daemon.scratch().join(log)).expect("a log");
            assert!(!text.contains(secret.as_str()), "{log}");
        }
    }
    assert!(files > 0, "the store was looked at");

    fs::set_permissions(&master_key, fs::Permissions::from_mode(0o644)).expect("our own file");
    assert!(refused(&daemon, &["start"]).contains("chmod 600"));
    fs::remove_file(&master_key).expect("our own file");
    daemon.start_again().await;
    assert_eq!(ask(&daemon, "GET", PATH, &key).await.status, 401);
    assert_eq!(daemon.get(PATH).await.status, 200, "the configured one goes on");
    assert_eq!(listed(&daemon, &key.0)["status"], "unreadable");
    let rotated = pair(&done(&daemon, &["keys", "rotate", &key.0, "--json"]));
    assert_eq!(ask(&daemon, "GET", PATH, &rotated).await.status, 200);
}

/// Looks into every file of a folder; answers how many there were.
fn assert_nowhere(folder: &Path, needle: &[u8]) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match entry.file_type().expect("a file of ours") {
            kind if kind.is_dir() => count += assert_nowhere(&path, needle),
            kind if kind.is_file() => {
                let bytes = fs::read(&path).expect("our own file");
                let found = bytes.windows(needle.len()).any(|window| window == needle);
                assert!(!found, "in {}", path.display());
                count += 1;
            }
            _ => {}
        }
    }
    count
}

/// As `sudo muxi-server keys add` beside a service that runs as a user of its own.
#[test]
fn what_root_makes_in_another_users_folders_is_that_users() {
    const OTHER: u32 = 65_534;
    let daemon = Daemon::builder().install();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (data, config) = (daemon.data_dir(), daemon.scratch().join("config"));
    fs::create_dir(&data).expect("a fresh folder");
    for path in [&data, &config, &daemon.config_file()] {
        chown(path, Some(OTHER), Some(OTHER)).expect("root may");
    }
    let (_, secret) = add(&daemon, "admin");
    assert!(secret.starts_with("muxi_sk_"));
    for path in [data.join("manager.db"), data.join("manager.lock"), config.join("manager.key")] {
        assert_eq!(path.metadata().expect("it was made").uid(), OTHER, "{}", path.display());
    }
    // A link that this user put there leads root nowhere.
    let outside = daemon.scratch().join("of-root");
    fs::write(&outside, "precious").expect("our own folder");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).expect("our own file");
    fs::remove_file(data.join("manager.lock")).expect("it is there");
    symlink(&outside, data.join("manager.lock")).expect("a link");
    let said = refused(&daemon, &["keys", "list"]);
    assert!(said.contains("data folder"), "{said}");
    assert_eq!(fs::read_to_string(&outside).expect("our own file"), "precious");
    fs::remove_file(data.join("manager.lock")).expect("it is there");

    // So is what it restores; the archive may be root's alone.
    done(&daemon, &["backup", "--output", &daemon.scratch().join("b.tar.gz").to_string_lossy()]);
    let file = daemon.scratch().join("b.tar.gz");
    done(&daemon, &["restore", "--force", &file.to_string_lossy()]);
    assert_eq!(data.join("manager.db").metadata().expect("restored").uid(), OTHER);
}
