//! A backup taken under load, and what comes back of it after everything is gone.

use std::fs;
use std::process::Command;

use muxi_testkit::daemon::{Daemon, PATIENCE, bundle, signal, wait_until};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::Value;

/// Runs the manager's program to its end; its output, if it was a success.
fn run(daemon: &Daemon, arguments: &[&str]) -> Result<String, String> {
    let mut command: Command = daemon.command();
    let output = command.args(arguments).current_dir(daemon.scratch()).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON was asked for")
}

#[tokio::test]
async fn a_formation_comes_back_with_its_history_port_and_keys() {
    let (mut daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    daemon.deploy_formation("other", &llm.base_url()).await;
    assert_eq!(daemon.post("/rpc/formations/other/stop").await.status, 200);
    for message in ["one", "two"] {
        assert_eq!(formation.say(message).await.status, 200);
    }

    // Taken while chats, deploys and deletes go on.
    let file = daemon.scratch().join("backup.tar.gz");
    let mut backup = daemon.command();
    backup.args(["backup", "--json", "--include-config", "--output"]).arg(&file);
    let mut backup = tokio::task::spawn_blocking(move || backup.output().expect("it runs"));
    let mut rounds = 0;
    let output = loop {
        assert_eq!(formation.say_in("busy", "again").await.status, 200);
        let deployed = daemon.deploy(bundle("brief", &llm.base_url())).await;
        assert_eq!(deployed.status, 201, "{deployed:?}");
        assert_eq!(daemon.delete("/rpc/formations/brief").await.status, 200);
        rounds += 1;
        if backup.is_finished() {
            break (&mut backup).await.expect("it ends");
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = json(&String::from_utf8_lossy(&output.stdout));
    println!("{rounds} rounds meanwhile: {told}");
    assert_eq!(told["left_out"], Value::Array(Vec::new()));
    let key = fs::read(daemon.config_file()).expect("the configuration");

    // Everything goes: the manager, the processes, the folder.
    daemon.kill9();
    let refused =
        run(&daemon, &["restore", "backup.tar.gz", "--force"]).expect_err("one still runs");
    assert!(refused.contains("still run"), "{refused}");
    for pid in daemon.processes() {
        signal(pid, Signal::KILL);
    }
    wait_until(PATIENCE, "all are gone", async || daemon.processes().is_empty().then_some(()))
        .await;
    fs::remove_dir_all(daemon.data_dir()).expect("it is ours");
    let restored = run(&daemon, &["restore", "backup.tar.gz"]).expect("a restore");
    println!("{restored}");
    assert!(restored.contains(&format!("is started on port {}", formation.port)), "{restored}");
    assert!(restored.contains("stays stopped"), "{restored}");
    assert_eq!(fs::read(daemon.config_file()).expect("the configuration"), key);
    assert!(daemon.config_file().with_file_name("config.yaml.restored").exists());

    daemon.start_again().await;
    let view = daemon.wait_status("hello", "running").await;
    assert_eq!(view["port"], formation.port);
    let texts = formation.transcript().await;
    assert_eq!(texts, ["one", "fake model: one", "two", "fake model: two"]);
    assert_eq!(formation.say("three").await.status, 200);
    assert_eq!(daemon.view("other").await["status"], "stopped");
    assert_eq!(daemon.post("/rpc/formations/other/start").await.status, 200);
    // Nothing of what was deleted meanwhile is left, and everything can be deleted as ever.
    let known = daemon.get("/rpc/formations").await.data()["formations"].clone();
    for known in known.as_array().expect("a list") {
        let path = format!("/rpc/formations/{}", known["id"].as_str().expect("an id"));
        wait_until(PATIENCE, "it is deleted", async || {
            (daemon.delete(&path).await.status == 200).then_some(())
        })
        .await;
    }
    assert!(!daemon.files_left().iter().any(|it| it.starts_with("formations/") && it.len() > 11));
    assert_eq!(daemon.leased_ports(), [0u16; 0]);
}

#[tokio::test]
async fn a_restore_replaces_what_is_there_only_when_it_may() {
    let (mut daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    assert_eq!(formation.say("one").await.status, 200);
    daemon.deploy_formation("other", &llm.base_url()).await;
    run(&daemon, &["backup", "--formation", "hello", "--output", "one.tar.gz"]).expect("a backup");
    let refused = run(&daemon, &["backup", "--output", "one.tar.gz"]).expect_err("it exists");
    assert!(refused.contains("--output"), "{refused}");
    let refused = run(&daemon, &["restore", "one.tar.gz", "--force"]).expect_err("a manager runs");
    assert!(refused.contains("muxi-server stop"), "{refused}");

    assert_eq!(formation.say("two").await.status, 200);
    daemon.terminate().await;
    let refused = run(&daemon, &["restore", "one.tar.gz"]).expect_err("the folder is not empty");
    assert!(refused.contains("--force"), "{refused}");
    let restored =
        run(&daemon, &["restore", "one.tar.gz", "--force", "--json"]).expect("a restore");
    let aside = json(&restored)["moved_aside"].as_str().expect("a folder").to_owned();
    assert!(fs::metadata(format!("{aside}/formations/other")).is_ok());

    daemon.start_again().await;
    daemon.wait_status("hello", "running").await;
    assert_eq!(formation.transcript().await, ["one", "fake model: one"]);
    assert_eq!(daemon.get("/rpc/formations").await.data()["total"], 1);
    assert!(fs::metadata(format!("{aside}/formations/other")).is_ok(), "the start left it alone");

    // A restore that was cut off keeps managers away.
    daemon.terminate().await;
    fs::write(daemon.data_dir().join("restore-unfinished"), "").expect("our own folder");
    let refused = run(&daemon, &["start"]).expect_err("half a data folder");
    assert!(refused.contains("interrupted"), "{refused}");
    run(&daemon, &["restore", "one.tar.gz", "--force"]).expect("a restore");
    daemon.start_again().await;
    daemon.wait_status("hello", "running").await;
}
