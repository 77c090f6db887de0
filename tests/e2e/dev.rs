//! Drafts that run: beside the formation, with a port, data and a process of their own.

use std::path::{Path, PathBuf};

use muxi_testkit::daemon::{Answer, CLIENT_KEY, Daemon, PATIENCE, manifest, wait_until};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

/// A formation that is developed on this machine.
fn sources(daemon: &Daemon, id: &str, llm: &FakeLlm) -> PathBuf {
    let folder = daemon.scratch().join("projects").join(id);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("formation.afs"), manifest(id, &llm.base_url())).expect("a file");
    folder
}

async fn run(daemon: &Daemon, body: Value) -> Answer {
    Answer::of(daemon.request("POST", "/rpc/dev/run").json(&body)).await
}

async fn stop(daemon: &Daemon, id: &str) -> Answer {
    let request = daemon.request("POST", "/rpc/dev/stop");
    Answer::of(request.json(&json!({"formation_id": id}))).await
}

/// A manager whose formations may be run from `projects`.
async fn daemon() -> Daemon {
    let mut daemon = Daemon::builder().switched().install();
    let projects = daemon.scratch().join("projects");
    std::fs::create_dir_all(&projects).expect("a folder");
    let mut config = std::fs::read_to_string(daemon.config_file()).expect("a configuration");
    let mut value: Value = serde_json::from_str(&config).expect("written as JSON");
    value["dev"] = json!({"enabled": true, "roots": [projects]});
    config = value.to_string();
    std::fs::write(daemon.config_file(), config).expect("our own file");
    daemon.start_again().await;
    daemon
}

async fn chat(daemon: &Daemon, door: &str, key: &str) -> u16 {
    let request = daemon.unsigned("POST", &format!("/{door}/hello/v1/chat"));
    let request = request.header("x-muxi-client-key", key).header("x-muxi-user-id", "alice");
    Answer::of(request.json(&json!({"message": "hi", "stream": false}))).await.status
}

