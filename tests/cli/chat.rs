//! Talking with a formation: what is said, how it is asked for, and how it ends.

use std::io::Write as _;
use std::process::Stdio;

use muxi_testkit::daemon::{Daemon, bin_dir, bundle_with, manifest};
use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::{Ran, User, with_names};

fn shown(user: &User, name: &str, ran: &Ran) {
    with_names(user, || insta::assert_snapshot!(name, ran.shown()));
}

/// A deployed formation whose folder the user has, too.
pub(crate) async fn deployed(llm: &FakeLlm, more: &str) -> (Daemon, User) {
    let daemon = Daemon::builder()
        .config(json!({"formations": {"sandbox_read": [bin_dir()]}}))
        .start()
        .await;
    let text = manifest("team", &llm.base_url()) + more;
    let answer = daemon.deploy(bundle_with("team", &text)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let user = User::of(&daemon);
    user.write("team/formation.afs", &text);
    (daemon, user)
}

/// Tools of which one asks first.
pub(crate) fn tools() -> String {
    let program = bin_dir().join("fake-mcp");
    format!(
        "mcp:\n  servers:\n    - {{id: fake, type: command, command: {}, args: [normal], tools: {{allow: [delete, echo]}}}}\n",
        program.display()
    )
}

/// What the model says when it is to delete something, or to call a tool that may be called.
pub(crate) fn deletes() -> serde_json::Value {
    json!([
        {"match": {"has_tool_result": true}, "reply": {"text": "So it is."}},
        {"match": {"contains": "Delete"}, "reply": {"tool_calls": [{"name": "fake__delete", "arguments": {"text": "a.txt"}}]}},
        {"match": {"contains": "Echo"}, "reply": {"tool_calls": [{"name": "fake__echo", "arguments": {"text": "hi"}}]}},
        {"match": {"contains": "letter"}, "reply": {"tool_calls": [{"name": "generate_file", "arguments": {"file_name": "letter.txt", "content": "Dear Ada"}}]}},
        {"reply": {"text": "What?"}},
    ])
}

/// The session that a run told.
fn session(ran: &Ran) -> String {
    let at = ran.err.find("chat -s ").expect("a session") + "chat -s ".len();
    ran.err[at..].split_whitespace().next().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_and_its_session_goes_on() {
    let llm = FakeLlm::start().await;
    llm.script(json!([
        {"match": {"contains": "paint"}, "reply": {"chunks": ["be\u{1b}", "[2J", "fore \u{1b}]0;ti", "tle\u{7}after\r"]}},
        {"match": {"contains": "Fail"}, "reply": {"status": 500}},
        {"reply": {"text": "Hello Ada!\nHow are you?"}},
    ]));
    let (_daemon, user) = deployed(&llm, "").await;
    let first = user.run_in("team", &["chat", "I am Ada."]);
    shown(&user, "chat_message", &first);
    let id = session(&first);
    let again = user.run_in("team", &["chat", "-s", &id, "--no-stream", "Who am I?"]);
    shown(&user, "chat_whole", &again);
    let heard = llm.journal().last().expect("a call").body["messages"].to_string();
    assert!(heard.contains("I am Ada."), "{heard}");
    shown(&user, "chat_control_characters", &user.run_in("team", &["chat", "paint"]));
    shown(&user, "chat_model_fails", &user.run_in("team", &["chat", "Fail"]));
    shown(&user, "chat_agent_unknown", &user.run_in("team", &["chat", "--agent", "nobody", "Hi"]));
    let verbose = user.run_in("team", &["chat", "-v", "Hi"]);
    assert!(verbose.err.contains("tokens read"), "{verbose:?}");
    let debug = user.run_in("team", &["chat", "--debug", "Hi"]);
    assert!(debug.err.contains("done: {\"finished\":true}"), "{debug:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_read_frames_or_one_document() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"text": "Hello!"}}]));
    let (_daemon, user) = deployed(&llm, "").await;
    let frames = user.run_in("team", &["chat", "Hi", "--json"]);
    let frames: Vec<serde_json::Value> =
        frames.out.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert_eq!(frames.last(), Some(&json!({"finished": true})), "{frames:?}");
    assert!(frames.iter().any(|it| it["token"]["type"] == "completed"), "{frames:?}");
    let whole = user.run_in("team", &["chat", "Hi", "--json", "--no-stream"]);
    assert_eq!(
        (whole.code, &whole.json()["message"]["content"]),
        (0, &json!("Hello!")),
        "{whole:?}"
    );
    assert_eq!(whole.err, "");
    let refused = user.run_in("team", &["chat", "Hi", "--agent", "nobody", "--json"]);
    assert_eq!((refused.code, &refused.json()["success"]), (5, &json!(false)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_through_a_pipe_with_their_files() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"text": "Read."}}]));
    let (_daemon, user) = deployed(&llm, "").await;
    user.write("team/note.txt", "The budget is 500 euros.");
    let mut child = user
        .command("team", &["chat", "--file", "note.txt"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all("Read this.\n".as_bytes()).expect("it reads");
    let piped = Ran::of(child.wait_with_output().expect("our own child"));
    shown(&user, "chat_piped", &piped);
    let heard = llm.journal().last().expect("a call").body["messages"].to_string();
    assert!(heard.contains("Read this.") && heard.contains("500 euros"), "{heard}");
    let mut child = user
        .command("team", &["chat", "Sum it up", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(b"It costs 7 francs.").expect("it reads");
    let piped = Ran::of(child.wait_with_output().expect("our own child"));
    assert_eq!(piped.code, 0, "{piped:?}");
    // Whose name does not tell what it is.
    let named = user.run_in("team", &["chat", "And this?", "--file", "formation.afs"]);
    assert_eq!(named.code, 0, "{named:?}");
    let journal = llm.journal();
    let heard = |back: usize| journal[journal.len() - back].body["messages"].to_string();
    assert!(heard(2).contains("7 francs") && heard(1).contains("Be brief."), "{journal:?}");
    shown(&user, "chat_nothing_said", &user.run_in("team", &["chat"]));
    shown(&user, "chat_file_missing", &user.run_in("team", &["chat", "Hi", "--file", "no.txt"]));
    shown(&user, "chat_file_folder", &user.run_in("team", &["chat", "Hi", "--file", "."]));
    shown(&user, "chat_no_key", &user.run(&["chat", "Hi", "-f", "team"]));
    shown(&user, "chat_no_formation", &user.run(&["chat", "Hi"]));
    user.write("other/formation.afs", &manifest("other", &llm.base_url()));
    shown(&user, "chat_not_deployed", &user.run_in("other", &["chat", "Hi"]));
    shown(&user, "chat_no_draft", &user.run_in("team", &["chat", "Hi", "--draft"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_files_and_approvals_are_told_and_answered() {
    let llm = FakeLlm::start().await;
    llm.script(deletes());
    let (_daemon, user) = deployed(&llm, &tools()).await;
    shown(&user, "chat_tool", &user.run_in("team", &["chat", "Echo it"]));
    shown(&user, "chat_made_a_file", &user.run_in("team", &["chat", "Write a letter"]));
    let asked = user.run_in("team", &["chat", "Delete it"]);
    shown(&user, "chat_approval", &asked);
    let allowed = user.run_in("team", &["chat", "-s", &session(&asked), "yes"]);
    shown(&user, "chat_approved", &allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_cancels_the_answer() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"chunks": ["Once ", "upon"], "stall_after_chunks": 1}}]));
    let (_daemon, user) = deployed(&llm, "").await;
    let ways: [&[&str]; 3] = [&[], &["--no-stream"], &["--no-stream", "--json"]];
    for (at, flags) in ways.into_iter().enumerate() {
        let child = user
            .command("team", &[&["chat", "Tell a story"], flags].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        llm.wait_for(at + 1, None).await;
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::INT).expect("our own child");
        let ended = Ran::of(child.wait_with_output().expect("our own child"));
        assert_eq!(ended.code, 130, "{flags:?}: {ended:?}");
        let told = if flags.contains(&"--json") { &ended.out } else { &ended.err };
        assert!(told.contains("cancelled"), "{flags:?}: {ended:?}");
        llm.wait_for(at + 1, Some(Outcome::ClientGone)).await;
    }
}
