//! The runtime as the launcher of its own sandbox.

use std::collections::BTreeMap;

use muxi_testkit::fake_llm::FakeLlm;
use muxi_tools::sandbox::{ARGUMENT, End, Job, Launcher, Limits, Sandbox};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::harness::{Bundle, Runtime, manifest, program};
use crate::tools::{calling, results};
use crate::turns::ask;

#[tokio::test]
async fn the_runtime_starts_programs_with_few_rights() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "the secret").unwrap();
    let launcher = Launcher {
        program: env!("CARGO_BIN_EXE_formation-runtime").into(),
        arguments: vec![ARGUMENT.into()],
    };
    let root = folder.path().join("jobs");
    let sandbox = Sandbox::new(launcher, root, Vec::new(), Limits::default());
    let secret = folder.path().join("secret").into_os_string();
    let job = Job {
        program: "cat".into(),
        arguments: vec!["--".into(), "-".into(), secret],
        environment: BTreeMap::new(),
        read: Vec::new(),
        stdin: "told\n".into(),
        timeout: None,
        cancelled: CancellationToken::new(),
    };
    let finished = sandbox.run(job).await.unwrap();
    assert_eq!((finished.stdout.text().as_str(), finished.end), ("told\n", End::Exited(1)));
    assert!(finished.stderr.text().contains("Permission denied"), "{finished:?}");
}

/// As the first lines of the readme have it.
#[tokio::test]
async fn scripts_run_though_the_bundle_was_named_by_a_relative_path() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let skill = bundle.path().join("skills/count");
    std::fs::create_dir_all(skill.join("scripts")).unwrap();
    let told = "---\nname: count\ndescription: Counts to a number\n---\nRun `scripts/count.sh`.\n";
    std::fs::write(skill.join("SKILL.md"), told).unwrap();
    std::fs::write(skill.join("scripts/count.sh"), "echo one two three\n").unwrap();
    let run = json!({"skill": "count", "script": "count.sh"});
    llm.script(json!([
        {"match": {"has_tool_result": true}, "reply": {"text": "Three."}},
        {"reply": calling("run_skill", &run)},
    ]));
    let mut command = program();
    command.current_dir(bundle.path()).args([".", "--port", "0", "--data-dir", "data"]);
    command.env("FAKE_BASE_URL", llm.base_url()).env("PATH", "/usr/bin:/bin");
    let runtime = Runtime::start(command);
    ask(&runtime, &json!({"message": "Count"})).await;
    assert!(results(&llm, 1).contains("one two three"), "{}", results(&llm, 1));
}
