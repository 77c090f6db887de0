//! What is looked at from the user's side, and the small verbs beside it.

use std::os::unix::fs::PermissionsExt as _;

use muxi_testkit::daemon::{CLIENT_KEY, Daemon, bundle_with, manifest};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;

use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

fn private(user: &User, mode: u32) {
    let file = user.home().join(".muxi/cli/profiles.yaml");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("our own file");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_and_what_is_not_is_told_with_its_mend() {
    let nobody = User::new();
    shown(&nobody, "doctor_empty_home", &nobody.run(&["doctor"]));

    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    llm.script(json!([
        {"match": {"contains": "Fail"}, "reply": {"status": 401}},
        {"reply": {"text": "Hello!"}},
    ]));
    let user = User::of(&daemon);
    private(&user, 0o644);
    let text = manifest("team", &llm.base_url());
    user.write("team/formation.afs", &text);
    shown(&user, "doctor_open_files_nothing_deployed", &user.run_in("team", &["doctor"]));
    private(&user, 0o600);
    assert_eq!(daemon.deploy(bundle_with("team", &text)).await.status, 201);
    shown(&user, "doctor_deployed", &user.run_in("team", &["doctor"]));
    assert_eq!(user.run_in("team", &["chat", "Hi"]).code, 0);
    shown(&user, "doctor_healthy", &user.run_in("team", &["doctor"]));
    assert_eq!(user.run_in("team", &["chat", "Fail"]).code, 1);
    shown(&user, "doctor_model_fails", &user.run_in("team", &["doctor"]));
    let told = user.run_in("team", &["doctor", "--json"]);
    assert_eq!((told.code, &told.json()["healthy"]), (1, &json!(false)), "{told:?}");

    user.write("team/formation.afs", &text.replace(CLIENT_KEY, "fmc_other"));
    shown(&user, "doctor_client_key_refused", &user.run_in("team", &["doctor"]));
    user.write("team/formation.afs", "schema: '1.0.0'\nid: team\nagents: 5\n");
    shown(&user, "doctor_faults", &user.run_in("team", &["doctor"]));
    let secret = text.replace("2.1.0", "2.2.0") + "overlord: {soul: '${{ secrets.TONE }}'}\n";
    user.write("team/formation.afs", &secret);
    shown(&user, "doctor_secrets_missing", &user.run_in("team", &["doctor"]));

    let user = user
        .with("MUXI_SERVER_URL", daemon.url())
        .with("MUXI_KEY_ID", "other")
        .with("MUXI_SECRET_KEY", "wrong");
    shown(&user, "doctor_key_refused", &user.run(&["doctor"]));
}

#[test]
fn shells_get_completions_of_every_verb() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = user.run(&["completions", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        for word in ["chat", "deploy", "--no-stream"] {
            assert!(ran.out.contains(word.trim_start_matches('-')), "{shell} knows no {word}");
        }
    }
    shown(&user, "completions_unknown", &user.run(&["completions", "tcsh"]));
    let version = user.run(&["--version"]);
    assert_eq!(
        (version.code, version.out.as_str()),
        (0, concat!("muxi ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}