fn has_entries(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

#[tokio::test]
async fn a_folder_runs_beside_its_formation_until_it_is_stopped() {
    let (daemon, llm) = (daemon().await, FakeLlm::start().await);
    let live = daemon.deploy_formation("hello", &llm.base_url()).await;
    let folder = sources(&daemon, "hello", &llm);
    let ran = run(&daemon, json!({"path": folder})).await;
    assert_eq!(ran.status, 200, "{ran:?}");
    let port = ran.body["port"].as_u64().expect("a port");
    let wanted =
        json!({"success": true, "formation_id": "hello", "port": port, "status": "running"});
    assert_eq!(ran.body, wanted);
    assert_ne!(port, u64::from(live.port));
    assert_eq!(daemon.instances().len(), 2);

    // Both are reached by their keys alone, and neither counts as the other.
    assert_eq!(chat(&daemon, "draft", CLIENT_KEY).await, 200);
    assert_eq!(chat(&daemon, "draft", "wrong").await, 401);
    assert_eq!(chat(&daemon, "api", CLIENT_KEY).await, 200);
    assert_eq!(daemon.get("/rpc/formations").await.data()["total"], 1);
    assert!(has_entries(&daemon.data_dir().join("formations/hello@draft/data")));
    assert!(!folder.join("memory.db").exists(), "the sources are only read");

    let again = run(&daemon, json!({"path": folder})).await;
    let error = format!("already running on port {port}");
    let refused =
        json!({"success": false, "formation_id": "", "port": 0, "status": "", "error": error});
    assert_eq!((again.status, &again.body), (409, &refused));

    // What changed in the folder is seen by the next run; the data is that of the run before.
    let stopped = stop(&daemon, "hello").await;
    let wanted = json!({"success": true, "formation_id": "hello", "status": "stopped"});
    assert_eq!((stopped.status, &stopped.body), (200, &wanted));
    let gone = Answer::of(daemon.unsigned("GET", "/draft/hello/v1/health")).await;
    assert_eq!((gone.status, &gone.body["message"]), (404, &json!("No formation with id 'hello'")));
    let text = manifest("hello", &llm.base_url()).replace(CLIENT_KEY, "fmc_other");
    std::fs::write(folder.join("formation.afs"), text).expect("our own file");
    assert_eq!(run(&daemon, json!({"path": folder})).await.status, 200);
    assert_eq!(chat(&daemon, "draft", "fmc_other").await, 200);
    assert_eq!(chat(&daemon, "api", CLIENT_KEY).await, 200);
    assert_eq!(stop(&daemon, "hello").await.status, 200);
    assert_eq!(stop(&daemon, "hello").await.status, 404);
    assert_eq!(daemon.instances().len(), 1);
    assert_eq!(daemon.leased_ports().len(), 1);
}

#[tokio::test]
async fn a_draft_outlives_a_manager_that_is_killed() {
    let (mut daemon, llm) = (daemon().await, FakeLlm::start().await);
    let folder = sources(&daemon, "hello", &llm);
    let ran = run(&daemon, json!({"path": folder})).await;
    assert_eq!(ran.status, 200, "{ran:?}");
    let processes = daemon.instances();
    daemon.kill9();
    daemon.start_again().await;
    wait_until(PATIENCE, "the draft is reached again", async || {
        (chat(&daemon, "draft", CLIENT_KEY).await == 200).then_some(())
    })
    .await;
    assert_eq!(daemon.instances(), processes);
    assert_eq!(run(&daemon, json!({"path": folder})).await.status, 409);
    // Restarted like any other.
    muxi_testkit::daemon::signal(processes[0], rustix::process::Signal::KILL);
    wait_until(PATIENCE, "another process serves the draft", async || {
        let now = daemon.instances();
        (now.len() == 1 && now != processes).then_some(())
    })
    .await;
    assert_eq!(stop(&daemon, "hello").await.status, 200);
    assert_eq!((daemon.instances().len(), daemon.leased_ports().len()), (0, 0));
}

#[tokio::test]
async fn only_what_the_operator_allows_is_run() {
    let (daemon, llm) = (daemon().await, FakeLlm::start().await);
    let inside = sources(&daemon, "hello", &llm);
    let outside = daemon.scratch().join("elsewhere");
    std::fs::create_dir_all(&outside).expect("a folder");
    let link = daemon.scratch().join("projects/link");
    std::os::unix::fs::symlink(&outside, &link).expect("a link");
    let file = inside.join("formation.afs");
    let empty = daemon.scratch().join("projects/empty");
    std::fs::create_dir_all(&empty).expect("a folder");
    for (body, status, error) in [
        (json!({}), 400, "Either path or formation_id is needed"),
        (json!({"path": "relative"}), 400, "Path must be absolute"),
        (json!({"path": "/etc"}), 400, "dev.roots"),
        (json!({"path": outside}), 400, "dev.roots"),
        (json!({"path": link}), 400, "dev.roots"),
        (json!({"path": inside.join("../../elsewhere")}), 400, "dev.roots"),
        (json!({"path": file}), 400, "is not a folder"),
        (json!({"path": inside.join("nothing")}), 400, "cannot be opened"),
        (json!({"path": empty}), 400, "formation.afs"),
        (json!({"formation_id": "../hello"}), 400, "Invalid formation_id"),
        (json!({"formation_id": "hello"}), 404, "there is no draft"),
        (json!({"formation_id": "hello", "path": inside}), 400, "Only one of"),
    ] {
        let answer = run(&daemon, body.clone()).await;
        let told = answer.body["error"].as_str().unwrap_or_default();
        assert!(answer.status == status && told.contains(error), "{body}: {answer:?}");
        assert_eq!((&answer.body["success"], &answer.body["port"]), (&json!(false), &json!(0)));
    }
    assert_eq!(daemon.unsigned("POST", "/rpc/dev/run").send().await.expect("sent").status(), 401);

    // One that does not start is told with its last words, and leaves nothing.
    daemon.runtime().break_down("no luck today");
    let broken = run(&daemon, json!({"path": inside})).await;
    assert!(broken.body["error"].as_str().is_some_and(|it| it.contains("no luck today")));
    assert_eq!((broken.status, daemon.leased_ports().len()), (400, 0), "{broken:?}");
    daemon.runtime().mend();
    assert_eq!(run(&daemon, json!({"path": inside})).await.status, 200);

    let closed = Daemon::start().await;
    let refused = run(&closed, json!({"path": inside})).await;
    assert!(refused.body["error"].as_str().is_some_and(|it| it.contains("dev.enabled")));
}

#[tokio::test]
async fn the_draft_of_the_api_runs_by_its_id_and_ends_with_its_deploy() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let files = async |body: Value| {
        let request = daemon.request("POST", "/rpc/formations/hello/draft/files");
        Answer::of(request.json(&body)).await
    };
    files(json!({"action": "init", "mode": "new"})).await;
    let text = manifest("hello", &llm.base_url());
    files(json!({"action": "write", "path": "formation.afs", "content": text})).await;
    let ran = run(&daemon, json!({"formation_id": "hello"})).await;
    assert_eq!(ran.status, 200, "{ran:?}");
    assert_eq!(chat(&daemon, "draft", CLIENT_KEY).await, 200);
    let listed = files(json!({"action": "list"})).await;
    assert_eq!(listed.body["draft"]["status"], "running");
    assert_eq!(files(json!({"action": "deploy"})).await.status, 201);
    assert_eq!((daemon.instances().len(), daemon.leased_ports().len()), (1, 1));
    assert_eq!(chat(&daemon, "api", CLIENT_KEY).await, 200);
    let left = daemon.files_left();
    assert!(
        !left.iter().any(|path| path.starts_with("drafts/") && path.len() > "drafts/".len()),
        "{left:?}"
    );
}

