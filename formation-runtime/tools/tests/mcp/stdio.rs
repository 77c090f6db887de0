//! A child that breaks every rule fails its own calls, with words that tell why, and nothing else.

use std::path::Path;
use std::time::Duration;

use muxi_tools::mcp::{Auth, Limits, McpError, Parameter, ServerConfig, ToolFilter, Transport};
use muxi_tools::{Danger, Origin};
use serde_json::{Value, json};

use super::support::{Formation, call, command, fake, until, user, with_env};

const SHORT: Duration = Duration::from_millis(500);

fn logged(folder: &Path) -> ServerConfig {
    with_env(fake("normal"), "FAKE_MCP_LOG", folder.join("log").to_str().unwrap())
}

fn count(folder: &Path, method: &str) -> usize {
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    log.lines().filter(|line| *line == method).count()
}

async fn refusal(config: ServerConfig, limits: Limits) -> McpError {
    let formation = Formation::with(config, limits);
    let refused = formation.tools().await.unwrap_err();
    let status = formation.servers.status();
    assert_eq!(status[0].fault.as_deref(), Some(refused.to_string().as_str()));
    formation.end().await;
    refused
}

#[tokio::test]
async fn tools_are_found_once_and_called() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig {
        filter: ToolFilter::new(|name| name != "crash"),
        parameters: [("text".to_owned(), Parameter::Fixed(json!("default")))].into(),
        ..logged(folder.path())
    };
    let formation = Formation::of(config);
    let tools = formation.tools().await.unwrap();
    assert!(!tools.iter().any(|it| it.spec().name == "fake__crash"));
    let echo = formation.tool("echo").await;
    assert_eq!(echo.spec().description, "Does echo.");
    let origin = Origin::Mcp { server: "fake".to_owned(), tool: "echo".to_owned() };
    assert_eq!((echo.origin(), echo.danger()), (&origin, Danger::Unknown));
    assert_eq!(formation.tool("crash_reading").await.danger(), Danger::ReadOnly);

    let said = formation.call("echo", json!({"bytes": 1})).await;
    assert!(!said.is_error && !said.is_trusted, "{said:?}");
    let said: Value = serde_json::from_str(&said.text()).unwrap();
    assert_eq!(said, json!({"bytes": 1, "text": "default"}));
    assert_eq!(count(folder.path(), "tools/list"), 1);
    assert_eq!(count(folder.path(), "initialize"), 1);
    assert_eq!(formation.servers.status()[0].connections, 1);
    formation.end().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig { connection_ttl: Duration::ZERO, ..logged(folder.path()) };
    let formation = Formation::of(config);
    formation.call("echo", json!({})).await;
    until("it is closed", || formation.servers.status()[0].connections == 0).await;
    assert!(!formation.call("echo", json!({})).await.is_error);
    assert_eq!(count(folder.path(), "initialize"), 3);
    formation.end().await;
}

#[tokio::test]
async fn a_changed_list_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let formation = Formation::of(logged(folder.path()));
    let before = formation.tools().await.unwrap().len();
    formation.call("grow", json!({})).await;
    // The notice may come after the answer.
    while formation.tools().await.unwrap().len() != before + 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(count(folder.path(), "tools/list"), 2);
    formation.end().await;
}

