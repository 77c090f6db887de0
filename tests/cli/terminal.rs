//! What only a terminal has: a conversation with its keys, and questions that are asked.

use std::os::unix::fs::PermissionsExt as _;

use muxi_testkit::daemon::{Daemon, bin_dir, bundle_with, manifest};
use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use serde_json::json;

use crate::chat::{deletes, tools};
use crate::harness::User;

/// Far beyond what any answer takes; only a hang gets there.
const PATIENCE_MS: u64 = 30_000;

async fn deployed(llm: &FakeLlm) -> (Daemon, User) {
    let daemon = Daemon::builder()
        .config(json!({"formations": {"sandbox_read": [bin_dir()]}}))
        .start()
        .await;
    let text = manifest("team", &llm.base_url()) + &tools();
    let answer = daemon.deploy(bundle_with("team", &text)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let user = User::of(&daemon).with("TERM", "xterm").with("NO_COLOR", "1");
    user.write("team/formation.afs", &text);
    (daemon, user)
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
        deploy.exp_string("Waiting for the formation to be healthy").expect("a step");
        deploy.exp_string("Deployed team 2.1.0").expect("the end");
        assert!(matches!(deploy.process().wait(), Ok(WaitStatus::Exited(_, 0))));
        for (answer, told, code) in [("n", "", 1), ("y", "Deleted team", 0)] {
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