#[tokio::test]
async fn what_runs_by_path_is_not_the_drafts_of_the_api_to_take_away() {
    let (daemon, llm) = (daemon().await, FakeLlm::start().await);
    let files = async |body: Value| {
        let request = daemon.request("POST", "/rpc/formations/hello/draft/files");
        Answer::of(request.json(&body)).await
    };
    let make = async || {
        assert_eq!(files(json!({"action": "init", "mode": "new"})).await.status, 200);
        let text = manifest("hello", &llm.base_url());
        files(json!({"action": "write", "path": "formation.afs", "content": text})).await;
    };
    let folder = sources(&daemon, "hello", &llm);
    assert_eq!(run(&daemon, json!({"path": folder})).await.status, 200);
    assert_eq!(chat(&daemon, "draft", CLIENT_KEY).await, 200);
    let kept = daemon.data_dir().join("formations/hello@draft");
    for (action, status) in [("discard", 200), ("deploy", 201)] {
        make().await;
        assert_eq!(files(json!({"action": action})).await.status, status, "{action}");
        assert!(has_entries(&kept.join("generations")) && has_entries(&kept.join("data")));
        assert_eq!(chat(&daemon, "draft", CLIENT_KEY).await, 200, "{action}");
    }
    assert_eq!(stop(&daemon, "hello").await.status, 200);
    // Its own run goes with it, and what that kept.
    make().await;
    assert_eq!(run(&daemon, json!({"formation_id": "hello"})).await.status, 200);
    assert_eq!(files(json!({"action": "discard"})).await.status, 200);
    assert_eq!(daemon.instances().len(), 1);
    assert!(!kept.exists());
}

#[tokio::test]
async fn what_is_done_to_a_draft_is_listed_with_its_formation() {
    let (daemon, llm) = (daemon().await, FakeLlm::start().await);
    let folder = sources(&daemon, "hello", &llm);
    assert_eq!(run(&daemon, json!({"path": folder})).await.status, 200);
    daemon.deploy_formation("other", &llm.base_url()).await;
    for query in ["", "?formation=hello"] {
        let listed = daemon.get(&format!("/rpc/operations{query}")).await;
        let operations = listed.data()["operations"].as_array().expect("a list");
        let of_draft = operations.iter().find(|it| it["formation_id"] == "hello").expect("listed");
        assert_eq!((&of_draft["kind"], &of_draft["draft"]), (&json!("deploy"), &json!(true)));
        let id = of_draft["id"].as_str().expect("a text");
        let one = daemon.get(&format!("/rpc/operations/{id}")).await;
        assert_eq!(
            (&one.data()["formation_id"], &one.data()["draft"]),
            (&json!("hello"), &json!(true))
        );
        assert_eq!(one.data()["state"], "succeeded");
    }
    let none = daemon.get("/rpc/operations?formation=No").await;
    assert_eq!(none.data()["operations"], json!([]));
}
