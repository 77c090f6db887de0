//! `init`, `start` and `config show` as an operator meets them, and where secrets do not show.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use muxi_testkit::daemon::{Answer, CLIENT_KEY, Daemon, SECRET, now_s};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;

/// An installation without a configuration.
fn bare() -> Daemon {
    let daemon = Daemon::builder().install();
    fs::remove_file(daemon.config_file()).expect("our own file");
    daemon
}

fn run(mut command: Command, arguments: &[&str]) -> Output {
    command.args(arguments).output().expect("the program starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it said when it refused.
#[track_caller]
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!out(output).contains("listens on"), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write_config(daemon: &Daemon, text: &str) {
    fs::write(daemon.config_file(), text).expect("our own folder");
}

#[tokio::test]
async fn init_makes_a_private_configuration_once_and_its_key_works() {
    let mut daemon = bare();
    let said = refusal(&run(daemon.command(), &["start"]));
    assert!(said.contains("muxi-server init"), "{said}");
    assert!(!daemon.data_dir().exists(), "a refused start touches nothing");

    let made = run(daemon.command(), &["init", "--non-interactive", "--port", "0"]);
    assert!(made.status.success(), "{made:?}");
    let word = |name: &str| {
        let text = out(&made);
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line").trim();
        line.to_owned()
    };
    let (key, secret) = (word("Key ID:"), word("Secret key:"));
    let permissions = fs::metadata(daemon.config_file()).expect("the file").permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);

    let before = fs::read(daemon.config_file()).expect("the file");
    let said = refusal(&run(daemon.command(), &["init", "--non-interactive"]));
    assert!(said.contains("exists and is left as it is"), "{said}");
    assert_eq!(fs::read(daemon.config_file()).expect("the file"), before);

    let shown = run(daemon.command(), &["config", "show"]);
    assert!(shown.status.success());
    assert!(out(&shown).contains(&key) && !out(&shown).contains(&secret), "{}", out(&shown));
    let dumped = run(daemon.command(), &["start", "--dump-config"]);
    assert!(out(&dumped).contains("bundle_bytes") && !out(&dumped).contains(&secret));

    daemon.start_again().await;
    let request = daemon.signed_with("GET", "/rpc/formations", &key, &secret, now_s());
    assert_eq!(Answer::of(request).await.status, 200);
    assert!(!daemon.log().contains(&secret));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let daemon = bare();
    let key = "auth: {keys: [{id: k, secret: s}]}\n";
    for (text, words) in [
        (format!("{key}server: {{prot: 1}}"), vec!["prot"]),
        (format!("{key}nonsense: 1"), vec!["nonsense"]),
        (format!("{key}server: [1"), vec!["config.yaml"]),
        (
            format!("{key}formations: {{port_range_start: 9, bind_host: here}}"),
            vec!["port_range_start", "bind_host"],
        ),
        (
            "auth: {keys: []}\nserver: {port: 0}".to_owned(),
            vec!["muxi-server keys add", "auth.keys"],
        ),
        (
            "auth: {enabled: false}\nserver: {host: 0.0.0.0}".to_owned(),
            vec!["auth.enabled is false", "other machines"],
        ),
    ] {
        write_config(&daemon, &text);
        let said = refusal(&run(daemon.command(), &["start"]));
        for word in words {
            assert!(said.contains(word), "{text}: {said}");
        }
    }
    // Nor by a flag.
    write_config(&daemon, "auth: {enabled: false}");
    let said = refusal(&run(daemon.command(), &["start", "--host", "0.0.0.0", "--port", "0"]));
    assert!(said.contains("auth.enabled is false"), "{said}");
}

#[tokio::test]
async fn a_data_folder_has_one_manager() {
    let daemon = Daemon::start().await;
    let said = refusal(&run(daemon.command(), &["start", "--port", "0"]));
    assert!(said.contains("another manager works on"), "{said}");
    assert_eq!(daemon.get("/rpc/formations").await.status, 200);

    // A port has one, too.
    let other = Daemon::builder().install();
    let port = daemon.url().rsplit(':').next().expect("a port").to_owned();
    let said = refusal(&run(other.command(), &["start", "--port", &port]));
    assert!(said.contains(&port) && said.contains("another manager"), "{said}");
}

#[tokio::test]
async fn no_secret_shows_in_any_process_or_log() {
    let daemon = Daemon::builder().environment("UNRELATED_SECRET", "sk-unrelated").start().await;
    let llm = FakeLlm::start().await;
    daemon.deploy_formation("hello", &llm.base_url()).await;
    let mut pids = daemon.processes();
    assert_eq!(pids.len(), 2, "the instance and its log writer");
    for pid in &pids {
        let environment = fs::read(format!("/proc/{pid}/environ")).expect("our own process");
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(!environment.contains("UNRELATED"), "an instance sees only what it is given");
    }
    pids.push(daemon.pid());
    for pid in pids {
        for file in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{pid}/{file}")).expect("our own process");
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(!text.contains(SECRET) && !text.contains(CLIENT_KEY), "{pid}/{file}: {text}");
        }
    }
    let logs = fs::read_dir(daemon.data_dir().join("logs/hello")).expect("logs");
    let mut texts: Vec<_> = logs
        .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("text"))
        .collect();
    assert!(texts.iter().any(|text| !text.is_empty()), "the instance logs");
    texts.push(daemon.log());
    for text in texts {
        assert!(!text.contains(SECRET) && !text.contains(CLIENT_KEY), "{text}");
    }
    let folder = fs::metadata(daemon.data_dir()).expect("the folder").permissions().mode();
    assert_eq!(folder & 0o076, 0, "nobody else can list the data folder");
    for entry in fs::read_dir(daemon.data_dir()).expect("the folder").flatten() {
        let mode = entry.metadata().expect("an entry").permissions().mode();
        // Users of formations pass the folders above their own.
        let passed = ["formations", "run"].iter().any(|name| entry.file_name() == *name);
        let others = if passed { 0o076 } else { 0o077 };
        assert_eq!(mode & others, 0, "{} is the operator's own", entry.path().display());
    }
    assert_eq!(daemon.get("/rpc/formations").await.data()["total"], json!(1));
}

#[test]
fn what_the_environment_sets_is_shown_and_checked_as_a_start_would() {
    let open = Daemon::builder().environment("MUXI_PORT", "1234").environment("MUXI_HOST", "::");
    let daemon = open.config(json!({"auth": {"enabled": false}})).install();
    let said = refusal(&run(daemon.command(), &["config", "check"]));
    assert!(said.contains("auth.enabled is false, but server.host"), "{said}");
    let mut command = daemon.command();
    command.env_remove("MUXI_HOST");
    let shown = out(&run(command, &["config", "show"]));
    assert!(shown.contains("port: 1234\n"), "{shown}");
}
