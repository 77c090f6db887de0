//! What operators look at and keep: logs, the audit log, formations with their keys, defaults.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use muxi_testkit::daemon::{ADMIN_KEY, CLIENT_KEY, Daemon, KEY, SECRET};
use serde_json::json;

use crate::harness::{Ran, User, with_names};
use crate::running::Running;

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_what_processes_wrote_and_with_a_filter_what_happens() {
    let team = Running::start().await;
    let lines = team.run(&["logs"]);
    assert!(lines.code == 0 && lines.out.lines().count() > 1, "{lines:?}");
    assert!(!lines.out.contains("\"entries\""), "{lines:?}");
    let operator = team.operator();
    let last = operator.run(&["logs", "team", "--lines", "1"]);
    assert_eq!((last.code, last.out.lines().count()), (0, 1), "{last:?}");
    let same = operator.run(&["remote", "logs", "team", "-n", "1"]);
    assert_eq!(same.out, last.out);
    assert_eq!(operator.run(&["formations", "logs", "team", "-n", "1"]).out, last.out);
    let document = team.json(&["logs", "-n", "1", "--stream", "stdout"]);
    assert_eq!(document["formation_id"], "team", "{document}");
    shown(&operator, "logs_unknown", &operator.run(&["logs", "nobody"]));
    shown(&operator, "logs_wrong_level", &team.run(&["logs", "--level", "loud"]));
    let stranger = team.stranger();
    shown(&stranger, "logs_wrong_key", &stranger.run(&["logs", "team", "--event", "*"]));

    team.llm.script(json!([{"reply": {"text": "Hello!"}}]));
    for (format, more) in [("text", None), ("json", Some("--json"))] {
        let mut arguments = vec!["logs", "-u", "alice", "--event", "chat.*", "-n", "2"];
        arguments.extend(more);
        let mut command = team.user.command("team", &arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        if format == "text" {
            err.read_line(&mut line).expect("it follows");
            assert_eq!(line, "following; Ctrl-C ends it\n");
        }
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
        // Whether a follower without a word is there is not told; so it is talked until it saw enough.
        let mut turn = 0;
        while !ended.is_finished() {
            turn += 1;
            team.say(&format!("{format}-{turn}"), "Good day").await;
        }
        let ran = Ran::of(ended.await.expect("it ends").expect("it ends"));
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.out.lines().count(), 2, "{ran:?}");
        if format == "text" {
            shown(&team.user, "logs_followed", &ran);
        } else {
            let first = ran.out.lines().next().expect("a line");
            let first: serde_json::Value = serde_json::from_str(first).expect("a document");
            assert_eq!(first["user_id"], "alice", "{first}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_processes_is_followed() {
    let team = Running::start().await;
    team.llm.script(json!([{"reply": {"text": "Hello!"}}]));
    for more in [None, Some("--json")] {
        let mut arguments = vec!["logs", "--follow", "--lines", "1"];
        arguments.extend(more);
        let mut command = team.user.command("team", &arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("a line").expect("a line");
        assert_eq!(first.contains("\"event\":\"connected\""), more.is_some(), "{first}");
        let restarted = team.run(&["restart", "--no-stream"]);
        assert_eq!(restarted.code, 0, "{restarted:?}");
        let told = lines.map(|it| it.expect("a line")).find(|it| it.contains("formation.stopping"));
        let told = told.expect("it goes on");
        assert_eq!(told.starts_with("{\"data\":"), more.is_some(), "{told}");
        child.kill().expect("it still follows");
        child.wait().expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_did_is_listed_and_cleared() {
    let team = Running::start().await;
    let made = team.json(&["scheduler", "add", "once", "2099-01-31T09:00", "Wish a good year"]);
    assert!(made["id"].is_string(), "{made}");
    team.shows("audit_list", &["audit"]);
    team.shows("audit_list_of_kind", &["audit", "list", "--resource-type", "memory"]);
    team.shows("audit_wrong_time", &["audit", "list", "--since", "yesterday"]);
    assert_eq!(team.json(&["audit", "list", "--limit", "1"])["limit"], 1);
    team.shows("audit_clear_unasked", &["audit", "clear"]);
    team.shows("audit_clear", &["audit", "clear", "--yes"]);
    let stranger = team.stranger();
    shown(&stranger, "audit_wrong_key", &stranger.run(&["audit", "-f", "team"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn formations_are_kept_beside_those_that_are_deployed() {
    let team = Running::start().await;
    let user = User::of(&team.daemon);
    shown(&user, "formations_list_deployed", &user.run(&["formations", "list"]));
    shown(&user, "formations_add_unasked", &user.run(&["formations", "add", "team"]));
    shown(&user, "formations_show_unknown", &user.run(&["formations", "show", "team"]));
    let keys = ["--admin-key", ADMIN_KEY, "--client-key", CLIENT_KEY];
    let add = ["formations", "add", "team", "--user", "bob", "--profile", "test"];
    shown(&user, "formations_add", &user.run(&[&add[..], &keys[..]].concat()));
    let elsewhere = ["formations", "add", "elsewhere", "--client-key", "fmc_other"];
    shown(&user, "formations_add_another", &user.run(&elsewhere));
    shown(&user, "formations_list", &user.run(&["formations", "list"]));
    shown(&user, "formations_show", &user.run(&["formations", "show", "team"]));
    let listed = user.run(&["formations", "list", "--json"]).json();
    assert_eq!(listed["formations"][1]["deployed"]["status"], "running", "{listed}");
    assert!(!listed.to_string().contains(CLIENT_KEY), "{listed}");
    // What is kept is used.
    let sessions = user.run(&["sessions", "list", "--formation", "team"]);
    assert_eq!(sessions.out, "bob has no session yet: `muxi chat` begins one.\n", "{sessions:?}");

    let mut command = user.command("", &["formations", "add", "piped", "--stdin"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"\nfmc_piped\n")
        .expect("it reads");
    assert!(child.wait().expect("it ends").success());
    let kept = user.run(&["formations", "show", "piped", "--json"]).json();
    assert_eq!((&kept["admin_key"], &kept["client_key"]), (&json!(false), &json!(true)));

    // The manager's part, as the reference of the API spells it.
    assert_eq!(user.run(&["formations", "get", "team"]).code, 0);
    shown(&user, "formations_stop", &user.run(&["formations", "stop", "team"]));
    shown(&user, "formations_start", &user.run(&["formations", "start", "team", "--no-stream"]));
    shown(&user, "formations_delete_unasked", &user.run(&["formations", "delete", "team"]));
    shown(&user, "formations_remove", &user.run(&["formations", "remove", "team"]));
    shown(&user, "formations_remove_unknown", &user.run(&["formations", "remove", "team"]));
    let unreachable = user.with("MUXI_SERVER_URL", "http://127.0.0.1:9");
    let unreachable = unreachable.with("MUXI_KEY_ID", "k").with("MUXI_SECRET_KEY", "s");
    shown(&unreachable, "formations_list_unreachable", &unreachable.run(&["formations", "list"]));
}

#[test]
fn defaults_are_set_and_kept_in_their_files() {
    let user = User::new();
    user.write_home(
        ".muxi/cli/profiles.yaml",
        "version: '1.0'\nprofiles:\n  one: {url: 'http://127.0.0.1:1', mine: kept}\n  two: {url: 'http://127.0.0.1:2'}\n",
    );
    user.write_home(".muxi/cli/defaults.yaml", "version: '1.0'\nfile_extension: yaml\n");
    shown(&user, "set_default_profile", &user.run(&["set", "default", "profile", "two"]));
    shown(&user, "set_default_profile_unknown", &user.run(&["set", "default", "profile", "ten"]));
    shown(&user, "set_default_user", &user.run(&["set", "default", "user", "alice"]));
    shown(&user, "set_default_user_empty", &user.run(&["set", "default", "user", ""]));
    let registry = ["set", "default", "registry", "https://formations.example.com/"];
    shown(&user, "set_default_registry", &user.run(&registry));
    let wrong = ["set", "default", "registry", "formations"];
    shown(&user, "set_default_registry_wrong", &user.run(&wrong));
    user.write("index/index.json", r#"{"formations": []}"#);
    let folder = user.run(&["set", "default", "registry", "index"]);
    assert_eq!(folder.code, 0, "{folder:?}");
    user.write("elsewhere/file", "");
    let found = user.run_in("elsewhere", &["registry", "search"]);
    assert_eq!(found.code, 0, "{found:?}");
    assert_eq!(user.run(&registry).code, 0);
    let file = |name: &str| std::fs::read_to_string(user.home().join(".muxi/cli").join(name));
    let profiles = file("profiles.yaml").expect("a file");
    assert!(profiles.contains("default_profile: two") && profiles.contains("mine: kept"));
    let defaults = file("defaults.yaml").expect("a file");
    assert!(defaults.contains("user_id: alice") && defaults.contains("file_extension: yaml"));
    let registries = file("registries.yaml").expect("a file");
    assert!(registries.contains("default_registry: https://formations.example.com\n"));
}

/// Files that the published command line wrote, of its first version and of its last.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_published_command_line_are_read() {
    let daemon = Daemon::start().await;
    daemon.deploy_formation("team", "http://127.0.0.1:9").await;
    let one = |url: &str| {
        format!(
            "{{url: '{url}', key_id: {KEY}, secret_key: {SECRET}, added_at: '2026-01-02T03:04:05Z'}}"
        )
    };
    let text = |list: &str, default: &str| {
        format!(
            "version: '1.0'\n{default}: production\n{list}:\n  staging: {}\n  production: {}\n",
            one("http://127.0.0.1:9"),
            one(daemon.url())
        )
    };
    for (file, list, default) in [
        ("servers.yaml", "servers", "default"),
        ("profiles.yaml", "profiles", "default"),
        ("profiles.yaml", "profiles", "default_profile"),
    ] {
        let user = User::new();
        user.write_home(&format!(".muxi/cli/{file}"), &text(list, default));
        let listed = user.run(&["remote", "list"]);
        assert!(listed.code == 0 && listed.out.contains("team"), "{file}: {listed:?}");
        user.write_home(
            ".muxi/cli/formations.yaml",
            &format!("version: '1.0'\nformations:\n  team: {{default_profile: production, default_user_id: ada, client_key: fmc_no, admin_key: {ADMIN_KEY}, added_at: '2026-01-02T03:04:05Z'}}\n"),
        );
        let agents = user.run(&["agents", "list", "-f", "team"]);
        assert!(agents.code == 0 && agents.out.contains("helper"), "{file}: {agents:?}");
    }
}

#[test]
fn verbs_of_the_published_command_line_are_known() {
    let user = User::new();
    shown(&user, "console_refused", &user.run(&["console"]));
    shown(&user, "upgrade_refused", &user.run(&["upgrade"]));
    shown(&user, "registry_orgs_refused", &user.run(&["registry", "orgs"]));
    let server = user.run(&["server", "--version"]);
    assert!(server.code == 0 && server.out.starts_with("muxi-server "), "{server:?}");
}
