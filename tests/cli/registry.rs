//! Formations of others: an index in a folder, on a web server and in a git repository.

use std::process::Command;

use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use muxi_testkit::daemon::manifest;

use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

/// With a formation in two versions in the folder `index`, and a secret that must stay at home.
fn publisher() -> User {
    let user = User::new();
    let text = manifest("team", "http://127.0.0.1:9");
    user.write("team/formation.afs", &text);
    user.write("index/readme.md", "a registry\n");
    shown(&user, "push_with_keys", &user.run_in("team", &["push", "--registry", "../index"]));
    let keys = "server: {api_keys: {client_key: fmc_test, admin_key: fma_test}}\n";
    let text = text.replace(keys, "server: {api_keys: {admin_key: '${{ secrets.TOKEN }}'}}\n");
    user.write("team/formation.afs", &text);
    assert_eq!(user.run_in("team", &["secrets", "set", "TOKEN", "hunter2"]).code, 0);
    shown(
        &user,
        "push_dry_run",
        &user.run_in("team", &["push", "--registry", "../index", "--dry-run"]),
    );
    shown(&user, "push_first", &user.run_in("team", &["push", "--registry", "../index"]));
    shown(&user, "push_again", &user.run_in("team", &["push", "--registry", "../index"]));
    user.write("team/formation.afs", &text.replace("2.1.0", "2.10.0"));
    assert_eq!(user.run_in("team", &["push", "--registry", "../index"]).code, 0);
    user
}

#[test]
fn a_folder_is_a_registry() {
    let user = publisher();
    shown(&user, "search_nowhere", &user.run(&["search", "team"]));
    shown(&user, "search_folder", &user.run(&["search", "test", "--registry", "index"]));
    shown(&user, "search_nothing", &user.run(&["search", "zebra", "--registry", "index"]));
    shown(&user, "show_folder", &user.run(&["show", "team", "--registry", "index"]));
    shown(&user, "show_unknown", &user.run(&["show", "team@9.9.9", "--registry", "index"]));
    shown(
        &user,
        "pull_folder",
        &user.run(&["pull", "team", "--registry", "index", "--output", "mine"]),
    );
    shown(
        &user,
        "pull_again",
        &user.run(&["pull", "team", "--registry", "index", "--output", "mine"]),
    );
    assert!(user.read("mine/formation.afs").out.contains("2.10.0"));
    assert!(
        !user.work().join("mine/secrets.enc").exists() && !user.work().join("mine/.key").exists()
    );
    let older = user.run(&["pull", "team@2.1.0", "--registry", "index", "--output", "team-older"]);
    assert_eq!(older.code, 0, "{older:?}");
    assert!(user.read("team-older/formation.afs").out.contains("2.1.0"));
}

#[test]
fn what_is_no_part_of_a_formation_and_what_is_secret_stay_at_home() {
    let user = publisher();
    let others = user.read("index/index.json").out.replacen(
        "{\n",
        "{\n  \"generated_by\": \"somebody\",\n",
        1,
    );
    let others = others.replacen("\"version\"", "\"license\": \"MIT\",\n      \"version\"", 1);
    user.write("index/index.json", &others);
    user.write("team/customers.csv", "Ada,ada@example.com\n");
    user.write("team/out/report.md", "x\n");
    let text = user.read("team/formation.afs").out;
    user.write("team/formation.afs", &text.replace("2.10.0", "2.11.0"));
    shown(&user, "push_left_out", &user.run_in("team", &["push", "--registry", "../index"]));
    let index = user.read("index/index.json").out;
    assert!(index.contains("somebody") && index.contains("MIT"), "{index}");
    let pulled = user.run(&["pull", "team", "--registry", "index", "--output", "mine"]);
    assert_eq!(pulled.code, 0, "{pulled:?}");
    assert!(
        !user.work().join("mine/customers.csv").exists() && !user.work().join("mine/out").exists()
    );
    let secret =
        text.replace("2.10.0", "2.12.0").replace("sqlite:///memory.db", "postgres://u:pw@h/db");
    user.write("team/formation.afs", &secret);
    shown(&user, "push_with_password", &user.run_in("team", &["push", "--registry", "../index"]));
    shown(&user, "push_org", &user.run_in("team", &["push", "--org", "acme"]));
}