#[tokio::test]
async fn pages_are_followed_and_bounded() {
    let all = Formation::of(fake("normal")).tools().await.unwrap().len();
    assert_eq!(Formation::of(fake("paging")).tools().await.unwrap().len(), all);
    assert_eq!(Formation::of(fake("repeating-cursor")).tools().await.unwrap().len(), 2);
    let limits = Limits { tools_per_server: 3, ..Limits::default() };
    assert_eq!(Formation::with(fake("paging"), limits).tools().await.unwrap().len(), 3);
    let limits = Limits { pages: 1, ..Limits::default() };
    assert_eq!(Formation::with(fake("paging"), limits).tools().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let crashed = refusal(fake("crash-on-start"), Limits::default()).await.to_string();
    assert!(crashed.contains("exit status: 3"), "{crashed}");
    assert!(crashed.contains("fatal: the configuration is missing"), "{crashed}");
    let crashed = refusal(fake("crash-on-start"), Limits::default()).await.for_users();
    assert!(crashed.ends_with("ended: exit status: 3"), "{crashed}");

    let short = Limits { start: SHORT, ..Limits::default() };
    let hung = refusal(fake("hang-initialize"), short).await.to_string();
    assert!(hung.contains("did not answer the handshake within 500 ms"), "{hung}");

    let wrong = refusal(fake("wrong-initialize-id"), Limits::default()).await.to_string();
    assert!(wrong.contains("answered request 4711 where 0 was asked"), "{wrong}");

    let refused = refusal(fake("refuse-initialize"), Limits::default()).await.to_string();
    assert!(refused.contains("refused the handshake: no licence (code -32000)"), "{refused}");

    let absent = refusal(command("no-such-server", &[]), Limits::default()).await.to_string();
    assert!(absent.contains("`no-such-server` is not on PATH"), "{absent}");

    let folder = command("false", &["/no/such/folder"]);
    let pathless = refusal(folder, Limits::default()).await.to_string();
    assert!(pathless.contains("`/no/such/folder` looks like a path"), "{pathless}");
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_turn_little_and_is_asked_once_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let config = with_env(fake("hang-initialize"), "FAKE_MCP_LOG", log.to_str().unwrap());
    let limits = Limits {
        start: Duration::from_secs(2),
        first_wait: Duration::from_millis(10),
        failure_pause: Duration::from_mins(1),
        ..Limits::default()
    };
    let formation = Formation::with(config, limits);
    let alice = user("alice");
    let soon = formation.servers.tools_soon("fake", &alice).await.unwrap_err().to_string();
    assert!(soon.contains("within 10 ms; it is still being asked"), "{soon}");
    assert!(formation.servers.status()[0].fault.is_none(), "the asking goes on");

    let (first, second) = tokio::join!(formation.tools(), formation.tools());
    let (first, second) = (first.unwrap_err(), second.unwrap_err());
    assert_eq!(first, second);
    assert!(first.to_string().contains("did not answer the handshake"), "{first}");
    // Known now, so that nobody waits.
    let kept = formation.servers.tools_soon("fake", &alice).await.unwrap_err();
    assert_eq!(kept, first);
    assert_eq!(count(folder.path(), "initialize"), 1, "one asked for all");
    formation.end().await;
}

#[tokio::test]
async fn a_server_that_recovers_is_found_after_the_pause() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "").unwrap();
    let Transport::Command { command: program, .. } = fake("normal").transport else {
        unreachable!("it is a command")
    };
    let script = format!("test ! -e {} && exec {program} normal", broken.display());
    let limits = Limits { failure_pause: Duration::from_millis(10), ..Limits::default() };
    let formation = Formation::with(command("sh", &["-c", &script]), limits);
    assert!(formation.tools().await.is_err());
    std::fs::remove_file(&broken).unwrap();
    while formation.tools().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(formation.servers.status()[0].fault.is_none());
    formation.end().await;
}

#[tokio::test]
async fn connecting_is_tried_again_as_often_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("echo x >> {}; exit 1", folder.path().join("log").display());
    let config = ServerConfig { retry_attempts: 2, ..command("sh", &["-c", &script]) };
    refusal(config, Limits::default()).await;
    assert_eq!(count(folder.path(), "x"), 3);
}

