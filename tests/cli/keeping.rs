//! What is kept for a user: never lost, never shown to others, and read however it was written.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use muxi_testkit::daemon::{ADMIN_KEY, Daemon, KEY, SECRET, manifest};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;

use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

fn kept(user: &User, name: &str) -> String {
    std::fs::read_to_string(user.home().join(".muxi/cli").join(name)).expect("a file")
}

fn mode(path: &std::path::Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

#[test]
fn keys_that_are_added_one_by_one_are_all_kept() {
    let user = User::new();
    let first =
        ["formations", "add", "team", "--client-key", "fmc_1", "--profile", "p", "--user", "ada"];
    shown(&user, "formations_add_client_key", &user.run(&first));
    let second = ["formations", "add", "team", "--admin-key", "fma_1"];
    shown(&user, "formations_add_admin_key", &user.run(&second));
    let text = kept(&user, "formations.yaml");
    for it in ["fmc_1", "fma_1", "default_profile: p", "default_user_id: ada"] {
        assert!(text.contains(it), "{it}: {text}");
    }
}

#[test]
fn commands_at_the_same_time_lose_nothing_of_each_other() {
    let user = User::new();
    let add = |name: &str| {
        let profile = ["--url", "http://127.0.0.1:9", "--key-id", "k", "--secret-key", "s"];
        user.run(&[&["profiles", "add", name], &profile[..]].concat())
    };
    std::thread::scope(|scope| {
        for at in 0..8 {
            let add = &add;
            scope.spawn(move || assert_eq!(add(&format!("p{at}")).code, 0));
        }
    });
    assert_eq!(kept(&user, "profiles.yaml").matches("url:").count(), 8);
}

#[test]
fn whoever_could_read_a_file_of_keys_cannot_any_more() {
    let user = User::new();
    let file = user.home().join("dotfiles/profiles.yaml");
    user.write_home("dotfiles/profiles.yaml", "version: '1.0'\nprofiles: {}\n");
    user.write_home(".muxi/cli/defaults.yaml", "version: '1.0'\n");
    let link = user.home().join(".muxi/cli/profiles.yaml");
    symlink(&file, &link).expect("a link");
    let one = ["profiles", "add", "p", "--url", "http://127.0.0.1:9", "--key-id", "k"];
    assert_eq!(user.run(&[&one[..], &["--secret-key", "s3cret"]].concat()).code, 0);
    assert!(link.is_symlink() && mode(&file) == 0o600, "{:o}", mode(&file));
    assert!(std::fs::read_to_string(&file).expect("a file").contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_that_is_meant_is_found_or_asked_for() {
    let daemon = Daemon::start().await;
    let user = User::new();
    let one = |url: &str| format!("{{url: '{url}', key_id: {KEY}, secret_key: {SECRET}}}");
    let (dead, live) = (one("http://127.0.0.1:9"), one(daemon.url()));
    user.write_home(
        ".muxi/cli/profiles.yaml",
        &format!("version: '1.0'\ndefault: live\ndefault_profile: live\nservers:\n  live: {live}\nprofiles:\n  dead: {dead}\n"),
    );
    assert_eq!(user.run(&["remote", "list"]).code, 0);
    user.write_home(
        ".muxi/cli/profiles.yaml",
        &format!("version: '1.0'\nprofiles:\n  live: {live}\n  dead: {dead}\n"),
    );
    shown(&user, "profile_ambiguous", &user.run(&["remote", "list"]));
    let local = format!(
        "server: {{host: 127.0.0.1, port: {}}}\nauth: {{keys: [{{id: {KEY}, secret: {SECRET}}}]}}\n",
        daemon.url().rsplit(':').next().expect("a port")
    );
    user.write_home(".muxi/server/config.yaml", &local);
    assert_eq!(user.run(&["set", "default", "profile", "local"]).code, 0);
    let listed = user.run(&["profiles", "list", "--json"]).json();
    let default =
        listed["profiles"].as_array().expect("a list").iter().find(|it| it["default"] == true);
    assert_eq!(default.expect("one")["name"], "local");
    assert_eq!(user.run(&["remote", "list"]).code, 0);

    // The folder that is deployed says where to, not the one where the command is given.
    user.write("team/formation.afs", &manifest("team", "http://127.0.0.1:9"));
    user.write("team/.muxi", "profile: live\n");
    assert_eq!(user.run(&["set", "default", "profile", "dead"]).code, 0);
    let deployed = user.run(&["deploy", "team"]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    let kept = ["formations", "add", "team", "--admin-key", ADMIN_KEY, "--profile", "live"];
    assert_eq!(user.run(&kept).code, 0);
    assert_eq!(user.run(&["logs", "team"]).code, 0);
    shown(&user, "restart_unknown", &user.run(&["restart", "nobody", "-p", "live"]));
}

/// A formation that makes its keys itself, whose draft runs with another manager than the usual one.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_spoken_to_where_it_runs_and_with_its_own_keys() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"text": "Hello!"}}]));
    let user = User::new();
    let daemon = Daemon::builder()
        .config(json!({"dev": {"enabled": true, "roots": [user.work()]}}))
        .start()
        .await;
    user.knows(&daemon);
    let port = daemon.url().rsplit(':').next().expect("a port").to_owned();
    let profiles = kept(&user, "profiles.yaml").replace(daemon.url(), "http://127.0.0.1:9");
    user.write_home(".muxi/cli/profiles.yaml", &profiles);
    let user = user.with("MUXI_DATA_DIR", &daemon.data_dir().display().to_string());
    let text = manifest("team", &llm.base_url());
    let keys = text.lines().find(|it| it.contains("api_keys: {client_key")).expect("a line");
    user.write("team/formation.afs", &text.replace(&format!("{keys}\n"), ""));
    let live = user.run_in("team", &["deploy"]);
    assert_eq!(live.code, 3, "nobody is at the usual address: {live:?}");
    let up = user.run_in("team", &["up", "--port", &port]);
    assert_eq!(up.code, 0, "{up:?}");
    let said = user.run_in("team", &["chat", "Hi"]);
    assert!(said.code == 0 && said.out.contains("Hello!"), "{said:?}");
    let down = user.run_in("team", &["down"]);
    assert_eq!(down.code, 0, "{down:?}");
    assert!(!user.work().join("team/.muxi").exists());

    // In a home folder, the name of the folder's settings is taken.
    user.write("team/.muxi/cli/profiles.yaml", "");
    let up = user.run_in("team", &["up", "--port", &port]);
    assert_eq!(up.code, 0, "{up:?}");
    assert_eq!(user.run_in("team", &["chat", "Hi"]).code, 0);
    assert_eq!(user.run_in("team", &["down"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_leaves_the_secrets_that_only_the_folder_has() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"text": "Hello!"}}]));
    let daemon = Daemon::start().await;
    let user = User::of(&daemon);
    user.write("team/formation.afs", &manifest("team", &llm.base_url()));
    assert_eq!(user.run_in("team", &["secrets", "set", "THEIRS", "one"]).code, 0);
    assert_eq!(user.run_in("team", &["deploy"]).code, 0);
    assert_eq!(user.run_in("team", &["chat", "Hi"]).code, 0);
    assert_eq!(user.run_in("team", &["secrets", "set", "MINE", "precious"]).code, 0);
    let inode = |path: &str| user.work().join(path).metadata().expect("it is there").ino();
    let before = inode("team/formation.afs");
    shown(&user, "download_over_secrets", &user.run_in("team", &["download", "--force"]));
    let mine = user.run_in("team", &["secrets", "get", "MINE"]);
    assert!(mine.code == 0 && mine.out.contains("precious"), "{mine:?}");
    let whole = ["download", "--force", "--include-db", "--output", "."];
    let whole = user.run_in("team", &whole);
    assert_eq!(whole.code, 0, "{whole:?}");
    assert_ne!(inode("team/formation.afs"), before);
    let entries = std::fs::read_dir(user.work().join("team")).expect("a folder");
    let databases = entries.map(|it| it.expect("an entry").path()).filter(|it| {
        let name = it.file_name().expect("a name").to_string_lossy().into_owned();
        name.contains(".db") || name.contains(".sqlite")
    });
    let modes: Vec<u32> = databases.map(|it| mode(&it)).collect();
    assert!(!modes.is_empty() && modes.iter().all(|it| *it == 0o600), "{modes:?}");
}

#[test]
fn what_cannot_be_written_is_no_success() {
    let user = User::new();
    let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
    let mut command = user.command("", &["completions", "bash"]);
    let ran = Ran::of(command.stdout(full).output().expect("the program starts"));
    assert!(ran.code == 1 && ran.err.contains("No space left"), "{ran:?}");
}

#[test]
fn scripts_always_read_one_document() {
    let user = User::new();
    shown(&user, "json_usage", &user.run(&["--json", "nosuch"]));
    shown(&user, "json_flag_unknown", &user.run(&["chat", "--badflag", "--json"]));
    let always = User::new().with("MUXI_OUTPUT_FORMAT", "json");
    let listed = always.run(&["profiles", "list"]);
    assert_eq!(listed.json(), json!({"profiles": []}));
    let wrong = User::new().with("MUXI_OUTPUT_FORMAT", "yaml");
    shown(&wrong, "output_format_unknown", &wrong.run(&["profiles", "list"]));
    let help = user.run(&["help", "deploy"]);
    assert!(help.code == 0 && help.out.contains("--dry-run"), "{help:?}");
    let version = user.run(&["version"]);
    assert!(version.code == 0 && version.out.starts_with("muxi "), "{version:?}");
}
