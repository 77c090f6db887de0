//! Folders as drafts, and what differs between a folder and what is deployed.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use muxi_testkit::daemon::{
    ADMIN_KEY, Daemon, PATIENCE, bundle_of_version, manifest, signal, wait_until,
};
use serde_json::json;

use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

/// A manager that may run what lies below the user's folder.
async fn manager_of_drafts(user: &User) -> Daemon {
    Daemon::builder()
        .config(json!({"dev": {"enabled": true, "roots": [user.work()]}}))
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_runs_as_a_draft_until_it_is_taken_down() {
    let user = User::new();
    let daemon = manager_of_drafts(&user).await;
    user.knows(&daemon);
    user.write("team/formation.afs", &manifest("team", "http://127.0.0.1:9"));
    shown(&user, "up_first", &user.run_in("team", &["up"]));
    assert_eq!(user.read("team/.muxi").out, "draft: true\n");
    let asked = user.run_in("team", &["config", "memory", "--remote"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    shown(&user, "up_again", &user.run_in("team", &["up"]));
    shown(&user, "down_first", &user.run_in("team", &["down"]));
    assert!(!user.work().join("team/.muxi").exists());
    shown(&user, "down_again", &user.run_in("team", &["down"]));
    shown(&user, "down_nowhere", &user.run(&["down"]));
    user.write("team/formation.afs", "schema: '1.0.0'\nid: team\n");
    shown(&user, "up_faults", &user.run_in("team", &["up"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_run_drafts_is_told_why() {
    let daemon = Daemon::start().await;
    let user = User::of(&daemon);
    user.write("team/formation.afs", &manifest("team", "http://127.0.0.1:9"));
    shown(&user, "up_not_allowed", &user.run_in("team", &["up"]));
    let closed =
        std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("one");
    let port = closed.port().to_string();
    shown(&user, "up_unreachable", &user.run_in("team", &["up", "--port", &port]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_draft_follows_the_files() {
    let user = User::new();
    let daemon = manager_of_drafts(&user).await;
    user.knows(&daemon);
    let text = manifest("team", "http://127.0.0.1:9");
    user.write("team/formation.afs", &text);
    let mut command = user.command("team", &["dev", "--json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let out = child.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(out).lines();
    let mut next = || lines.next().expect("a line").expect("a text");
    let first = next();
    assert!(first.contains("\"running\"") && first.contains("team runs at"), "{first}");
    user.write("team/formation.afs", "schema: '1.0.0'\nid: team\n");
    let faulty = next();
    assert!(faulty.contains("\"faults\"") && faulty.contains("description"), "{faulty}");
    user.write("team/formation.afs", &text.replace("Be brief.", "Be briefer."));
    let anew = next();
    assert!(anew.contains("team runs anew at"), "{anew}");
    signal(child.id(), rustix::process::Signal::INT);
    let stopped = next();
    assert!(stopped.contains("\"stopped\""), "{stopped}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    wait_until(PATIENCE, "the draft is gone", async || daemon.instances().is_empty().then_some(()))
        .await;
    assert!(!user.work().join("team/.muxi").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_from_what_is_deployed_is_shown_by_line() {
    let daemon = Daemon::start().await;
    let user = User::of(&daemon);
    let text = manifest("team", "http://127.0.0.1:9");
    user.write("team/formation.afs", &text);
    user.write("team/old.md", "gone soon\n");
    shown(&user, "diff_not_deployed", &user.run_in("team", &["diff"]));
    assert_eq!(user.run_in("team", &["secrets", "set", "A", "one"]).code, 0);
    let deployed = user.run_in("team", &["deploy"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    shown(&user, "diff_same", &user.run_in("team", &["diff"]));
    user.write(
        "team/formation.afs",
        &text.replace("2.1.0", "2.2.0").replace("Be brief.", "Be kind."),
    );
    user.write("team/SOUL.md", "You are kind.\n");
    std::fs::write(user.work().join("team/picture.png"), [0xff, 0xfe, 0, 1]).expect("a file");
    std::fs::remove_file(user.work().join("team/old.md")).expect("it is there");
    assert_eq!(user.run_in("team", &["secrets", "set", "B", "two"]).code, 0);
    shown(&user, "diff_changed", &user.run_in("team", &["diff"]));
    shown(&user, "diff_dry_run", &user.run_in("team", &["deploy", "--dry-run"]));
    shown(&user, "diff_generation_unknown", &user.run_in("team", &["diff", "--generation", "9"]));
    let document = user.run_in("team", &["diff", "--json"]);
    let document = (document.code, document.json()["files"].as_array().map(Vec::len));
    assert_eq!(document, (1, Some(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deployed_becomes_a_folder() {
    let daemon = Daemon::start().await;
    let user = User::of(&daemon).with("MUXI_ADMIN_KEY", ADMIN_KEY);
    daemon.deploy(bundle_of_version("team", "http://127.0.0.1:9", "1.0.0")).await;
    shown(&user, "download_first", &user.run(&["download", "team"]));
    assert!(user.read("team/formation.afs").out.contains("version: 1.0.0"));
    shown(&user, "download_again", &user.run(&["download", "team"]));
    user.write("team/.key", "mine");
    user.write("team/extra.md", "x");
    daemon.update("team", bundle_of_version("team", "http://127.0.0.1:9", "1.1.0")).await;
    shown(&user, "download_forced", &user.run_in("team", &["download", "--force"]));
    assert!(user.read("team/formation.afs").out.contains("version: 1.1.0"));
    assert_eq!(user.read("team/.key").out, "mine");
    assert!(!user.work().join("team/extra.md").exists());
    let older = ["download", "team", "--generation", "1", "--output", "older"];
    shown(&user, "download_generation", &user.run(&older));
    assert!(user.read("older/formation.afs").out.contains("version: 1.0.0"));
    shown(&user, "download_unknown", &user.run(&["download", "nobody"]));
    shown(&user, "download_nothing_named", &user.run(&["download"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_formation_is_set_up_is_shown_here_and_there() {
    let daemon = Daemon::start().await;
    let user = User::of(&daemon).with("MUXI_ADMIN_KEY", ADMIN_KEY);
    daemon.deploy_formation("team", "http://127.0.0.1:9").await;
    user.write("team/formation.afs", &manifest("team", "http://127.0.0.1:9"));
    for area in ["llm", "overlord", "memory", "logging", "async", "a2a", "security"] {
        shown(&user, &format!("config_{area}"), &user.run_in("team", &["config", area]));
        let there = user.run_in("team", &["config", area, "--remote"]);
        assert!(there.code == 0 && !there.out.is_empty(), "{area}: {there:?}");
    }
    shown(&user, "config_nowhere", &user.run(&["config", "llm"]));
}