#[tokio::test]
async fn a_crash_in_a_call_is_told_and_the_next_call_works() {
    let folder = tempfile::tempdir().unwrap();
    let formation = Formation::of(logged(folder.path()));
    let crashed = formation.call("crash", json!({})).await;
    assert!(crashed.is_error, "{crashed:?}");
    assert!(crashed.text().contains("exit status: 101"), "{crashed:?}");
    assert!(!crashed.text().contains("panicked"), "its own words are the operator's: {crashed:?}");
    assert_eq!(count(folder.path(), "tools/call"), 1, "it may have run, so it is not repeated");
    assert!(!formation.call("echo", json!({})).await.is_error);

    let reading = formation.call("crash_reading", json!({})).await;
    assert!(reading.is_error);
    assert_eq!(count(folder.path(), "tools/call"), 4, "only a reading call is repeated, once");
    formation.end().await;
}

#[tokio::test]
async fn floods_and_endless_lines_end_their_connection_only() {
    let limits = Limits { message_bytes: 100_000, unasked_messages: 1_000, ..Limits::default() };
    let formation = Formation::with(fake("normal"), limits);
    let endless = formation.call("endless", json!({})).await;
    assert!(endless.text().contains("a line of more than 100000 bytes"), "{endless:?}");
    let flood = formation.call("flood", json!({})).await;
    assert!(flood.text().contains("more than 1000 messages within 10 s"), "{flood:?}");
    let large = formation.call("big", json!({"bytes": 200_000})).await;
    assert!(large.text().contains("a line of more than 100000 bytes"), "{large:?}");
    assert_eq!(formation.call("big", json!({"bytes": 1_000})).await.text().len(), 1_000);
    formation.end().await;
}

#[tokio::test]
async fn a_large_text_is_cut_with_a_note() {
    let limits = Limits { result_bytes: 1_000, ..Limits::default() };
    let formation = Formation::with(fake("normal"), limits);
    let cut = formation.call("big", json!({"bytes": 5_000_000})).await;
    assert!(!cut.is_error && cut.text().len() < 1_200);
    assert!(cut.text().contains("4999000 more bytes were not taken"), "{cut:?}");
    formation.end().await;
}

#[tokio::test]
async fn a_silence_is_explained_by_what_was_noticed() {
    let formation = Formation::of(ServerConfig { timeout: SHORT, ..fake("normal") });
    // Found with patience, called without.
    while formation.tools().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let garbage = formation.call("garbage", json!({})).await.text();
    assert!(garbage.contains("did not answer the call within 500 ms"), "{garbage}");
    assert!(
        garbage.contains("1 of its lines are no JSON-RPC, the last `{\"jsonrpc\""),
        "{garbage}"
    );
    let wrong = formation.call("wrong_id", json!({})).await.text();
    assert!(wrong.contains("have an id that nobody asked"), "{wrong}");
    formation.end().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_repaired_or_fails_its_call_at_once() {
    let formation = Formation::of(fake("normal"));
    let half = formation.call("half_character", json!({})).await;
    assert!(!half.is_error && half.text() == "half \u{fffd} a character", "{half:?}");
    let cut = formation.call("cut_off", json!({})).await;
    assert!(cut.is_error, "{cut:?}");
    assert!(cut.text().contains("answered the call with what cannot be read: EOF"), "{cut:?}");
    assert!(cut.text().contains("1 of its lines are no JSON-RPC, the last `{"), "{cut:?}");
    let unknown = formation.call("hologram", json!({})).await;
    assert!(!unknown.is_error && unknown.text().starts_with("known\n[a part of a kind"));
    formation.end().await;
}

#[tokio::test]
async fn lines_that_are_no_messages_do_no_harm() {
    let formation = Formation::of(fake("chatty"));
    assert!(!formation.call("echo", json!({})).await.is_error);
    formation.end().await;
}

#[tokio::test]
async fn errors_are_told_so_that_a_model_can_mend_them() {
    let formation = Formation::of(fake("normal"));
    let failed = formation.call("fail", json!({"bytes": "many"})).await;
    assert!(failed.is_error && failed.text().starts_with("it failed"), "{failed:?}");
    assert!(failed.text().contains("Against its schema: /bytes: "), "{failed:?}");
    let refused = formation.call("refuse", json!({"text": 7})).await;
    assert!(refused.text().contains("did not accept the arguments: text must not"), "{refused:?}");
    assert!(refused.text().contains("/text: "), "{refused:?}");
    let forgotten = formation.call("forget", json!({})).await;
    assert!(forgotten.text().contains("does not have the tool `fake__forget` any more"));
    formation.end().await;
}

#[tokio::test]
async fn a_call_ends_when_it_is_cancelled_dropped_or_out_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let formation = Formation::of(logged(folder.path()));
    let hang = formation.tool("hang").await;

    let cancelled = call(json!({}));
    let token = cancelled.cancelled.clone();
    let waiting = hang.call(cancelled);
    let cancelling = async {
        until("it runs", || count(folder.path(), "tools/call") == 1).await;
        token.cancel();
    };
    let (outcome, ()) = tokio::join!(waiting, cancelling);
    assert!(outcome.is_error && outcome.text().contains("was cancelled"), "{outcome:?}");
    until("the server heard", || count(folder.path(), "notifications/cancelled") == 1).await;

    let mut dropped = hang.call(call(json!({})));
    tokio::select! {
        _ = &mut dropped => panic!("a hanging call answered"),
        () = until("it runs", || count(folder.path(), "tools/call") == 2) => {}
    }
    drop(dropped);
    until("the server heard", || count(folder.path(), "notifications/cancelled") == 2).await;

    let late = hang.call(muxi_tools::Call { time_left: SHORT, ..call(json!({})) }).await;
    assert!(late.text().contains("the time that was left for all calls"), "{late:?}");
    until("the server heard", || count(folder.path(), "notifications/cancelled") == 3).await;
    assert_eq!(count(folder.path(), "initialize"), 1, "the connection was kept");
    formation.end().await;
}

