//! Bundles that are refused, and where keys and secrets come from.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, Runtime, manifest, program};

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
    assert_eq!(failed, ["[ FAIL ] the formation has 2 faults"]);
}

#[test]
fn sections_that_are_not_built_and_models_that_cannot_be_reached_are_refused_by_name() {
    let bundle = Bundle::new(&manifest("rbac: {enabled: true}\n"));
    let faults = text(&refused(&bundle).stderr);
    assert!(faults.contains("rbac") && faults.contains("formation.afs:12:1:"), "{faults}");

    let bundle = Bundle::new(&manifest("").replace("fake/model-1", "nowhere/model-1"));
    let faults = text(&refused(&bundle).stderr);
    assert!(faults.contains("llm.base_urls.nowhere"), "{faults}");

    let output = program().arg("/no/such/bundle").output().unwrap();
    assert!(text(&output.stderr).contains("does not exist"));
}

#[test]
fn a_port_that_is_taken_is_told_with_what_to_do_and_nothing_else() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let bundle = Bundle::new(&manifest(""));
    let mut command = program();
    command
        .arg(bundle.path())
        .args(["--port", &port])
        .env("FAKE_BASE_URL", "http://127.0.0.1:1/v1");
    let output = command.output().unwrap();
    let (log, summary) = (text(&output.stderr), text(&output.stdout));
    assert!(summary.contains("choose with --port"), "{summary}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn rules_and_switches_that_fit_no_tool_are_refused_together() {
    let more = "approvals: {rules: [{tool: generate_fle, action: deny}]}
runtime: {built_in_mcps: [recall_histroy]}
";
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(more)));
    let output = bundle.command(&llm).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let faults = text(&output.stderr) + &text(&output.stdout);
    assert!(faults.contains("`generate_fle`; did you mean `generate_file`?"), "{faults}");
    assert!(faults.contains("`recall_histroy`, which is no tool"), "{faults}");
    assert!(faults.contains("did you mean `recall_history`?"), "{faults}");
}

#[tokio::test]
async fn secrets_come_from_the_environment_where_there_is_no_vault() {
    let llm = FakeLlm::start().await;
    llm.script(json!({"api_key": "sk-from-outside", "rules": []}));
    let bundle =
        Bundle::new(&manifest("").replace("{fake: sk-fake}", "{fake: '${{ secrets.my-key }}'}"));
    let mut command = bundle.command(&llm);
    command.env("MY_KEY", "sk-from-outside");
    let runtime = Runtime::start(command);
    runtime.say("hi").await;
    assert_eq!(llm.journal().len(), 1);
}

/// Written by another implementation; what is in them is told in the tests of the vault.
const GOLDEN_KEY: &str = include_str!("../../../shared/vault/tests/golden/key.txt");
const GOLDEN_SECRETS: &str = include_str!("../../../shared/vault/tests/golden/secrets.enc");
const GOLDEN_VALUE: &str = "fma_0123456789";

fn bundle_with_a_vault(key: Option<&str>) -> Bundle {
    let placeholder = "${{ secrets.formation-admin api_key }}";
    let manifest = manifest("")
        .replace("sk-fake", &format!("'{placeholder}'"))
        .replace(ADMIN_KEY, &format!("'{placeholder}'"))
        .replace("Be brief.", &format!("'The word is {placeholder}.', metadata: {{api_key: k-1}}"));
    let bundle = Bundle::new(&manifest);
    std::fs::write(bundle.path().join("secrets.enc"), GOLDEN_SECRETS).unwrap();
    if let Some(key) = key {
        std::fs::write(bundle.path().join(".key"), key).unwrap();
    }
    bundle
}

#[tokio::test]
async fn secrets_come_from_the_vault_and_are_shown_to_nobody() {
    let llm = FakeLlm::start().await;
    llm.script(json!({"api_key": GOLDEN_VALUE, "rules": []}));
    let bundle = bundle_with_a_vault(Some(GOLDEN_KEY));
    let runtime = bundle.start(&llm);
    runtime.say("hi").await;
    let system = llm.journal()[0].body["messages"][0]["content"].clone();
    assert!(system.as_str().unwrap().ends_with("The word is fma_0123456789."), "{system}");
    for path in ["/v1/formation", "/v1/agents", "/v1/agents/helper", "/v1/status"] {
        let request = runtime.get(path).header("X-Muxi-Admin-Key", GOLDEN_VALUE);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        assert!(!text.contains(GOLDEN_VALUE) && !text.contains("k-1"), "{path}: {text}");
        let shows = path != "/v1/status";
        assert_eq!(text.contains("The word is ${{ secrets."), shows, "{path}: {text}");
    }
}

#[test]
fn a_vault_that_does_not_open_says_why() {
    let faults = text(&refused(&bundle_with_a_vault(None)).stderr);
    assert!(faults.contains("secrets.enc is there without its key"), "{faults}");
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let faults = text(&refused(&bundle_with_a_vault(Some(other))).stderr);
    assert!(faults.contains("the key is not the one it was written with"), "{faults}");
}

#[tokio::test]
async fn a_fallback_at_the_same_provider_has_the_models_own_key() {
    let llm = FakeLlm::start().await;
    llm.script(json!({"api_key": "sk-own", "rules": [
        {"match": {"model": "model-1"}, "reply": {"status": 500}},
    ]}));
    let entry = "fake/model-1, api_key: sk-own, settings: {fallback_model: fake/model-2}";
    let bundle = Bundle::new(
        &manifest("").replace("  api_keys: {fake: sk-fake}\n", "").replace("fake/model-1", entry),
    );
    bundle.start(&llm).say("hi").await;
    let asked: Vec<_> = llm.journal().iter().map(|it| it.body["model"].clone()).collect();
    assert_eq!(asked, ["model-1", "model-2"]);
}

#[tokio::test]
async fn a_fallback_on_this_machine_has_its_model_host() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"status": 500}}]));
    let fallback = "{max_retries: 0, fallback_model: local/smollm2-135m-instruct}";
    let bundle = Bundle::new(&manifest("").replace("{max_retries: 0}", fallback));
    let mut command = bundle.command(&llm);
    command.env("MUXI_MODELS_DIR", bundle.path().join("no-models"));
    let runtime = Runtime::start(command);
    let response = runtime.chat(&json!({"message": "hi"})).send().await.unwrap();
    assert_eq!(response.status(), 502);
    let body: Value = response.json().await.unwrap();
    // The host was reached, and says what is amiss.
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("then the fallback") && message.contains("HTTP 503"), "{message}");
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
