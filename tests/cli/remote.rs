//! What operators do with what is deployed.

use muxi_testkit::daemon::{Daemon, bundle_of_version};

use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

#[tokio::test(flavor = "multi_thread")]
async fn formations_are_listed_stopped_restarted_rolled_back_and_deleted() {
    let daemon = Daemon::start().await;
    let user = User::of(&daemon);
    shown(&user, "remote_list_empty", &user.run(&["remote", "list"]));
    daemon.deploy(bundle_of_version("team", "http://127.0.0.1:9", "1.0.0")).await;
    daemon.update("team", bundle_of_version("team", "http://127.0.0.1:9", "1.1.0")).await;
    shown(&user, "remote_list", &user.run(&["remote", "list"]));
    shown(&user, "remote_list_of_status", &user.run(&["remote", "list", "--status", "stopped"]));
    shown(&user, "remote_get", &user.run(&["remote", "get", "team"]));
    shown(&user, "remote_get_unknown", &user.run(&["remote", "get", "nobody"]));
    shown(&user, "remote_restart", &user.run(&["remote", "restart", "team"]));
    shown(&user, "remote_rollback_unasked", &user.run(&["remote", "rollback", "team"]));
    shown(&user, "remote_rollback", &user.run(&["remote", "rollback", "team", "--yes"]));
    shown(&user, "remote_stop", &user.run(&["remote", "stop", "team"]));
    shown(&user, "remote_start", &user.run(&["remote", "start", "team", "--no-stream"]));
    let logs = user.run(&["remote", "logs", "team", "-n", "3", "--stream", "stdout"]);
    assert_eq!(logs.code, 0, "{logs:?}");
    assert!((1..=3).contains(&logs.out.lines().count()), "{logs:?}");
    assert!(logs.out.contains("team 1.0.0"), "{logs:?}");
    shown(&user, "remote_delete_unasked", &user.run(&["remote", "delete", "team"]));
    shown(&user, "remote_delete", &user.run(&["delete", "team", "--force"]));
    let listed = user.run(&["remote", "list", "--json"]);
    assert_eq!((listed.code, &listed.json()["total"]), (0, &serde_json::json!(0)), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_be_reached_or_refuses_is_told_with_the_mend() {
    let user = User::new();
    shown(&user, "nobody_known", &user.run(&["remote", "list"]));
    let daemon = Daemon::start().await;
    let user = user
        .with("MUXI_SERVER_URL", daemon.url())
        .with("MUXI_KEY_ID", "muxi_pk_other")
        .with("MUXI_SECRET_KEY", "wrong");
    shown(&user, "key_refused", &user.run(&["remote", "list"]));
    let refused = user.run(&["remote", "list", "--json"]);
    assert_eq!(
        (refused.code, &refused.json()["error"]["exit"]),
        (4, &serde_json::json!(4)),
        "{refused:?}"
    );
    let closed =
        std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("one");
    let user = User::new();
    let added = user.run(&[
        "profiles",
        "add",
        "gone",
        "--url",
        &format!("http://{closed}"),
        "--key-id",
        "k",
        "--secret-key",
        "s",
    ]);
    shown(&user, "profiles_add", &added);
    shown(&user, "profiles_list", &user.run(&["profiles", "list"]));
    shown(&user, "unreachable", &user.run(&["remote", "list"]));
    shown(&user, "profile_unknown", &user.run(&["remote", "list", "--profile", "nowhere"]));
}
