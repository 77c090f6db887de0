//! From a folder to a formation that serves.

use muxi_testkit::daemon::{Daemon, bundle_with, manifest};

use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_deployed_updated_and_kept_from_going_back() {
    let daemon = Daemon::start().await;
    let user = User::of(&daemon);
    let text = manifest("team", "http://127.0.0.1:9");
    user.write("team/formation.afs", &text);
    shown(&user, "deploy_dry_run", &user.run_in("team", &["deploy", "--dry-run"]));
    shown(&user, "deploy_first", &user.run_in("team", &["deploy"]));
    shown(&user, "deploy_same_version", &user.run_in("team", &["deploy"]));
    user.write("team/formation.afs", &text.replace("2.1.0", "2.2.0"));
    shown(&user, "deploy_update", &user.run(&["deploy", "team", "--no-stream"]));
    let archive = user.work().join("team.tar.gz");
    std::fs::write(&archive, bundle_with("team", &text.replace("2.1.0", "2.3.0"))).expect("a file");
    shown(&user, "deploy_archive", &user.run(&["deploy", "team.tar.gz", "--dry-run"]));
    shown(&user, "deploy_archive_db", &user.run(&["deploy", "team.tar.gz", "--include-db"]));
    // Nothing serves that could go on serving.
    assert_eq!(user.run(&["stop", "team"]).code, 0);
    let broken = text
        .replace("2.1.0", "2.4.0")
        .replace("sqlite:///memory.db", "postgresql://127.0.0.1:9/no");
    user.write("team/formation.afs", &broken);
    let failed = user.run_in("team", &["deploy"]);
    assert!(failed.code == 1 && !failed.err.contains("still serves"), "{failed:?}");
    user.write("team/formation.afs", "schema: '1.0.0'\nid: team\nagents: 5\nfoo: 1\n");
    shown(&user, "deploy_faults", &user.run_in("team", &["deploy"]));
    shown(&user, "deploy_nothing_here", &user.run(&["deploy"]));
}
