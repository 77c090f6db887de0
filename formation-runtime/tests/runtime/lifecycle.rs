//! Stops, deaths, and life under a manager.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use muxi_contract::launch::PROXIED_REQUESTS_MAX;
use muxi_service::{handoff, unix_path};
use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use serde_json::json;

use crate::harness::{Bundle, CLIENT_KEY, Frames, manifest};

#[tokio::test]
async fn a_session_goes_on_after_kill_9_in_the_middle_of_an_answer() {
    let llm = FakeLlm::start().await;
    llm.script(json!([
        {"match": {"contains": "cut", "nth": 1}, "reply": {
            "chunks": ["Once ", "upon"], "gate": "never", "gate_after_chunks": 1,
        }},
    ]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    runtime.say("my name is Alice").await;
    let body = json!({"message": "cut", "stream": true});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    frames.next().await.unwrap();
    runtime.kill9();
    llm.wait_for(1, Some(Outcome::ClientGone)).await;

    let runtime = bundle.start(&llm);
    let transcript = runtime.transcript().await;
    let shown: Vec<_> = transcript.iter().map(|(text, it)| (text.as_str(), it.as_str())).collect();
    let completed = "completed";
    let expected = [
        ("my name is Alice", completed),
        ("fake model: my name is Alice", completed),
        ("cut", "interrupted"),
    ];
    assert_eq!(shown, expected);
    runtime.say("what is my name?").await;
    let messages = llm.journal()[2].body["messages"].clone();
    assert_eq!(messages[1]["content"], "my name is Alice");
    assert_eq!(messages[3]["content"], "cut\n\nwhat is my name?");
}

#[tokio::test]
async fn a_stop_lets_open_answers_finish() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"reply": {"chunks": ["a", "b"], "gate": "go", "gate_after_chunks": 1}}]));
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "hi", "stream": true});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    frames.next().await.unwrap();
    runtime.signal("-TERM");
    llm.open_gate("go");
    assert_eq!(frames.rest().await.last().unwrap().0, "done");
    assert!(runtime.wait().success());
}

#[tokio::test]
async fn the_end_of_the_grace_is_told_to_streams_and_written_down() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"match": {"nth": 1}, "reply": {
        "chunks": ["a ", "b"], "gate": "never", "gate_after_chunks": 1,
    }}]));
    let bundle = Bundle::new(&manifest(""));
    let mut command = bundle.command(&llm);
    command.args(["--grace-ms", "50"]);
    let runtime = crate::harness::Runtime::start(command);
    let body = json!({"message": "hi", "stream": true});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    frames.next().await.unwrap();
    runtime.signal("-TERM");
    let (name, error) = frames.rest().await.pop().unwrap();
    assert_eq!((name.as_str(), &error["code"]), ("error", &json!("SERVICE_UNAVAILABLE")));
    assert!(runtime.wait().success());

    let runtime = bundle.start(&llm);
    let interrupted = "interrupted".to_owned();
    let expected = [("hi".to_owned(), interrupted.clone()), ("a ".to_owned(), interrupted)];
    assert_eq!(runtime.transcript().await, expected);
}

