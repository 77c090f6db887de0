//! Instances that die, hang or never come up.

use std::time::{Duration, Instant};

use futures_util::future::join;
use muxi_testkit::daemon::{
    Answer, Daemon, PATIENCE, bundle, bundle_with, freeze, is_alive, manifest, signal, wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::raw::{Prober, SentChat};

/// Texts of the messages that the model was sent last, without the system's.
fn last_prompt(llm: &FakeLlm) -> Vec<Value> {
    let journal = llm.journal();
    let messages = &journal.last().expect("a call of the model").body["messages"];
    let messages = messages.as_array().expect("a list");
    messages
        .iter()
        .filter(|message| message["role"] != "system")
        .map(|message| message["content"].clone())
        .collect()
}

/// Waits until the formation has another process than this one.
async fn replaced(daemon: &Daemon, id: &str, pid: u32) -> u32 {
    wait_until(PATIENCE, "there is another process", async || {
        let new = daemon.instance_pid(id).await;
        (new != pid).then_some(new)
    })
    .await
}

#[tokio::test]
async fn a_request_sent_while_the_instance_is_down_is_answered_after_the_restart() {
    let (daemon, llm) = (Daemon::builder().switched().start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    assert_eq!(formation.say("one").await.status, 200);
    let prober = Prober::start(formation.port);

    daemon.runtime().hold();
    let pid = daemon.instance_pid("hello").await;
    signal(pid, Signal::KILL);
    replaced(&daemon, "hello", pid).await;
    assert!(!is_alive(pid));
    let sent = SentChat::send(formation.port, "two").await;
    let view = daemon.view("hello").await;
    assert_eq!((&view["status"], &view["healthy"]), (&json!("starting"), &Value::Null));
    let proxied = daemon.get("/api/hello/health").await;
    assert_eq!(proxied.status, 503, "{proxied:?}");

    daemon.runtime().release();
    let (status, body) = sent.answer().await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["data"]["message"]["content"], "fake model: two");
    prober.finish();
    // The session is what it was before the crash.
    assert_eq!(last_prompt(&llm), ["one", "fake model: one", "two"]);
    let view = daemon.wait_status("hello", "running").await;
    assert_eq!(view["restart_count"], 1);
    let texts = formation.transcript().await;
    assert_eq!(texts, ["one", "fake model: one", "two", "fake model: two"]);
}

#[tokio::test]
async fn too_many_deaths_in_a_row_end_in_a_crash_loop_that_an_operator_leaves() {
    let config = json!({"formations": {"max_restarts": 2, "restart_delay": 0}});
    let daemon = Daemon::builder().config(config).switched().start().await;
    let llm = FakeLlm::start().await;
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    daemon.runtime().break_down("boom: no such thing\n");
    signal(daemon.instance_pid("hello").await, Signal::KILL);

    let view = daemon.wait_status("hello", "crash_loop").await;
    assert_eq!(view["reason"], "the process ended with exit status: 1: boom: no such thing");
    assert_eq!((&view["pid"], &view["restart_count"]), (&json!(0), &json!(2)));
    let status = daemon.get("/rpc/server/status").await;
    assert_eq!(status.data()["formations"]["crashed"], 1);
    let answer = formation.say("hi").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(
        answer.body["error"]["message"],
        "Formation 'hello' keeps crashing and was given up; see its log"
    );
    let answer = daemon.get("/api/hello/health").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body["message"], "Formation 'hello' is not running (status: crash_loop)");

    // Still broken: the operator is told what the instance said.
    let answer = daemon.post("/rpc/formations/hello/start").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.body["error"], "HealthCheckFailed");
    assert_eq!(answer.body["details"], json!(["boom: no such thing"]));

    daemon.runtime().mend();
    let answer = daemon.post("/rpc/formations/hello/restart").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(formation.say("hi").await.status, 200);
}