#[tokio::test]
async fn a_child_sees_only_what_is_declared() {
    let config = ServerConfig {
        auth: Auth::Env([("API_TOKEN".to_owned(), "s3cret".into())].into()),
        ..with_env(fake("normal"), "DECLARED", "yes")
    };
    let formation = Formation::of(config);
    let env = formation.call("env", json!({})).await.text();
    let env: serde_json::Map<String, Value> = serde_json::from_str(&env).unwrap();
    assert_eq!((&env["DECLARED"], &env["API_TOKEN"]), (&json!("yes"), &json!("s3cret")));
    let allowed = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "DECLARED", "API_TOKEN"];
    let others: Vec<&String> = env.keys().filter(|it| !allowed.contains(&it.as_str())).collect();
    assert!(others.is_empty(), "{others:?}");
    formation.end().await;
}

#[tokio::test]
async fn nothing_is_left_of_a_server_that_will_not_go() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("pid");
    let fake = match fake("stays").transport {
        muxi_tools::mcp::Transport::Command { command, .. } => command,
        muxi_tools::mcp::Transport::Http { .. } => unreachable!(),
    };
    // The ignored signal is inherited by all that follows.
    let script = format!("trap '' TERM; echo $$ > {}; exec {fake} stays", log.display());
    let limits = Limits { stop_grace: Duration::from_millis(100), ..Limits::default() };
    let formation = Formation::with(command("sh", &["-c", &script]), limits);
    assert!(!formation.call("echo", json!({})).await.is_error);
    let group = std::fs::read_to_string(&log).unwrap();
    let group = nix::unistd::Pid::from_raw(group.trim().parse().unwrap());
    assert!(nix::sys::signal::killpg(group, None).is_ok());
    formation.end().await;
    until("its group is gone", || nix::sys::signal::killpg(group, None).is_err()).await;
}

#[tokio::test]
async fn a_server_that_hears_nothing_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let config = with_env(fake("deaf"), "FAKE_MCP_LOG", log.to_str().unwrap());
    let formation = Formation::of(config);
    let tool = formation.tool("echo").await;
    let asked = muxi_tools::Call { time_left: SHORT, ..call(json!({})) };
    let unheard = tool.call(asked).await;
    assert!(unheard.is_error, "{unheard:?}");
    formation.end().await;
}
