//! What belongs to a user of a running formation: files, credentials, and what waits for a yes.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use muxi_testkit::daemon::{PATIENCE, wait_until};
use serde_json::json;

use crate::harness::{Ran, User};
use crate::running::Running;

/// One run with something piped into it.
fn piped(user: &User, arguments: &[&str], input: &str) -> Ran {
    let mut child = user
        .command("team", arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // Whoever refuses at once does not read.
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), input.as_bytes()).ok();
    Ran::of(child.wait_with_output().expect("it ends"))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_listed_saved_and_deleted() {
    let team = Running::start().await;
    team.shows("artifacts_list_empty", &["artifacts", "list"]);
    let make = |content: &str| {
        let file = json!({"file_name": "letter.txt", "content": content});
        json!([
            {"match": {"has_tool_result": true}, "reply": {"text": "Here it is."}},
            {"reply": {"tool_calls": [{"name": "generate_file", "arguments": file}]}},
        ])
    };
    team.llm.script(make("Dear Alice,\n"));
    team.say("r-1", "Write it").await;
    team.llm.script(make("Dear Alice, dear Bob,\n"));
    team.say("r-2", "Write it again").await;
    team.shows("artifacts_list", &["artifacts", "list"]);
    let listed = team.json(&["artifacts", "list"]);
    let id = listed["artifacts"][0]["id"].as_str().expect("an id");
    team.shows("artifacts_show", &["artifacts", "show", id]);
    team.shows("artifacts_show_unknown", &["artifacts", "show", "art_nothing"]);
    team.shows("artifacts_versions", &["artifacts", "versions", id]);
    team.shows("artifacts_get", &["artifacts", "get", id]);
    let saved = |name: &str| std::fs::read_to_string(team.user.work().join("team").join(name));
    assert_eq!(saved("letter.txt").expect("a file"), "Dear Alice, dear Bob,\n");
    team.shows("artifacts_get_there", &["artifacts", "get", id]);
    team.shows(
        "artifacts_get_older",
        &["artifacts", "get", id, "--version", "1", "--output", "old.txt"],
    );
    assert_eq!(saved("old.txt").expect("a file"), "Dear Alice,\n");
    team.shows("artifacts_get_no_version", &["artifacts", "get", id, "--version", "9", "--force"]);
    assert_eq!(saved("letter.txt").expect("a file"), "Dear Alice, dear Bob,\n");
    assert_eq!(team.run(&["artifacts", "get", id, "--output", "-"]).out, "Dear Alice, dear Bob,\n");
    team.shows("artifacts_get_unknown", &["artifacts", "get", "art_nothing"]);
    // An opener that keeps what it was shown; without one the copy is named.
    team.user.write("opener", "#!/bin/sh\ncp \"$1\" seen.txt\n");
    let program = team.user.work().join("opener");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let with = |opener: &str| {
        let mut command = team.user.command("team", &["artifacts", "open", id]);
        Ran::of(command.env("MUXI_OPENER", opener).output().expect("the program starts"))
    };
    let opened = with(&program.display().to_string());
    assert!(opened.code == 0 && opened.out.contains("Opened"), "{opened:?}");
    assert_eq!(team.user.read("team/seen.txt").out, "Dear Alice, dear Bob,\n");
    let unopened = with("/no/such/program");
    assert!(unopened.code == 1 && unopened.err.contains("the file is"), "{unopened:?}");
    team.shows("artifacts_cleanup", &["artifacts", "cleanup"]);
    team.shows("artifacts_cleanup_again", &["artifacts", "cleanup"]);
    team.shows("artifacts_delete_unasked", &["artifacts", "delete", "art_x"]);
    team.shows("artifacts_delete", &["artifacts", "delete", id, "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_kept_without_being_shown() {
    let team = Running::start().await;
    team.shows("credentials_list_empty", &["credentials", "list"]);
    team.shows("credentials_services_none", &["credentials", "services"]);
    team.shows("credentials_add_unasked", &["credentials", "add", "github"]);
    let add = ["credentials", "add", "github", "--stdin", "--json"];
    let kept = piped(&team.user, &add, "ghp_0123456789abcdefXYZ\n");
    assert_eq!(kept.code, 0, "{kept:?}");
    assert!(!kept.out.contains("0123456789abcdef"), "{kept:?}");
    let kept = kept.json();
    let id = kept["credential_id"].as_str().expect("an id");
    let again = piped(&team.user, &add[..4], "ghp_other\n");
    team.told("credentials_add_again", &again);
    team.told("credentials_add_empty", &piped(&team.user, &add[..4], "\n"));
    team.shows("credentials_list", &["credentials", "list"]);
    team.shows("credentials_show", &["credentials", "show", id]);
    team.shows("credentials_show_unknown", &["credentials", "show", "cred_nothing"]);
    team.shows("credentials_delete_unasked", &["credentials", "delete", "cred_x"]);
    team.shows("credentials_delete", &["credentials", "delete", id, "-y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_approved_or_denied() {
    let team = Running::start().await;
    team.llm.script(json!([
        {"match": {"has_tool_result": true}, "reply": {"text": "So it is."}},
        {"reply": {"tool_calls": [{"name": "fake__delete", "arguments": {"text": "a.txt"}}]}},
    ]));
    team.shows("approvals_list_empty", &["approvals", "list"]);
    team.say("r-1", "Delete it").await;
    team.shows("approvals_list", &["approvals", "list"]);
    team.shows("requests_show_waiting", &["requests", "show", "r-1"]);
    let first =
        |listed: &serde_json::Value| listed["approvals"][0]["id"].as_str().map(str::to_owned);
    let id = first(&team.json(&["approvals", "list"])).expect("an id");
    team.shows("approvals_show", &["approvals", "show", &id]);
    team.shows("approvals_show_unknown", &["approvals", "show", "apr_nothing"]);
    team.shows("approvals_approve", &["approvals", "approve", &id]);
    wait_until(PATIENCE, "it is done", async || {
        let request = team.json(&["requests", "show", "r-1"]);
        (request["status"] == "completed").then_some(())
    })
    .await;
    team.shows("approvals_approve_again", &["approvals", "approve", &id]);
    team.say("r-2", "Delete it").await;
    let id = first(&team.json(&["approvals", "list"])).expect("an id");
    team.shows("approvals_deny", &["approvals", "deny", &id, "--note", "It is needed"]);
    team.shows("approvals_list_denied", &["approvals", "list", "--status", "denied"]);
}