#[test]
fn a_bundle_that_is_not_what_the_index_says_is_refused() {
    let user = publisher();
    std::fs::write(user.work().join("index/team-2.10.0.tar.gz"), "other").expect("a file");
    shown(
        &user,
        "pull_wrong_sum",
        &user.run(&["pull", "team", "--registry", "index", "--output", "mine"]),
    );
    let climbing = user.read("index/index.json").out.replace("team-2.10.0.tar.gz", "../team/.key");
    user.write("index/index.json", &climbing);
    let climbed = user.run(&["pull", "team", "--registry", "index", "--output", "mine"]);
    assert!(climbed.code == 1 && climbed.err.contains("no file beside it"), "{climbed:?}");
    assert!(!user.work().join("mine").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_is_a_registry_and_may_ask_for_a_token() {
    let user = publisher();
    let index = user.read("index/index.json").out;
    let bundle =
        std::fs::read(user.work().join("index/team-2.10.0.tar.gz")).expect("it was pushed");
    let guarded = move |headers: HeaderMap| async move {
        let is_known = headers.get("authorization").is_some_and(|it| it == "Bearer t0ken");
        if is_known { Ok(index) } else { Err(StatusCode::UNAUTHORIZED) }
    };
    // The bundle lies elsewhere, as release assets do; whoever serves it must not learn the token.
    let elsewhere = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let moved_to = format!("http://{}/asset", elsewhere.local_addr().expect("one"));
    let asset = async move |headers: HeaderMap| {
        let is_told = headers.contains_key("authorization");
        if is_told { Err(StatusCode::IM_A_TEAPOT) } else { Ok(bundle) }
    };
    let assets = axum::serve(elsewhere, axum::Router::new().route("/asset", get(asset)));
    let moved = async move || axum::response::Redirect::temporary(&moved_to);
    let app = axum::Router::new()
        .route("/formations/index.json", get(guarded))
        .route("/formations/team-2.10.0.tar.gz", get(moved));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}/formations", listener.local_addr().expect("one"));
    let serving = async { axum::serve(listener, app).await.expect("it serves") };
    let using = async {
        tokio::task::spawn_blocking(move || {
            shown(&user, "search_refused", &user.run(&["search", "--registry", &url]));
            shown(
                &user,
                "login_kept",
                &user.run(&["login", "--registry", &url, "--token", "t0ken"]),
            );
            shown(
                &user,
                "pull_web",
                &user.run(&["pull", "team", "--registry", &url, "--output", "mine"]),
            );
            shown(&user, "push_web", &user.run_in("team", &["push", "--registry", &url]));
            shown(&user, "logout_done", &user.run(&["logout", "--registry", &url]));
            shown(&user, "logout_again", &user.run(&["logout", "--registry", &url]));
        })
        .await
        .expect("no assertion failed");
    };
    tokio::select! {
        () = serving => {}
        served = assets.into_future() => served.expect("it serves"),
        () = using => {}
    }
}

#[test]
fn a_git_repository_is_a_registry() {
    let user = publisher();
    let git = |arguments: &[&str]| {
        let ran = Command::new("git")
            .current_dir(user.work().join("index"))
            .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
            .args(arguments)
            .output()
            .expect("git is there");
        assert!(ran.status.success(), "{ran:?}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "All"]);
    let address = format!("git+file://{}", user.work().join("index").display());
    let pulled = user.run(&["pull", "team", "--registry", &address, "--output", "mine"]);
    assert!(
        pulled.code == 0 && user.read("mine/formation.afs").out.contains("2.10.0"),
        "{pulled:?}"
    );
    let gone = format!("git+file://{}", user.work().join("nowhere").display());
    shown(&user, "search_no_repository", &user.run(&["search", "--registry", &gone]));
}
