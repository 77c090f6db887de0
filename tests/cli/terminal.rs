//! What only a terminal has: a conversation with its keys, and questions that are asked.

use std::os::unix::fs::PermissionsExt as _;

use muxi_testkit::daemon::{Daemon, bin_dir, bundle_with, manifest};
use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use serde_json::json;

use crate::chat::{self, deletes, tools};
use crate::harness::User;

/// Far beyond what any answer takes; only a hang gets there.
const PATIENCE_MS: u64 = 30_000;

async fn deployed(llm: &FakeLlm) -> (Daemon, User) {
    let (daemon, user) = chat::deployed(llm, &tools()).await;
    (daemon, user.with("TERM", "xterm").with("NO_COLOR", "1"))
}

fn at_terminal(user: &User, arguments: &[&str]) -> PtySession {
    spawn_command(user.command("team", arguments), Some(PATIENCE_MS)).expect("a terminal")
}

/// Expectations block; the model that is spoken to lives beside them.
fn waiting<T>(wait: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(wait)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_keeps_its_session_asks_and_is_left() {
    let llm = FakeLlm::start().await;
    llm.script(deletes());
    let (_daemon, user) = deployed(&llm).await;
    waiting(|| {
        let mut chat = at_terminal(&user, &["chat"]);
        chat.exp_string("Talking with team. /help tells more").expect("a greeting");
        chat.exp_string("> ").expect("a prompt");
        chat.send_line("Hello").expect("it reads");
        chat.exp_string("What?").expect("an answer");
        chat.send_line("/help").expect("it reads");
        chat.exp_string("/file PATH").expect("the commands");
        chat.send_line("/session").expect("it reads");
        let (_, id) = chat.exp_regex("sess_[A-Za-z0-9_-]{16,}").expect("the session");
        chat.send_line("/agent nobody").expect("it reads");
        chat.exp_string("from now on answers nobody").expect("it is told");
        chat.send_line("Are you there?").expect("it reads");
        chat.exp_string("error:").expect("the refusal");
        // What was not delivered stands at the prompt again; emptied, it goes on.
        chat.exp_string("> Are you there?").expect("the message");
        chat.send_control('u').expect("it reads");
        chat.send_line("/agent").expect("it reads");
        chat.exp_string("whom the formation chooses").expect("it is told");
        chat.send_line("Delete it").expect("it reads");
        chat.exp_string("1) Approve").expect("the choices");
        chat.exp_string("2) Refuse").expect("the choices");
        chat.send_line("1").expect("it reads");
        chat.exp_string("So it is.").expect("the end of the call");
        chat.exp_string("> ").expect("a prompt");
        chat.send_control('d').expect("it reads");
        chat.exp_string(&format!("muxi chat -s {id}")).expect("how it goes on");
        assert!(matches!(chat.process().wait(), Ok(WaitStatus::Exited(_, 0))));
    });
    let history = user.home().join(".muxi/cli/history");
    let text = std::fs::read_to_string(&history).expect("a history");
    assert!(text.contains("Delete it"), "{text}");
    let mode = history.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_the_answer_and_not_the_conversation() {
    let llm = FakeLlm::start().await;
    llm.script(json!([
        {"match": {"contains": "story"}, "reply": {"chunks": ["Once ", "upon"], "stall_after_chunks": 1}},
        {"reply": {"text": "Fine."}},
    ]));
    let (_daemon, user) = deployed(&llm).await;
    let mut chat = waiting(|| {
        let mut chat = at_terminal(&user, &["chat"]);
        chat.exp_string("> ").expect("a prompt");
        chat.send_line("Tell a story").expect("it reads");
        chat.exp_string("Once").expect("the beginning");
        chat.send_control('c').expect("it reads");
        chat.exp_string("cancelled").expect("it is told");
        chat
    });
    llm.wait_for(1, Some(Outcome::ClientGone)).await;
    waiting(|| {
        chat.exp_string("> ").expect("a prompt");
        chat.send_line("And now?").expect("it reads");
        chat.exp_string("Fine.").expect("an answer");
        chat.exp_string("> ").expect("a prompt");
        chat.send_control('c').expect("it reads");
        assert!(matches!(chat.process().wait(), Ok(WaitStatus::Exited(_, 0))));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_moves_while_it_is_watched_and_asks_before_it_destroys() {
    let llm = FakeLlm::start().await;
    let (_daemon, user) = deployed(&llm).await;
    waiting(|| {
        let mut deploy = at_terminal(&user, &["deploy", "--force"]);
        // A bar and a spinner, which are drawn anew on their line, byte for byte as the terminal has them.
        deploy.exp_string("Uploading [=====").expect("a bar");
        deploy.exp_regex("\u{1b}\\[2K  â\u{a0}. Waiting for the formation").expect("a step");
        deploy.exp_string("Deployed team 2.1.0").expect("the end");
        assert!(matches!(deploy.process().wait(), Ok(WaitStatus::Exited(_, 0))));
        for (answer, told, code) in [("n", "nothing was deleted", 1), ("y", "Deleted team", 0)] {
            let mut delete = at_terminal(&user, &["delete", "team"]);
            delete.exp_string("Delete team with its memory").expect("the question");
            delete.send(answer).expect("it reads");
            delete.flush().expect("it reads");
            delete.send_line("").expect("it reads");
            delete.exp_string(told).expect("what came of it");
            let ended = delete.process().wait();
            assert!(
                matches!(ended, Ok(WaitStatus::Exited(_, it)) if it == code),
                "{answer} {ended:?}"
            );
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_asked_for_and_not_shown() {
    let user = User::new().with("TERM", "xterm").with("NO_COLOR", "1");
    let made = user.run(&["new", "formation", "team", "--model", "openai/gpt-4o-mini"]);
    assert_eq!(made.code, 0, "{made:?}");
    waiting(|| {
        let mut setup = at_terminal(&user, &["secrets", "setup"]);
        setup.exp_string("OPENAI_API_KEY").expect("the question");
        setup.send_line("sk-not-shown").expect("it reads");
        let shown = setup.exp_eof().expect("the end");
        assert!(!shown.contains("sk-not-shown"), "{shown}");
        assert!(matches!(setup.process().wait(), Ok(WaitStatus::Exited(_, 0))), "{shown}");
    });
    let kept = user.run_in("team", &["secrets", "get", "OPENAI_API_KEY"]);
    assert!(kept.out.contains("sk-not-shown"), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_along_and_a_new_session_knows_nothing_of_the_old_one() {
    let llm = FakeLlm::start().await;
    llm.script(json!([
        {"match": {"contains": "Read it"}, "reply": {"text": "Read."}},
        {"reply": {"text": "Hello."}},
    ]));
    let (_daemon, user) = deployed(&llm).await;
    user.write("team/note.txt", "The budget is 500 euros.");
    std::fs::write(user.work().join("team/picture.bin"), [0xff, 0xfe, 0]).expect("a file");
    let last = || llm.journal().last().expect("a call").body["messages"].to_string();
    let mut chat = waiting(|| {
        let mut chat = at_terminal(&user, &["chat"]);
        chat.exp_string("> ").expect("a prompt");
        chat.send_line("/file").expect("it reads");
        chat.exp_string("which file?").expect("how it is said");
        chat.send_line("/file no.txt").expect("it reads");
        chat.exp_string("error: failed to read").expect("the refusal");
        chat.send_line("/file picture.bin").expect("it reads");
        chat.exp_string("picture.bin goes with the next message").expect("it is told");
        chat.send_line("Look at it").expect("it reads");
        chat.exp_string("no file goes with the next message any more").expect("it is told");
        chat.send_control('u').expect("it reads");
        chat.send_line("/file note.txt").expect("it reads");
        chat.exp_string("note.txt goes with the next message").expect("it is told");
        chat.send_line("Read it").expect("it reads");
        chat.exp_string("Read.").expect("an answer");
        chat
    });
    assert!(last().contains("500 euros"), "{}", last());
    waiting(|| {
        chat.send_line("/session").expect("it reads");
        let (_, first) = chat.exp_regex("sess_[A-Za-z0-9_-]{16,}").expect("the session");
        chat.send_line("/new").expect("it reads");
        chat.exp_string("a new session begins").expect("it is told");
        chat.send_line("Hello").expect("it reads");
        chat.exp_string("Hello.").expect("an answer");
        chat.send_line("/session").expect("it reads");
        let (_, second) = chat.exp_regex("sess_[A-Za-z0-9_-]{16,}").expect("the session");
        assert_ne!(first, second);
        chat.send_line("/quit").expect("it reads");
        assert!(matches!(chat.process().wait(), Ok(WaitStatus::Exited(_, 0))));
    });
    assert!(!last().contains("Read it") && !last().contains("500 euros"), "{}", last());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_back_shows_its_choices_and_a_number_picks_one() {
    let decision = |kind: &str, agent: &str, clarification: serde_json::Value| {
        json!({"kind": kind, "agent": agent, "answer": "", "complexity": 2, "topics": [],
            "clarification": clarification, "tasks": [], "procedure": null})
        .to_string()
    };
    let routes = |contains: &str, reply: String| json!({"match": {"contains": contains, "system_contains": "\"kind\""}, "reply": {"text": reply}});
    let which = json!({"question": "Which city?", "options": ["Rome", "Paris"]});
    let llm = FakeLlm::start().await;
    llm.script(json!([
        routes("answered: Paris", decision("agent", "helper", json!(null))),
        routes("weather", decision("clarify", "", which)),
        {"match": {"contains": "answered: Paris", "system_contains": "Be brief."}, "reply": {"text": "Rainy."}},
    ]));
    let daemon = Daemon::start().await;
    let writer =
        "  - {schema: '1.0.0', id: writer, description: Writes prose, system_message: Write.}\n";
    let text = manifest("team", &llm.base_url()) + writer;
    let answer = daemon.deploy(bundle_with("team", &text)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let user = User::of(&daemon).with("TERM", "xterm").with("NO_COLOR", "1");
    user.write("team/formation.afs", &text);
    waiting(|| {
        let mut chat = at_terminal(&user, &["chat"]);
        chat.exp_string("> ").expect("a prompt");
        chat.send_line("How is the weather there?").expect("it reads");
        chat.exp_string("Which city?").expect("the question");
        chat.exp_string("1) Rome").expect("the choices");
        chat.exp_string("2) Paris").expect("the choices");
        chat.send_line("2").expect("it reads");
        chat.exp_string("Rainy.").expect("an answer");
        chat.exp_string("> ").expect("a prompt");
        chat.send_control('d').expect("it reads");
        assert!(matches!(chat.process().wait(), Ok(WaitStatus::Exited(_, 0))));
    });
}

/// A formation that neither answers nor cancels; a real one is too quick to be left.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_leaves_at_once() {
    let (asked, mut asks) = tokio::sync::mpsc::channel(8);
    let never = axum::routing::any(async move |method: axum::http::Method| {
        asked.send(method).await.expect("somebody wants to know");
        std::future::pending::<()>().await;
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("one"));
    let serving = axum::serve(listener, axum::Router::new().fallback(never));
    let user = User::new()
        .with("TERM", "xterm")
        .with("NO_COLOR", "1")
        .with("MUXI_FORMATION_URL", &url)
        .with("MUXI_CLIENT_KEY", "fmc_test");
    let leaving = async {
        let mut chat = spawn_command(user.command("", &["chat", "Hello"]), Some(PATIENCE_MS))
            .expect("a terminal");
        assert_eq!(asks.recv().await, Some(axum::http::Method::POST));
        chat.send_control('c').expect("it reads");
        assert_eq!(asks.recv().await, Some(axum::http::Method::DELETE));
        chat.send_control('c').expect("it reads");
        waiting(|| {
            chat.exp_string("left without waiting").expect("it is told");
            assert!(matches!(chat.process().wait(), Ok(WaitStatus::Exited(_, 130))));
        });
    };
    tokio::select! {
        served = serving.into_future() => served.expect("it serves"),
        () = leaving => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_talked_with_beside_the_work_on_its_files() {
    let llm = FakeLlm::start().await;
    llm.script(json!([
        {"match": {"system_contains": "Be kind."}, "reply": {"text": "Dear you!"}},
        {"reply": {"text": "What?"}},
    ]));
    let user = User::new().with("TERM", "xterm").with("NO_COLOR", "1");
    let daemon = Daemon::builder()
        .config(json!({"dev": {"enabled": true, "roots": [user.work()]}}))
        .start()
        .await;
    user.knows(&daemon);
    let text = manifest("team", &llm.base_url());
    user.write("team/formation.afs", &text);
    waiting(|| {
        let mut dev = at_terminal(&user, &["dev", "--chat"]);
        dev.exp_string("team runs at").expect("the draft");
        dev.exp_string("Talking with team, the draft").expect("a greeting");
        dev.exp_string("> ").expect("a prompt");
        dev.send_line("Hello").expect("it reads");
        dev.exp_string("What?").expect("an answer");
        user.write("team/formation.afs", "schema: '1.0.0'\nid: team\n");
        dev.exp_string("description").expect("the fault");
        user.write("team/formation.afs", &text.replace("Be brief.", "Be kind."));
        dev.exp_string("team runs anew at").expect("the draft");
        dev.send_line("Hello again").expect("it reads");
        dev.exp_string("Dear you!").expect("an answer of the new one");
        dev.exp_string("> ").expect("a prompt");
        dev.send_control('d').expect("it reads");
        dev.exp_string("stopped the draft of team").expect("the end");
        assert!(matches!(dev.process().wait(), Ok(WaitStatus::Exited(_, 0))));
    });
    let heard = llm.journal().last().expect("a call").body["messages"].to_string();
    assert!(heard.contains("What?"), "the session goes on: {heard}");
    assert!(daemon.instances().is_empty());
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let act = &["set", "default", "user", "ada"];
    let seen = |user: &User| {
        let mut done = spawn_command(user.command("", act), Some(PATIENCE_MS)).expect("a terminal");
        let shown = done.exp_eof().expect("the end");
        assert!(shown.contains("The default user is ada"), "{shown}");
        shown
    };
    assert!(seen(&User::new().with("TERM", "xterm")).contains("\u{1b}[32m"));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert!(!seen(&User::new().with("TERM", "xterm").with(name, value)).contains('\u{1b}'));
    }
    let piped = User::new().with("TERM", "xterm").run(act);
    assert!(!piped.out.contains('\u{1b}'), "{piped:?}");
}

#[test]
fn a_new_formation_is_asked_for_step_by_step() {
    let user = User::new().with("TERM", "xterm").with("NO_COLOR", "1");
    let mut new =
        spawn_command(user.command("", &["new", "formation", "helpers"]), Some(PATIENCE_MS))
            .expect("a terminal");
    new.exp_string("What is it for?").expect("a question");
    new.send_line("Helps people.").expect("it reads");
    new.exp_string("Who answers?").expect("a question");
    // Down once: the one after the included model.
    new.send("\u{1b}[B").expect("it reads");
    new.send_line("").expect("it reads");
    new.exp_string("Which model?").expect("a question");
    new.send_line("").expect("it reads");
    new.exp_string("_API_KEY (Enter: later)").expect("a question");
    new.send_line("sk-not-shown").expect("it reads");
    let told = new.exp_string("Made formation helpers").expect("the end");
    assert!(!told.contains("sk-not-shown"), "{told}");
    assert!(matches!(new.process().wait(), Ok(WaitStatus::Exited(_, 0))));
    let text = user.read("helpers/formation.afs").out;
    assert!(text.contains("Helps people."), "{text}");
    assert_eq!(user.run_in("helpers", &["validate"]).code, 0);
}

#[test]
fn an_interrupt_at_a_question_leaves_the_terminal_as_it_was() {
    let user = User::new().with("TERM", "xterm");
    user.write("formation.afs", &manifest("team", "http://127.0.0.1:9"));
    for (question, shown) in [
        (&["secrets", "set", "TOKEN"][..], "TOKEN"),
        (&["delete", "team"], "Delete team"),
        (&["new", "formation", "other"], "What is it for?"),
    ] {
        let program = bin_dir().join("muxi").display().to_string();
        let script = format!(
            "stty echo; trap : INT; {program} {}; echo \"ended with $?\"; stty -a; echo all told",
            question.join(" ")
        );
        let command = user.command("", &[]);
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(script).current_dir(command.get_current_dir().expect("one"));
        shell.env_clear();
        for (name, value) in command.get_envs() {
            shell.env(name, value.expect("it is set"));
        }
        let mut ran = spawn_command(shell, Some(PATIENCE_MS)).expect("a terminal");
        ran.exp_string(shown).expect("the question");
        ran.send_control('c').expect("it reads");
        let before = ran.exp_string("ended with 130").expect("the program ended");
        let hidden = before.rfind("\u{1b}[?25l");
        assert!(hidden <= before.rfind("\u{1b}[?25h"), "{question:?}: {before:?}");
        let settings = ran.exp_string("all told").expect("its settings");
        assert!(!settings.contains("-echo ") && !settings.contains("-icanon"), "{settings}");
    }
}