#[tokio::test]
async fn a_model_host_keeps_the_socket_that_was_passed_on_when_it_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.sock");
    let parent_fd: OwnedFd = unix_path::bind(&path).unwrap().into();
    let mut command = launched(1);
    command.args(["model-host", "--idle-exit-s", "1", "--socket"]).arg(&path);
    command.env_clear().env("MUXI_MODELS_DIR", folder.path().join("models"));
    command.fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).unwrap();
    let mut child = command.spawn().unwrap();
    // The command holds this end's copy of the socket.
    drop(command);

    let client = reqwest::Client::builder().unix_socket(path.as_path()).build().unwrap();
    let health = client.get("http://host/health").send().await.unwrap();
    let health: serde_json::Value = health.json().await.unwrap();
    assert_eq!(health["state"], "missing");
    let environment = std::fs::read(format!("/proc/{}/environ", child.id())).unwrap();
    assert!(String::from_utf8(environment).unwrap().contains("CANDLE_NUM_THREADS="));
    // It ends by itself when it is idle, so this wait has an end.
    assert!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn under_a_manager_the_formations_port_is_served_only_while_it_is_told_to() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest(""));
    let sockets = tempfile::tempdir().unwrap();
    let private_path = sockets.path().join("instance.sock");
    let handoff_path = sockets.path().join("handoff.sock");
    let shared = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = shared.local_addr().unwrap();
    let descriptors: [OwnedFd; 3] = [
        shared.into(),
        unix_path::bind(&private_path).unwrap().into(),
        unix_path::bind(&handoff_path).unwrap().into(),
    ];
    let mappings = (3..).zip(descriptors);
    let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
    let mut command = launched(3);
    command.arg(bundle.path());
    command.arg("--data-dir").arg(bundle.data_dir());
    command.env_clear().env("FAKE_BASE_URL", llm.base_url());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.fd_mappings(mappings.collect()).unwrap();
    let runtime = crate::harness::Runtime::start(command);
    assert_eq!(runtime.url, format!("http://{address}"));

    let manager = reqwest::Client::builder().unix_socket(private_path.as_path()).build().unwrap();
    let act = |path: &'static str| {
        let manager = manager.clone();
        async move { manager.post(format!("http://instance{path}")).send().await.unwrap().status() }
    };
    let health = async || {
        let asked =
            manager.get("http://instance/v1/health").timeout(Duration::from_secs(10)).send();
        asked.await.unwrap().status()
    };
    assert_eq!(health().await, 200);
    // With all open that a manager may have, it is still heard.
    let mut proxied = Vec::new();
    for _ in 0..PROXIED_REQUESTS_MAX {
        let stream = unix_path::connect_async(&private_path);
        // The backlog is empty again soon.
        proxied.push(tokio::time::timeout(Duration::from_secs(10), stream).await.unwrap().unwrap());
    }
    assert_eq!(health().await, 200);
    drop(proxied);

    // The request waits in the backlog of the port until the instance is told to accept.
    let waiting = runtime.get("/v1/health").send();
    let accepted = async { act("/_instance/accept").await };
    let (answer, accepted) = futures_util::future::join(waiting, accepted).await;
    assert_eq!((answer.unwrap().status().as_u16(), accepted.as_u16()), (200, 204));
    let outside = runtime.post("/_instance/retire").send().await.unwrap();
    assert_eq!(outside.status(), 404);

    // An open stream survives the retirement; a newcomer waits for somebody else.
    llm.script(json!([{"reply": {"chunks": ["a", "b"], "gate": "go", "gate_after_chunks": 1}}]));
    let body = json!({"message": "hi", "stream": true});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    frames.next().await.unwrap();
    assert_eq!(act("/_instance/retire").await, 204);
    let taken = tokio::task::spawn_blocking(move || handoff::take(&handoff_path));
    let taken = taken.await.unwrap().unwrap();
    assert_eq!(taken.local_addr().unwrap(), address);
    // The accept loop ends a moment after the answer, so the first newcomer may still be its.
    taken.set_nonblocking(true).unwrap();
    while taken.accept().is_err() {
        drop(std::net::TcpStream::connect(address).unwrap());
        tokio::task::yield_now().await;
    }
    llm.open_gate("go");
    assert_eq!(frames.rest().await.last().unwrap().0, "done");
    assert_eq!(act("/_instance/accept").await, 204);
    let again = runtime.get("/v1/health").header("X-Muxi-Client-Key", CLIENT_KEY);
    assert_eq!(again.send().await.unwrap().status(), 200);
}

/// The launcher's part: only the process itself knows its id.
fn launched(sockets: usize) -> std::process::Command {
    let mut command = std::process::Command::new("/bin/sh");
    let script = format!("LISTEN_FDS={sockets} LISTEN_PID=$$ exec \"$@\"");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_formation-runtime")]);
    command
}