#[tokio::test]
async fn a_deploy_that_dies_at_its_start_says_why_and_leaves_nothing() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let empty = daemon.files_left();
    let secret = manifest("hello", &llm.base_url())
        .replace("llm:\n", "llm:\n  api_keys: {fake: '${{ secrets.NOWHERE }}'}\n");
    for streamed in [false, true] {
        let body = if streamed {
            let frames = daemon.deploy_stream(bundle_with("hello", &secret)).await.rest().await;
            let last = frames.last().expect("a last frame").clone();
            assert_eq!(
                (last.event.as_str(), &last.data["stage"]),
                ("error", &json!("health_check"))
            );
            last.data
        } else {
            let answer = daemon.deploy(bundle_with("hello", &secret)).await;
            assert_eq!(answer.status, 400, "{answer:?}");
            answer.body
        };
        assert_eq!(body["error"], "HealthCheckFailed", "{body}");
        assert!(
            body["message"].as_str().is_some_and(|it| it.contains("crashed during startup")),
            "{body}"
        );
        assert!(body["details"].to_string().contains("NOWHERE"), "{body}");
        assert_eq!(daemon.files_left(), empty);
        assert_eq!(daemon.leased_ports(), [0u16; 0]);
        assert_eq!(daemon.processes(), [0u32; 0]);
        assert_eq!(daemon.get("/rpc/formations/hello").await.status, 404);
    }
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    assert_eq!(formation.port, *daemon.ports().start());
    assert_eq!(formation.say("hi").await.status, 200);
}

#[tokio::test]
async fn a_deploy_that_never_becomes_healthy_is_given_up_in_time() {
    let config = json!({"formations": {"deployment": {"health_check": {"timeout": 1}}}});
    let daemon = Daemon::builder().config(config).switched().start().await;
    let llm = FakeLlm::start().await;
    let empty = daemon.files_left();
    daemon.runtime().hold();
    let begun = Instant::now();
    let answer = daemon.deploy(bundle("hello", &llm.base_url())).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("HealthCheckFailed")));
    let message = "Formation failed health check after 1s: it did not answer as healthy";
    assert_eq!(answer.body["message"], message);
    assert_eq!(daemon.files_left(), empty);
    assert_eq!(daemon.leased_ports(), [0u16; 0]);
    assert_eq!(daemon.processes(), [0u32; 0]);

    daemon.runtime().release();
    daemon.deploy_formation("hello", &llm.base_url()).await;
}

#[tokio::test]
async fn a_hung_instance_is_replaced() {
    let config = json!({"formations": {
        "health_check_interval": 1, "health_check_timeout": 1, "unhealthy_threshold": 1, "stop_grace": 1,
    }});
    let (daemon, llm) = (Daemon::builder().config(config).start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let pid = daemon.instance_pid("hello").await;
    freeze(pid).await;
    let sent = SentChat::send(formation.port, "hi").await;
    replaced(&daemon, "hello", pid).await;
    // The new one does not wait for the end of the old one, which is killed after the grace.
    wait_until(PATIENCE, "the hung process is gone", async || (!is_alive(pid)).then_some(())).await;
    assert_eq!(sent.answer().await.0, 200);
    assert_eq!(daemon.wait_status("hello", "running").await["restart_count"], 1);
}

#[tokio::test]
async fn an_instance_that_ignores_its_end_is_killed_after_the_grace() {
    let config = json!({"formations": {"stop_grace": 1}});
    let daemon = Daemon::builder().config(config).switched().start().await;
    let llm = FakeLlm::start().await;
    let empty = daemon.files_left();
    daemon.runtime().hold();
    daemon.runtime().deafen();
    let mut frames = daemon.deploy_stream(bundle("hello", &llm.base_url())).await;
    frames.until_stage("health_check").await;
    daemon.runtime().reached().await;
    let begun = Instant::now();
    let (deleted, frames) = join(daemon.delete("/rpc/formations/hello"), frames.rest()).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let last = frames.last().expect("a last frame");
    assert_eq!((last.event.as_str(), &last.data["error"]), ("error", &json!("Interrupted")));
    assert_eq!(daemon.processes(), [0u32; 0]);
    assert_eq!(daemon.files_left(), empty);
}

#[tokio::test]
async fn an_idle_stop_is_quick_and_a_busy_one_lets_the_answer_finish() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "more", "gate_after_chunks": 1}}]),
    );
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let mut frames = formation.stream("hi").await;
    frames.until(|frame| frame.data["token"]["content"] == "one ").await;
    let open = async {
        daemon.wait_status("hello", "stopping").await;
        llm.open_gate("more");
        frames.rest().await
    };
    let stop = Answer::of(daemon.request("POST", "/rpc/formations/hello/stop"));
    let (stopped, rest) = join(stop, open).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    assert_eq!(rest.last().expect("a last frame").event, "done");
}
