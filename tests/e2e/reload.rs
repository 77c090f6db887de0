//! A configuration that is read again while the manager runs: all of it, or nothing.

use std::fs;
use std::process::Output;

use muxi_testkit::daemon::{
    Answer, Daemon, KEY, PATIENCE, SECRET, bundle, now_s, signal, wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::{Value, json};

const NEW_SECRET: &str = "muxi_sk_new_0123456789abcdef0123456789abcdef";

/// Changes the configuration's file.
fn edit(daemon: &Daemon, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(daemon.config_file()).expect("the configuration");
    let mut config: Value = serde_json::from_str(&text).expect("JSON, as the test kit writes it");
    change(&mut config);
    fs::write(daemon.config_file(), config.to_string()).expect("our own file");
}

fn run(daemon: &Daemon, arguments: &[&str]) -> (Output, String) {
    let output = daemon.command().args(arguments).output().expect("the program starts");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output, String::from_utf8(said).expect("text"))
}

async fn status_with(daemon: &Daemon, key: &str, secret: &str) -> Answer {
    Answer::of(daemon.signed_with("GET", "/rpc/server/status", key, secret, now_s())).await
}

#[tokio::test]
async fn a_new_key_counts_at_once_and_a_removed_one_no_longer() {
    let daemon = Daemon::start().await;
    edit(&daemon, |config| {
        config["auth"]["keys"] = json!([{"id": "muxi_pk_new", "secret": NEW_SECRET}]);
        config["logging"] = json!({"level": "debug"});
        config["server"]["port"] = json!(1);
    });
    assert_eq!(status_with(&daemon, KEY, SECRET).await.status, 200, "not before the signal");
    signal(daemon.pid(), Signal::HUP);
    let answer = wait_until(PATIENCE, "the new key is let in", async || {
        let answer = status_with(&daemon, "muxi_pk_new", NEW_SECRET).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(status_with(&daemon, KEY, SECRET).await.status, 401);
    let config = &answer.data()["config"];
    assert_eq!((&config["reloads"], &config["last_reload_ok"]), (&json!(1), &json!(true)));
    let waits = "`server.port` changed from 0 to 1: takes effect after a restart";
    assert_eq!(config["warnings"], json!([waits]));
    wait_until(PATIENCE, "the log says what changed", async || {
        let log = daemon.log();
        let said = log.contains(waits)
            && log.contains("`logging.level` changed from \"info\" to \"debug\"")
            && log.contains("`auth.keys` changed");
        said.then_some(())
    })
    .await;
    assert!(!daemon.log().contains(NEW_SECRET));
}

#[tokio::test]
async fn a_faulty_configuration_changes_nothing_and_all_its_faults_are_named() {
    let mut daemon = Daemon::start().await;
    edit(&daemon, |config| {
        config["auth"]["keys"] = json!([{"id": "", "secret": "s"}]);
        config["logging"] = json!({"level": "loud"});
        config["limits"] = json!({"entries": 0});
    });
    let (output, said) = run(&daemon, &["reload"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for fault in ["every key needs an id", "logging.level must be", "limits.entries must be 1 to"] {
        assert!(said.contains(fault), "{said}");
        assert!(daemon.log().contains(fault), "{}", daemon.log());
    }
    // The old key is let in as before.
    let config = daemon.get("/rpc/server/status").await.data()["config"].clone();
    assert_eq!(config["last_reload_ok"], false);
    assert!(config["warnings"][0].as_str().expect("a line").contains("refused"), "{config}");

    edit(&daemon, |config| {
        config["auth"]["keys"] = json!([{"id": KEY, "secret": SECRET}]);
        config["logging"] = json!({"level": "warn"});
        config["limits"] = json!({});
    });
    let (output, said) = run(&daemon, &["reload"]);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("`logging.level` changed from \"info\" to \"warn\""), "{said}");
    let config = daemon.get("/rpc/server/status").await.data()["config"].clone();
    assert_eq!((&config["reloads"], &config["warnings"]), (&json!(2), &json!([])));
    assert_eq!(daemon.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_reload_neither_opens_the_manager_to_the_network_nor_locks_everybody_out() {
    let config = json!({"server": {"host": "0.0.0.0"}});
    let daemon = Daemon::builder().config(config).start().await;
    for (host, auth, fault) in [
        // Fine as a file, but the socket stays where it is.
        ("127.0.0.1", json!({"enabled": false}), "auth.enabled is false, but server.host can be"),
        ("0.0.0.0", json!({"keys": []}), "no key is usable"),
        (
            "0.0.0.0",
            json!({"keys": [{"id": "old", "secret": SECRET, "expires": "2020-01-01T00:00:00Z"}]}),
            "no key is usable",
        ),
    ] {
        edit(&daemon, |config| {
            config["server"]["host"] = json!(host);
            config["auth"] = auth;
        });
        let (output, said) = run(&daemon, &["reload"]);
        assert!(output.status.code() == Some(1) && said.contains(fault), "{said}");
        let unsigned = Answer::of(daemon.unsigned("GET", "/rpc/server/status")).await;
        assert_eq!(unsigned.status, 401);
        assert_eq!(daemon.get("/rpc/server/status").await.status, 200);
    }
    // A key that is stored is one, too.
    let (output, said) = run(&daemon, &["keys", "add", "--role", "admin"]);
    assert!(output.status.success(), "{said}");
    let (output, said) = run(&daemon, &["reload"]);
    assert!(output.status.success() && said.contains("`auth.keys` changed"), "{said}");
    assert_eq!(daemon.get("/rpc/server/status").await.status, 401);
}

#[tokio::test]
async fn limits_and_defaults_of_formations_count_from_the_next_use() {
    let config = json!({"limits": {"formations": 1}});
    let (daemon, llm) = (Daemon::builder().config(config).start().await, FakeLlm::start().await);
    daemon.deploy_formation("one", &llm.base_url()).await;
    let refused = daemon.deploy(bundle("two", &llm.base_url())).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    edit(&daemon, |config| {
        config["limits"] = json!({"formations": 2});
        config["formations"]["max_restarts"] = json!(1);
        config["proxy"] = json!({"cors": {"allow_origins": ["https://here.example"]}});
        config["server"]["trusted_proxies"] = json!(["127.0.0.1"]);
    });
    let (output, said) = run(&daemon, &["reload"]);
    assert!(output.status.success(), "{said}");
    for key in ["limits.formations", "formations.max_restarts", "server.trusted_proxies"] {
        assert!(said.contains(key), "{said}");
    }
    assert!(!said.contains("after a restart"), "{said}");
    daemon.deploy_formation("two", &llm.base_url()).await;

    let from = |origin: &str| {
        let request = daemon.unsigned("GET", "/api/one/health").header("origin", origin);
        Answer::of(request)
    };
    let allowed = |answer: &Answer| answer.headers.get("access-control-allow-origin").is_some();
    assert!(allowed(&from("https://here.example").await));
    assert!(!allowed(&from("https://elsewhere.example").await));

    // A formation that was started before obeys the new count of deaths, too.
    for _ in 0..2 {
        let pid = daemon.instance_pid("one").await;
        signal(pid, Signal::KILL);
        wait_until(PATIENCE, "its death is seen", async || {
            (daemon.view("one").await["pid"] != pid).then_some(())
        })
        .await;
    }
    daemon.wait_status("one", "crash_loop").await;
}

#[tokio::test]
async fn the_commands_find_the_manager_by_its_data_folder() {
    let mut daemon = Daemon::builder().install();
    for command in ["reload", "stop"] {
        let (output, said) = run(&daemon, &[command]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains("no manager runs on"), "{said}");
    }
    daemon.start_again().await;
    let (output, said) = run(&daemon, &["reload"]);
    assert!(output.status.success() && said.contains("nothing changed"), "{said}");
    // One that was killed does not count as running, whatever it left.
    daemon.kill9();
    let (output, said) = run(&daemon, &["stop"]);
    assert!(!output.status.success() && said.contains("no manager runs on"), "{said}");

    daemon.start_again().await;
    let (output, said) = run(&daemon, &["stop"]);
    assert!(output.status.success() && said.contains("has ended"), "{said}");
    assert!(daemon.ended().await.success());
}
