//! A formation's committed cases.

use std::path::Path;

use muxi_formation::{PackOptions, pack};
use muxi_testkit::daemon::{Daemon, manifest};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::chat::{deletes, deployed, tools};
use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || {
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(r"\b\d+\.\ds\b", "[time]");
        settings.add_filter(r"\d+\.\d s\b", "[n] s");
        settings.bind(|| insta::assert_snapshot!(name, ran.shown()));
    });
}

/// A CI system that gives up leaves neither a process nor a copy of the secrets behind.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_ends_the_command_ends_its_formation() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"chunks": ["Once ", "upon"], "stall_after_chunks": 1}}]));
    let scratch = tempfile::tempdir().expect("a folder");
    let user = User::new().with("TMPDIR", &scratch.path().display().to_string());
    user.write("team/formation.afs", &manifest("team", &llm.base_url()));
    user.write("team/evals/one.yaml", "- {name: a, message: Hi, expect: {contains: x}}\n");
    let mut child = user
        .command("team", &["eval", "--model", "fake/other"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    llm.wait_for(1, None).await;
    muxi_testkit::daemon::signal(child.id(), rustix::process::Signal::TERM);
    assert_eq!(child.wait().expect("our own child").code(), Some(130));
    llm.wait_for(1, Some(muxi_testkit::fake_llm::Outcome::ClientGone)).await;
    let left = std::fs::read_dir(scratch.path()).expect("a folder").count();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_pass_and_fail_with_their_reasons() {
    let llm = FakeLlm::start().await;
    llm.script(deletes());
    let (_daemon, user) = deployed(&llm, &tools()).await;
    shown(&user, "eval_none", &user.run_in("team", &["eval"]));
    let cases = "\
- name: asks before it deletes
  message: Delete it
  expect: {approval: ask, tool_not_called: delete, agent: helper}
- name: deletes after a yes
  turns: [Delete it, 'yes']
  expect: {tool_called: delete, contains: so it is, approval: none}
- name: knows no other words
  message: Hello
  expect:
    contains: [Hello, Ada]
    regex: '^\\w+!$'
    json_schema: {type: object}
    tool_called: echo
";
    user.write("team/evals/delete.yaml", cases);
    shown(&user, "eval_mixed", &user.run_in("team", &["eval", "--junit", "out/junit.xml"]));
    let junit = std::fs::read_to_string(user.work().join("team/out/junit.xml")).expect("written");
    assert!(junit.contains("tests=\"3\"") && junit.contains("failures=\"1\""), "{junit}");
    assert!(junit.contains("classname=\"evals/delete.yaml\""), "{junit}");
    let filtered = ["eval", "--filter", "deletes", "--repeat", "3", "--parallel", "2"];
    shown(&user, "eval_repeated", &user.run_in("team", &filtered));
    shown(&user, "eval_filter_none", &user.run_in("team", &["eval", "--filter", "nothing"]));
    let document = user.run(&["eval", "team", "--json", "--filter", "other words"]);
    assert_eq!((document.code, &document.json()["failed"]), (1, &json!(1)), "{document:?}");
    // Each run has a session of its own and a user that nobody else is.
    let run = &document.json()["cases"][0]["runs"][0];
    assert!(run["session_id"].is_string() && run["answer"] == "What?", "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_in_case_files_are_told_before_anything_runs() {
    let user = User::new();
    user.write("team/formation.afs", &manifest("team", "http://127.0.0.1:9"));
    let cases = "\
- name: a
  mesage: Hi
  expect: {contain: x, approval: maybe, max_seconds: -1}
- name: a
  message: Hi
  files: [gone.pdf]
  expect: {regex: '(', max_seconds: 1e30}
";
    user.write("team/evals/a.yaml", cases);
    user.write("team/evals/b.yaml", "cases: 5\n");
    user.write("team/evals/c.yaml", "- name: [\n");
    shown(&user, "eval_faults", &user.run_in("team", &["eval"]));
    user.write("one.yaml", "- {name: kind, message: Hi, expect: {judge: It is kind.}}\n");
    shown(&user, "eval_nobody_judges", &user.run(&["eval", "one.yaml", "-f", "team"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_is_asked_for_what_only_a_reader_can_tell() {
    let (llm, other) = (FakeLlm::start().await, FakeLlm::start().await);
    let verdict = |pass: bool, reason: &str| json!({"pass": pass, "reason": reason}).to_string();
    llm.script(json!([
        {"match": {"contains": "You judge an answer"}, "reply": {"text": verdict(true, "fine")}},
        {"reply": {"text": "Go away."}},
    ]));
    other.script(json!([{"reply": {"text": verdict(false, "It sends the guest away.")}}]));
    let (_daemon, user) = deployed(&llm, &tools()).await;
    user.write(
        "team/evals/kind.yaml",
        "- {name: is kind, message: Hi, expect: {judge: The answer is kind.}}\n",
    );
    let elsewhere = ["eval", "--judge-url", &other.base_url(), "--judge-model", "model-2"];
    shown(&user, "eval_judged", &user.run_in("team", &elsewhere));
    let asked = other.journal().last().expect("a call").body["messages"].to_string();
    assert!(asked.contains("The answer is kind.") && asked.contains("Go away."), "{asked}");
    shown(&user, "eval_judged_itself", &user.run_in("team", &["eval", "--judge-self"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_answers_in_a_copy_that_goes_away() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"match": {"model": "model-2"}, "reply": {"text": "Other"}}, {"reply": {"text": "Usual"}}]));
    let scratch = tempfile::tempdir().expect("a folder");
    let user = User::new().with("TMPDIR", scratch.path().to_str().expect("UTF-8"));
    user.write("team/formation.afs", &manifest("team", &llm.base_url()));
    user.write("team/evals/a.yaml", "- {name: other, message: Hi, expect: {contains: other}}\n");
    shown(&user, "eval_other_model", &user.run_in("team", &["eval", "--model", "fake/model-2"]));
    shown(&user, "eval_model_malformed", &user.run_in("team", &["eval", "--model", "model-2"]));
    assert_eq!(std::fs::read_dir(scratch.path()).expect("a folder").count(), 0);
    let manifest =
        std::fs::read_to_string(user.work().join("team/formation.afs")).expect("it stays");
    assert!(manifest.contains("fake/model-1"), "{manifest}");
}

/// An example of the repository as it lies there; only the model's words are given.
async fn example(name: &str, script: &Value) -> Ran {
    let llm = FakeLlm::start().await;
    llm.script(script.clone());
    let daemon = Daemon::builder()
        .environment("OPENAI_API_KEY", "sk-example")
        .environment("OPENAI_BASE_URL", &llm.base_url())
        .environment("OLLAMA_BASE_URL", &llm.base_url())
        .config(json!({"formations": {"pass_environment": ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_BASE_URL"]}}))
        .start()
        .await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../formations").join(name);
    let mut archive = Vec::new();
    let id = name.parse().expect("an id");
    pack(&folder, &id, PackOptions::default(), &mut archive).expect("the example packs");
    let answer = daemon.deploy(archive).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let data = daemon.data_dir();
    let user = User::of(&daemon).with("MUXI_DATA_DIR", data.to_str().expect("UTF-8"));
    user.run(&["eval", folder.to_str().expect("UTF-8"), "--judge-self"])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_cases_pass() {
    let letter = json!({"file_name": "refund.txt", "content": "You get 40 euros back."});
    let judged = json!({"pass": true, "reason": "It is."}).to_string();
    let desk = example("support-desk", &json!([
        {"match": {"contains": "You judge an answer", "system_contains": "\"kind\""}, "reply": {"text": json!({"kind": "agent", "agent": "frontdesk", "complexity": 1}).to_string()}},
        {"match": {"contains": "You judge an answer"}, "reply": {"text": judged}},
        {"match": {"contains": "bicycle", "system_contains": "\"kind\""}, "reply": {"text": json!({"kind": "agent", "agent": "frontdesk", "complexity": 1}).to_string()}},
        {"match": {"contains": "invoice", "system_contains": "\"kind\""}, "reply": {"text": json!({"kind": "agent", "agent": "bookkeeper", "complexity": 1}).to_string()}},
        {"match": {"contains": "bicycle"}, "reply": {"text": "Which order number do you have?"}},
        {"match": {"contains": "invoice"}, "reply": {"text": "Our invoices are due within 14 days."}},
        {"match": {"contains": "Make the letter", "offers_tool": "generate_file", "has_tool_result": false}, "reply": {"tool_calls": [{"name": "generate_file", "arguments": letter}]}},
        {"match": {"contains": "Make the letter"}, "reply": {"text": "The letter promises 40 euros."}},
        {"match": {"contains": "Say whether"}, "reply": {"text": "Yes: within 30 days the whole price is paid back."}},
    ])).await;
    assert_eq!(desk.code, 0, "{desk:?}");
    let guide = example("clarifying-concierge", &json!([
        {"match": {"contains": "You judge an answer", "system_contains": "\"kind\""}, "reply": {"text": json!({"kind": "agent", "agent": "tables", "complexity": 1}).to_string()}},
        {"match": {"contains": "You judge an answer"}, "reply": {"text": judged}},
        {"match": {"contains": "Rome", "system_contains": "\"kind\""}, "reply": {"text": json!({"kind": "agent", "agent": "tables", "complexity": 1}).to_string()}},
        {"match": {"contains": "museum", "system_contains": "\"kind\""}, "reply": {"text": json!({"kind": "agent", "agent": "tickets", "complexity": 1}).to_string()}},
        {"match": {"contains": "Rome"}, "reply": {"text": "Three places: Roscioli, Armando, Felice. I cannot book a table."}},
        {"match": {"contains": "museum"}, "reply": {"text": "The museum of the city is open until six."}},
    ])).await;
    assert_eq!(guide.code, 0, "{guide:?}");
}
