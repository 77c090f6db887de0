//! Bundles that are refused, and where keys and secrets come from.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use muxi_testkit::fake_llm::FakeLlm;
use serde_json::Value;

use crate::harness::{Bundle, Runtime, manifest, program};

fn refused(bundle: &Bundle) -> Output {
    let output = program().arg(bundle.path()).args(["--port", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn all_missing_secrets_are_named_at_once() {
    let keys = "{fake: '${{ secrets.FIRST }}', other: '${{ secrets.second-one }}'}";
    let bundle = Bundle::new(&manifest("").replace("{fake: sk-fake}", keys));
    let output = refused(&bundle);
    let (faults, summary) = (text(&output.stderr), text(&output.stdout));
    let lines: Vec<_> = faults.lines().filter(|line| line.contains("is not set")).collect();
    assert_eq!(lines.len(), 2, "{faults}");
    assert!(lines[0].starts_with("formation.afs:7:") && lines[0].contains("`FIRST`"), "{faults}");
    assert!(lines[1].contains("`second-one`"), "{faults}");
    let failed: Vec<_> = summary.lines().filter(|line| line.starts_with("[ FAIL ]")).collect();
    assert_eq!(failed, ["[ FAIL ] the formation has 2 fault(s)"]);
}

#[test]
fn sections_that_are_not_built_and_models_that_cannot_be_reached_are_refused_by_name() {
    let bundle = Bundle::new(&manifest("scheduler: {enabled: true}\n"));
    let faults = text(&refused(&bundle).stderr);
    assert!(faults.contains("scheduler") && faults.contains("formation.afs:12:1:"), "{faults}");

    let bundle = Bundle::new(&manifest("").replace("fake/model-1", "nowhere/model-1"));
    let faults = text(&refused(&bundle).stderr);
    assert!(faults.contains("llm.base_urls.nowhere"), "{faults}");

    let output = program().arg("/no/such/bundle").output().unwrap();
    assert!(text(&output.stderr).contains("does not exist"));
}

#[tokio::test]
async fn secrets_come_from_the_environment_where_there_is_no_vault() {
    let llm = FakeLlm::start().await;
    llm.script(serde_json::json!({"api_key": "sk-from-outside", "rules": []}));
    let bundle =
        Bundle::new(&manifest("").replace("{fake: sk-fake}", "{fake: '${{ secrets.my-key }}'}"));
    let mut command = bundle.command(&llm);
    command.env("MY_KEY", "sk-from-outside");
    let runtime = Runtime::start(command);
    runtime.say("hi").await;
    assert_eq!(llm.journal().len(), 1);
}

#[tokio::test]
async fn generated_keys_are_kept_and_never_logged() {
    let llm = FakeLlm::start().await;
    let without_keys = manifest("").replace("{client_key: fmc_test, admin_key: fma_test}", "{}");
    let bundle = Bundle::new(&without_keys);
    let runtime = bundle.start(&llm);
    let file = bundle.data_dir().join("keys.json");
    assert!(runtime.ok_line.contains(file.to_str().unwrap()), "{}", runtime.ok_line);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let keys: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let admin = keys["admin_key"].as_str().unwrap().to_owned();
    assert!(!runtime.ok_line.contains(&admin));
    runtime.kill9();

    let runtime = bundle.start(&llm);
    let status = runtime.get("/v1/status").header("X-Muxi-Admin-Key", admin).send().await.unwrap();
    assert_eq!(status.status(), 200);
    let memory = bundle.data_dir().join("memory.db");
    assert_eq!(memory.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
