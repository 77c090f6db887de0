//! Secrets of a bundle, and of a formation that runs.

use std::io::Write as _;
use std::process::Stdio;

use muxi_testkit::daemon::{ADMIN_KEY, Daemon};

use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

/// With something on standard input, which is no terminal.
fn fed(user: &User, arguments: &[&str], input: &str) -> Ran {
    let mut command = user.command("", arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("the program reads");
    drop(stdin);
    Ran::of(child.wait_with_output().expect("the program ends"))
}

#[test]
fn secrets_of_a_bundle_are_set_shown_and_deleted() {
    let user = User::new();
    let text = "schema: '1.0.0'\nid: team\ndescription: For tests\nllm:\n  api_keys:\n    openai: ${{ secrets.OPENAI_API_KEY }}\n    anthropic: ${{ secrets.anthropic }}\n  models:\n    - text: openai/gpt-4o\nagents:\n  - {id: helper, description: Helps}\n";
    user.write("formation.afs", text);
    shown(&user, "secrets_list_missing", &user.run(&["secrets", "list"]));
    shown(&user, "secrets_setup_no_terminal", &user.run(&["secrets", "setup"]));
    shown(&user, "secrets_set_no_terminal", &user.run(&["secrets", "set", "OPENAI_API_KEY"]));
    shown(&user, "secrets_set", &user.run(&["secrets", "set", "my-key", "one"]));
    shown(&user, "secrets_set_again", &user.run(&["secrets", "set", "MY_KEY", "two"]));
    shown(
        &user,
        "secrets_set_forced",
        &fed(&user, &["secrets", "set", "MY_KEY", "--stdin", "--force"], "two\n"),
    );
    shown(&user, "secrets_get", &user.run(&["secrets", "get", "my key"]));
    shown(&user, "secrets_get_unknown", &user.run(&["secrets", "get", "NOBODY"]));
    let setup = fed(&user, &["secrets", "setup", "--stdin"], "# mine\nOPENAI_API_KEY=sk-1\n");
    shown(&user, "secrets_setup_stdin", &setup);
    shown(&user, "secrets_setup_wrong", &fed(&user, &["secrets", "setup", "--stdin"], "hunter2\n"));
    shown(&user, "secrets_sync", &user.run(&["secrets", "sync"]));
    shown(&user, "secrets_template", &user.read("secrets"));
    shown(&user, "secrets_delete_unasked", &user.run(&["secrets", "delete", "OPENAI_API_KEY"]));
    shown(&user, "secrets_delete", &user.run(&["secrets", "delete", "OPENAI_API_KEY", "--force"]));
    shown(&user, "secrets_list", &user.run(&["secrets", "list"]));
    assert!(!user.read("secrets.enc").out.contains("two"));
    std::fs::remove_file(user.work().join(".key")).expect("the key was made");
    shown(&user, "secrets_without_key", &user.run(&["secrets", "list"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_running_formation_are_shown_in_part() {
    let daemon = Daemon::start().await;
    let user = User::of(&daemon).with("MUXI_ADMIN_KEY", ADMIN_KEY);
    daemon.deploy_formation("team", "http://127.0.0.1:9").await;
    let run = |arguments: &[&str]| user.run(&[&["secrets"], arguments, &["-f", "team"]].concat());
    shown(&user, "secrets_remote_set", &run(&["set", "github-token", "ghp_0123456789abcdef"]));
    shown(&user, "secrets_remote_set_again", &run(&["set", "github-token", "other"]));
    shown(
        &user,
        "secrets_remote_set_forced",
        &run(&["set", "github-token", "ghp_other6789abcdef", "--force"]),
    );
    shown(&user, "secrets_remote_list", &run(&["list"]));
    shown(&user, "secrets_remote_get", &run(&["get", "github-token"]));
    shown(&user, "secrets_remote_get_unknown", &run(&["get", "nobody"]));
    shown(&user, "secrets_remote_delete", &run(&["delete", "github-token", "--force"]));
}
