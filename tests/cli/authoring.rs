//! From nothing to a formation that is sound: new, validate, bump.

use muxi_testkit::daemon::Daemon;

use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

#[test]
fn a_formation_is_made_with_all_its_pieces_and_is_sound() {
    let user = User::new();
    shown(&user, "new_formation", &user.run(&["new", "formation", "my-team"]));
    shown(&user, "new_formation_again", &user.run(&["new", "formation", "my-team"]));
    shown(&user, "new_formation_bad_name", &user.run(&["new", "formation", "My Team"]));
    shown(&user, "new_manifest", &user.read("my-team/formation.afs"));
    shown(&user, "validate_new", &user.run_in("my-team", &["validate"]));
    shown(&user, "new_agent", &user.run_in("my-team", &["new", "agent", "critic"]));
    shown(&user, "new_agent_again", &user.run_in("my-team", &["new", "agent", "critic"]));
    shown(&user, "new_mcp_unsaid", &user.run_in("my-team", &["new", "mcp", "files"]));
    let mcp = ["new", "mcp", "files", "--command", "mcp-server-filesystem", "--arg", "/srv/papers"];
    shown(&user, "new_mcp", &user.run_in("my-team", &mcp));
    shown(&user, "new_sop", &user.run_in("my-team", &["new", "sop", "review"]));
    shown(&user, "new_trigger", &user.run_in("my-team", &["new", "trigger", "alert"]));
    shown(&user, "new_skill", &user.run_in("my-team/agents", &["new", "skill", "tables"]));
    shown(&user, "new_skill_bad_name", &user.run_in("my-team", &["new", "skill", "My Tables"]));
    shown(&user, "new_nowhere", &user.run(&["new", "agent", "critic"]));
    shown(&user, "validate_all_pieces", &user.run_in("my-team", &["validate", "--verbose"]));
    let document = user.run(&["validate", "my-team", "--json"]).json();
    assert_eq!((&document["valid"], &document["id"]), (&true.into(), &"my-team".into()));
    assert_eq!(document["tools"].as_array().map(Vec::len), Some(2), "{document}");
}

#[test]
fn a_provider_is_chosen_and_its_key_is_missed_until_it_is_set() {
    let user = User::new();
    let made = user.run(&[
        "new",
        "formation",
        "experts",
        "--model",
        "openai/gpt-4o-mini",
        "--template",
        "team",
    ]);
    shown(&user, "new_formation_of_provider", &made);
    shown(&user, "validate_secret_missing", &user.run_in("experts", &["validate"]));
    shown(
        &user,
        "new_formation_bad_model",
        &user.run(&["new", "formation", "others", "--model", "gpt-4o"]),
    );
    let set = user.run_in("experts", &["secrets", "set", "openai-api-key", "sk-test"]);
    assert_eq!(set.code, 0, "{set:?}");
    let sound = user.run_in("experts", &["validate"]);
    assert!(sound.code == 0 && sound.err.is_empty() && !sound.out.contains("warning"), "{sound:?}");
}

#[test]
fn faults_are_told_in_place_with_their_mends() {
    let user = User::new();
    let text = "schema: '1.0.0'\nid: team\ndescription: For tests\nllm:\n  models:\n    - text: openai/gpt-4o\n  setings: {}\nagents:\n  - helper\n  - nobody\n";
    user.write("team/formation.afs", text);
    user.write("team/agents/helper.afs", "schema: '1.0.0'\nid: helper\ndescription: Helps\nknowledge:\n  sources:\n    - path: knowledge/faq\nrole: 5\n");
    shown(&user, "validate_faults", &user.run(&["validate", "team"]));
    let ran = user.run(&["validate", "team", "--json"]);
    assert_eq!((ran.code, &ran.json()["valid"]), (1, &false.into()));
    assert_eq!(user.run(&["new", "formation", "locked"]).code, 0);
    user.write("locked/.key", "not a key");
    shown(&user, "validate_secrets_locked", &user.run(&["validate", "locked"]));
    user.write("team/formation.afs", "a: [\n");
    shown(&user, "validate_no_yaml", &user.run(&["validate", "team"]));
    shown(&user, "validate_nothing_here", &user.run(&["validate", "elsewhere"]));
}

#[test]
fn a_version_is_raised_and_nothing_else_changes() {
    let user = User::new();
    user.write("formation.afs", "# mine\nid: team\nversion: '1.2.3' # first\n");
    shown(&user, "bump_patch", &user.run(&["bump"]));
    shown(&user, "bump_minor", &user.run(&["bump", "minor"]));
    shown(&user, "bump_set", &user.run(&["bump", "--set", "3.0.0-rc.1"]));
    shown(&user, "bump_set_wrong", &user.run(&["bump", "--set", "three"]));
    assert_eq!(user.read("formation.afs").out, "# mine\nid: team\nversion: '3.0.0-rc.1' # first\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_is_deployed_at_once() {
    let daemon = Daemon::start().await;
    let user = User::of(&daemon);
    let made = user.run(&["new", "formation", "first-hour", "--no-wizard"]);
    assert_eq!(made.code, 0, "{made:?}");
    // The embedded model answers slowly where it runs at all; that it serves is what counts here.
    shown(&user, "new_formation_deployed", &user.run_in("first-hour", &["deploy"]));
}
