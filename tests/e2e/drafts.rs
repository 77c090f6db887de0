//! Drafts: edited over the API, never deployed half, gone when deployed, kept when not.

use std::os::unix::fs::PermissionsExt as _;

use muxi_testkit::daemon::{Answer, Daemon, Frames, manifest};
use muxi_testkit::fake_llm::FakeLlm;
use muxi_testkit::hostile::Archive;
use serde_json::{Value, json};

fn request(daemon: &Daemon, id: &str, body: &Value) -> reqwest::RequestBuilder {
    daemon.request("POST", &format!("/rpc/formations/{id}/draft/files")).json(body)
}

async fn act(daemon: &Daemon, id: &str, body: Value) -> Answer {
    Answer::of(request(daemon, id, &body)).await
}

async fn write(daemon: &Daemon, id: &str, path: &str, content: &str) {
    let body = json!({"action": "write", "path": path, "content": content});
    let answer = act(daemon, id, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The names in a folder of the draft.
async fn names(daemon: &Daemon, id: &str, path: &str) -> Vec<String> {
    let answer = act(daemon, id, json!({"action": "list", "path": path})).await;
    let entries = answer.data()["entries"].as_array().expect("a list").clone();
    entries.iter().map(|it| it["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn files_are_listed_read_written_and_deleted() {
    let daemon = Daemon::start().await;
    let made = act(&daemon, "hello", json!({"action": "init", "mode": "new"})).await;
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(made.body["data"], json!({"action": "init", "mode": "new"}));
    assert_eq!((&made.body["draft"]["exists"], &made.body["live"]), (&json!(true), &json!({})));
    assert_eq!(names(&daemon, "hello", "").await, ["agents/", "formation.afs"]);

    write(&daemon, "hello", "./knowledge//a/b.md", "grün").await;
    let read = act(&daemon, "hello", json!({"action": "read", "path": "knowledge/a/b.md"})).await;
    let content = json!({"path": "knowledge/a/b.md", "content": "grün", "encoding": "utf-8"});
    assert_eq!(read.body["data"], content);
    let bytes =
        json!({"action": "write", "path": "b.bin", "content": "/w==", "encoding": "base64"});
    assert_eq!(act(&daemon, "hello", bytes).await.data()["size"], 1);
    let read = act(&daemon, "hello", json!({"action": "read", "path": "b.bin"})).await;
    assert_eq!(read.body["data"]["encoding"], "base64");
    let deleted = act(&daemon, "hello", json!({"action": "delete", "path": "knowledge"})).await;
    assert_eq!(deleted.body["data"], json!({"path": "knowledge", "deleted": true}));
    assert_eq!(names(&daemon, "hello", ".").await, ["agents/", "b.bin", "formation.afs"]);

    let gone = act(&daemon, "hello", json!({"action": "discard"})).await;
    assert_eq!(
        (&gone.body["data"], &gone.body["draft"]["exists"]),
        (&json!({"discarded": true}), &json!(false))
    );
    assert!(
        daemon.files_left().iter().all(|it| it.ends_with('/') || it.starts_with("run/")),
        "{:?}",
        daemon.files_left()
    );
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_code_and_touches_nothing() {
    let daemon = Daemon::start().await;
    let none = act(&daemon, "hello", json!({"action": "list"})).await;
    assert_eq!((none.status, &none.body["error"]), (404, &json!("DraftNotFound")), "{none:?}");
    act(&daemon, "hello", json!({"action": "init", "mode": "new"})).await;
    let before = daemon.files_left();
    let write = |path: &str| json!({"action": "write", "path": path, "content": "x"});
    let large = "x".repeat((8 << 20) + 1);
    let deep = "a/".repeat(17) + "b";
    for (id, body, status, error) in [
        ("No", json!({"action": "list"}), 400, "InvalidFormationID"),
        ("hello@draft", json!({"action": "list"}), 400, "InvalidFormationID"),
        ("hello", json!(7), 400, "InvalidJSON"),
        ("hello", json!({"action": "format"}), 400, "InvalidAction"),
        ("hello", json!({"action": "init", "mode": "old"}), 400, "InvalidMode"),
        ("hello", json!({"action": "init", "mode": "new"}), 409, "DraftAlreadyExists"),
        ("other", json!({"action": "init", "mode": "clone"}), 404, "LiveNotFound"),
        ("hello", write("../x"), 400, "InvalidPath"),
        ("hello", write("a/../../x"), 400, "InvalidPath"),
        ("hello", write("/etc/x"), 400, "InvalidPath"),
        ("hello", write("."), 400, "InvalidPath"),
        ("hello", write("agents"), 400, "InvalidPath"),
        ("hello", write("formation.afs/x"), 400, "InvalidPath"),
        ("hello", write(".draft-meta.json"), 400, "InvalidPath"),
        ("hello", write(&deep), 400, "InvalidPath"),
        ("hello", json!({"action": "write", "path": "x", "content": large}), 413, "TooLarge"),
        (
            "hello",
            json!({"action": "write", "path": "x", "content": "?", "encoding": "base64"}),
            400,
            "DecodeError",
        ),
        ("hello", json!({"action": "read", "path": "nothing"}), 404, "FileNotFound"),
        ("hello", json!({"action": "read", "path": "agents"}), 400, "InvalidPath"),
        ("hello", json!({"action": "delete", "path": ""}), 400, "InvalidPath"),
        ("hello", json!({"action": "delete", "path": "nothing"}), 404, "FileNotFound"),
    ] {
        let shown = body.to_string().chars().take(80).collect::<String>();
        let answer = act(&daemon, id, body).await;
        assert_eq!((answer.status, &answer.body["error"]), (status, &json!(error)), "{shown}");
        assert_eq!(answer.body["success"], false);
        assert!(answer.body["draft"].is_object() && answer.body["live"].is_object());
    }
    assert_eq!(daemon.files_left(), before);

    // A link that somebody put there is not followed.
    let files = daemon.data_dir().join("drafts/hello/files");
    std::os::unix::fs::symlink("/etc", files.join("etc")).expect("a link");
    std::os::unix::fs::symlink("formation.afs", files.join("link")).expect("a link");
    for (path, status) in [("etc/hostname", 400), ("link", 400)] {
        let answer = act(&daemon, "hello", json!({"action": "read", "path": path})).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn a_draft_is_deployed_again_and_again_and_goes_each_time() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    act(&daemon, "hello", json!({"action": "init", "mode": "new"})).await;
    write(&daemon, "hello", "formation.afs", &manifest("hello", &llm.base_url())).await;
    let deployed = act(&daemon, "hello", json!({"action": "deploy"})).await;
    assert_eq!(deployed.status, 201, "{deployed:?}");
    assert_eq!(deployed.data()["formation_id"], "hello");
    let mut hashes = vec![daemon.view("hello").await["version"]["current"].clone()];

    for version in ["2.2.0", "2.3.0"] {
        let clone = act(&daemon, "hello", json!({"action": "init", "mode": "clone"})).await;
        assert_eq!(clone.status, 200, "the draft was gone: {clone:?}");
        let live = daemon.view("hello").await["version"]["semantic"].clone();
        assert_eq!(clone.body["draft"]["base_version"], live);
        assert_eq!(clone.body["live"], json!({"version": live, "status": "running"}));
        let text = manifest("hello", &llm.base_url()).replace("2.1.0", version);
        write(&daemon, "hello", "formation.afs", &text).await;
        let deploy = request(&daemon, "hello", &json!({"action": "deploy"}));
        let frames = Frames::of(deploy.header("accept", "text/event-stream")).await.rest().await;
        assert_eq!(frames[0].data["stage"], "validating");
        assert_eq!(frames.last().expect("a frame").event, "complete", "{frames:?}");
        let gone = act(&daemon, "hello", json!({"action": "list"})).await;
        assert_eq!(gone.body["error"], "DraftNotFound");
        let view = daemon.view("hello").await;
        assert_eq!(view["version"]["semantic"], version);
        hashes.push(view["version"]["current"].clone());
        let generation = view["version"]["generation"].to_string();
        let folder = daemon.data_dir().join("formations/hello/generations").join(generation);
        assert!(!folder.join(".draft-meta.json").exists());
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 3, "each bundle has a hash of its own: {hashes:?}");
    assert_eq!(daemon.formation("hello").await.say("hi").await.status, 200);
}

#[tokio::test]
async fn a_deploy_that_fails_leaves_the_draft_as_it_was() {
    let llm = FakeLlm::start().await;
    let daemon = Daemon::builder().switched().start().await;
    act(&daemon, "hello", json!({"action": "init", "mode": "new"})).await;
    write(&daemon, "hello", "formation.afs", "id: hello\nbogus: 1\n").await;
    let faulty = act(&daemon, "hello", json!({"action": "deploy"})).await;
    assert_eq!((faulty.status, &faulty.body["error"]), (400, &json!("ParseError")));
    assert!(faulty.body["details"].as_array().is_some_and(|it| it.len() > 1), "{faulty:?}");

    write(&daemon, "hello", "formation.afs", &manifest("other", &llm.base_url())).await;
    let other = act(&daemon, "hello", json!({"action": "deploy"})).await;
    assert_eq!((other.status, &other.body["error"]), (400, &json!("ParseError")), "{other:?}");

    write(&daemon, "hello", "formation.afs", &manifest("hello", &llm.base_url())).await;
    let before = daemon.files_left();
    daemon.runtime().break_down("no luck");
    let failed = act(&daemon, "hello", json!({"action": "deploy"})).await;
    assert_eq!((failed.status, &failed.body["error"]), (400, &json!("HealthCheckFailed")));
    assert_eq!(daemon.files_left(), before, "the draft, and nothing else");
    daemon.runtime().mend();
    let deployed = act(&daemon, "hello", json!({"action": "deploy"})).await;
    assert_eq!(deployed.status, 201, "{deployed:?}");

    // The same as what serves: refused, and kept.
    act(&daemon, "hello", json!({"action": "init", "mode": "clone"})).await;
    let same = act(&daemon, "hello", json!({"action": "deploy"})).await;
    assert_eq!((same.status, &same.body["error"]), (409, &json!("NoChange")), "{same:?}");
    assert!(!names(&daemon, "hello", "").await.is_empty());
    // Nor does a delete of the formation take it along.
    assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
    assert!(!names(&daemon, "hello", "").await.is_empty());
}

#[tokio::test]
async fn a_draft_that_is_being_deployed_cannot_be_changed() {
    let llm = FakeLlm::start().await;
    let daemon = Daemon::builder().switched().start().await;
    act(&daemon, "hello", json!({"action": "init", "mode": "new"})).await;
    write(&daemon, "hello", "formation.afs", &manifest("hello", &llm.base_url())).await;
    daemon.runtime().hold();
    let deploy = request(&daemon, "hello", &json!({"action": "deploy"}));
    let mut frames = Frames::of(deploy.header("accept", "text/event-stream")).await;
    daemon.runtime().reached().await;
    for body in [
        json!({"action": "write", "path": "x", "content": "x"}),
        json!({"action": "delete", "path": "formation.afs"}),
        json!({"action": "discard"}),
        json!({"action": "deploy"}),
    ] {
        let answer = act(&daemon, "hello", body).await;
        assert_eq!((answer.status, &answer.body["error"]), (409, &json!("DeployConflict")));
    }
    daemon.runtime().release();
    frames.until(|frame| frame.event == "complete").await;
    assert!(daemon.get("/rpc/formations/hello").await.status == 200);
}

#[tokio::test]
async fn a_clone_has_the_secrets_and_keeps_them_to_itself() {
    // Secrets that the real runtime would not open.
    let daemon = Daemon::builder().fake_formation().start().await;
    let llm = FakeLlm::start().await;
    let manifest = manifest("hello", &llm.base_url());
    let bundle = Archive::default()
        .folder("hello")
        .file("hello/formation.afs", manifest.as_bytes())
        .file("hello/.key", b"key")
        .file("hello/secrets.enc", b"enc")
        .gzip();
    let deployed = daemon.deploy(bundle).await;
    assert_eq!(deployed.status, 201, "{deployed:?}");
    act(&daemon, "hello", json!({"action": "init", "mode": "clone"})).await;
    for name in [".key", "secrets.enc"] {
        let path = daemon.data_dir().join("drafts/hello/files").join(name);
        let mode = std::fs::metadata(path).expect("copied").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
