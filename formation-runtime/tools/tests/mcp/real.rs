//! Servers that nobody here wrote, installed by `tests/mcp/install.sh`.

use muxi_tools::mcp::ServerConfig;
use muxi_tools::{Content, Danger};
use serde_json::json;

use super::support::{Formation, call, command, installed, until};

fn node(server: &str, args: &[&str]) -> ServerConfig {
    command(&installed(&format!("node/node_modules/.bin/mcp-server-{server}")), args)
}

fn python(program: &str, args: &[&str]) -> ServerConfig {
    command(&installed(program), args)
}

#[tokio::test]
async fn the_filesystem_server_reads_and_writes_in_its_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::write(root.join("note.txt"), "the cat is on the mat").unwrap();
    let formation = Formation::of(node("filesystem", &[root.to_str().unwrap()]));
    assert_eq!(formation.tool("read_text_file").await.danger(), Danger::ReadOnly);
    assert_eq!(formation.tool("write_file").await.danger(), Danger::Destructive);

    let path = root.join("note.txt");
    let read = formation.call("read_text_file", json!({"path": path})).await;
    assert!(!read.is_error && read.text().contains("the cat is on the mat"), "{read:?}");
    let written = root.join("new.txt");
    let wrote = formation.call("write_file", json!({"path": written, "content": "hello"})).await;
    assert!(!wrote.is_error, "{wrote:?}");
    assert_eq!(std::fs::read_to_string(written).unwrap(), "hello");
    let outside = formation.call("read_text_file", json!({"path": "/etc/hostname"})).await;
    assert!(outside.is_error, "{outside:?}");
    let wrong = formation.call("read_text_file", json!({"file": "note.txt"})).await;
    assert!(wrong.is_error && wrong.text().contains("path"), "{wrong:?}");
    formation.end().await;
}

#[tokio::test]
async fn the_everything_server_shows_every_kind_of_content() {
    let formation = Formation::of(node("everything", &[]));
    let echo = formation.call("echo", json!({"message": "hi"})).await;
    assert!(echo.text().contains("hi"), "{echo:?}");
    let image = formation.call("get-tiny-image", json!({})).await;
    let is_png = |content: &Content| {
        matches!(content, Content::File { media_type, bytes, .. }
            if media_type == "image/png" && bytes.starts_with(b"\x89PNG"))
    };
    assert!(image.content.iter().any(is_png), "{image:?}");
    let structured = formation.call("get-structured-content", json!({"location": "Chicago"})).await;
    assert!(structured.structured.is_some(), "{structured:?}");
    let links = formation.call("get-resource-links", json!({"count": 2})).await;
    assert!(links.text().contains("demo://"), "{links:?}");
    formation.end().await;
}

#[tokio::test]
async fn a_long_call_of_the_everything_server_can_be_cancelled() {
    let formation = Formation::of(node("everything", &[]));
    let long = formation.tool("trigger-long-running-operation").await;
    let asked = call(json!({"duration": 300, "steps": 300}));
    let token = asked.cancelled.clone();
    let mut running = long.call(asked);
    tokio::select! {
        outcome = &mut running => panic!("it was not long: {outcome:?}"),
        () = until("a call is in flight", || formation.servers.status()[0].connections == 1) => {}
    }
    token.cancel();
    assert!(running.await.is_error);
    let after = formation.call("echo", json!({"message": "still there"})).await;
    assert!(after.text().contains("still there"), "{after:?}");
    formation.end().await;
}

#[tokio::test]
async fn the_memory_server_remembers_within_a_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory.jsonl");
    let config =
        super::support::with_env(node("memory", &[]), "MEMORY_FILE_PATH", file.to_str().unwrap());
    let formation = Formation::of(config);
    let ann = json!({"name": "Ann", "entityType": "person", "observations": ["likes tea"]});
    let made = formation.call("create_entities", json!({"entities": [ann]})).await;
    assert!(!made.is_error, "{made:?}");
    let graph = formation.call("read_graph", json!({})).await;
    assert!(graph.text().contains("likes tea"), "{graph:?}");
    formation.end().await;
}

#[tokio::test]
async fn the_python_servers_tell_the_time_read_repositories_and_query_tables() {
    let folder = tempfile::tempdir().unwrap();
    let time = Formation::of(python("python/bin/mcp-server-time", &["--local-timezone=UTC"]));
    let now = time.call("get_current_time", json!({"timezone": "Europe/Rome"})).await;
    assert!(!now.is_error && now.text().contains("Europe/Rome"), "{now:?}");
    let nowhere = time.call("get_current_time", json!({"timezone": "Nowhere/Land"})).await;
    assert!(nowhere.is_error, "{nowhere:?}");
    time.end().await;

    let repository = folder.path().join("repository");
    let git = std::process::Command::new("git").args(["init", "-q"]).arg(&repository).status();
    assert!(git.unwrap().success());
    std::fs::write(repository.join("new.txt"), "x").unwrap();
    let git = Formation::of(python("python/bin/mcp-server-git", &[]));
    let status = git.call("git_status", json!({"repo_path": repository})).await;
    assert!(!status.is_error && status.text().contains("new.txt"), "{status:?}");
    git.end().await;

    let file = folder.path().join("data.db");
    let program = "python-first-sdk/bin/mcp-server-sqlite";
    let tables = Formation::of(python(program, &["--db-path", file.to_str().unwrap()]));
    let create = json!({"query": "CREATE TABLE cats (name TEXT)"});
    assert!(!tables.call("create_table", create).await.is_error);
    let insert = json!({"query": "INSERT INTO cats VALUES ('Tom')"});
    assert!(!tables.call("write_query", insert).await.is_error);
    let found = tables.call("read_query", json!({"query": "SELECT name FROM cats"})).await;
    assert!(found.text().contains("Tom"), "{found:?}");
    tables.end().await;
}
