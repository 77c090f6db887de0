//! Updates, rollbacks and what they leave behind.

use std::time::Duration;

use insta::assert_json_snapshot;
use muxi_testkit::daemon::{
    Answer, Daemon, Formation, Frames, PATIENCE, bundle_of_version, signal, wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::snapshot;

/// A manager whose trials are as long as the test says.
async fn daemon(watch_window: u32) -> Daemon {
    let config = json!({"formations": {
        "deployment": {"watch_window": watch_window}, "keep_generations": 3, "drain": 20,
    }});
    Daemon::builder().config(config).switched().start().await
}

async fn deployed(daemon: &Daemon, llm: &FakeLlm) -> Formation {
    let answer = daemon.deploy(bundle_of_version("hello", &llm.base_url(), "1.0.0")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    daemon.formation("hello").await
}

fn version(llm: &FakeLlm, version: &str) -> Vec<u8> {
    bundle_of_version("hello", &llm.base_url(), version)
}

/// Numbers of the generations whose folders are there.
fn folders(daemon: &Daemon) -> Vec<u64> {
    let path = daemon.data_dir().join("formations/hello/generations");
    let entries = std::fs::read_dir(path).expect("generations");
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.to_str().and_then(|name| name.parse().ok()).expect("a number")
    };
    let mut found: Vec<u64> = entries.map(number).collect();
    found.sort_unstable();
    found
}

fn archives(daemon: &Daemon) -> usize {
    std::fs::read_dir(daemon.data_dir().join("bundles")).expect("bundles").count()
}

/// One process, one row, and as many files as there are generations.
async fn settled(daemon: &Daemon, generations: &[u64]) {
    let what = format!("one process and generations {generations:?} are left");
    wait_until(PATIENCE, &what, async || {
        let quiet = daemon.instances().len() == 1
            && folders(daemon) == generations
            && archives(daemon) == generations.len();
        quiet.then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_update_and_a_rollback_are_told_and_shown() {
    let (daemon, llm) = (daemon(0).await, FakeLlm::start().await);
    let formation = deployed(&daemon, &llm).await;
    assert_eq!(formation.say("one").await.status, 200);
    let port = formation.port;

    let frames = daemon.update_stream("hello", version(&llm, "1.1.0")).await.rest().await;
    snapshot::with_names(|| assert_json_snapshot!("update_frames", snapshot::frames(&frames)));
    let updated = daemon.update("hello", version(&llm, "1.2.0")).await;
    assert_eq!((updated.status, updated.data()["port"].as_u64()), (200, Some(port.into())));
    snapshot::with_names(|| assert_json_snapshot!("update_answer", updated.body));
    let view = daemon.get("/rpc/formations/hello").await;
    assert_eq!(view.headers["etag"], "\"3\"");
    let mut shown = view.body.clone();
    // What the machine enforces has tests of its own.
    for key in ["limits", "sandbox"] {
        shown["data"].as_object_mut().expect("a view").remove(key);
    }
    snapshot::with_names(|| assert_json_snapshot!("updated_view", shown));

    let back = daemon.post("/rpc/formations/hello/rollback").await;
    snapshot::with_names(|| assert_json_snapshot!("rollback_answer", back.body));
    assert_eq!(daemon.view("hello").await["version"]["semantic"], "1.1.0");
    // Once more is forward again, and any kept generation can be named.
    assert_eq!(daemon.post("/rpc/formations/hello/rollback").await.data()["version"], 3);
    let to_first = daemon.request("POST", "/rpc/formations/hello/rollback");
    let to_first = to_first.json(&json!({"generation": 1}));
    let frames = Frames::of(to_first.header("accept", "text/event-stream")).await.rest().await;
    snapshot::with_names(|| assert_json_snapshot!("rollback_frames", snapshot::frames(&frames)));
    assert_eq!(formation.transcript().await, ["one", "fake model: one"], "its memory is its own");
    settled(&daemon, &[1, 2, 3]).await;

    // The stored operation is the same story, from wherever a client lost it.
    let operation = frames[0].data["operation_id"].as_str().expect("an operation").to_owned();
    let told = daemon.get(&format!("/rpc/operations/{operation}")).await;
    assert_eq!(told.data()["state"], "succeeded");
    assert_eq!(told.data()["events"].as_array().map(Vec::len), Some(frames.len()));
    let again = daemon.request("GET", &format!("/rpc/operations/{operation}/stream"));
    let again = Frames::of(again.header("last-event-id", "3")).await.rest().await;
    assert_eq!(snapshot::frames(&again), snapshot::frames(&frames[3..]));
    let done = daemon.request("GET", &format!("/rpc/operations/{operation}/stream"));
    let last = frames.len().to_string();
    assert!(Frames::of(done.header("last-event-id", last)).await.rest().await.is_empty());
}

#[tokio::test]
async fn old_generations_go_and_numbers_never_come_back() {
    let (daemon, llm) = (daemon(0).await, FakeLlm::start().await);
    deployed(&daemon, &llm).await;
    for number in 2..=6 {
        let answer = daemon.update("hello", version(&llm, &format!("1.{number}.0"))).await;
        assert_eq!(answer.data()["version"], number, "{answer:?}");
    }
    settled(&daemon, &[4, 5, 6]).await;
    let gone = daemon.request("POST", "/rpc/formations/hello/rollback");
    let gone = Answer::of(gone.json(&json!({"generation": 1}))).await;
    assert_eq!(gone.status, 404, "{gone:?}");
    assert_eq!(gone.body["message"], "Generation 1 is not kept; kept are 6, 5, 4");
    // The same bundle as an older generation is a new one; as the current one it is no change.
    assert_eq!(daemon.update("hello", version(&llm, "1.4.0")).await.data()["version"], 7);
    assert_eq!(daemon.update("hello", version(&llm, "1.4.0")).await.body["error"], "NoChange");
}

#[tokio::test]
async fn what_does_not_fit_an_update_is_refused_by_name() {
    let (daemon, llm) = (daemon(0).await, FakeLlm::start().await);
    deployed(&daemon, &llm).await;
    let before = daemon.files_left();
    let other = bundle_of_version("other", &llm.base_url(), "2.0.0");
    let put = |bundle| daemon.put("hello", bundle);
    for (request, status, error) in [
        (put(other), 400, "IdentityMismatch"),
        (
            put(version(&llm, "2.0.0")).header("x-formation-version", "3.0.0"),
            400,
            "IdentityMismatch",
        ),
        (put(version(&llm, "2.0.0")).header("if-match", "\"7\""), 412, "PreconditionFailed"),
        (put(version(&llm, "2.0.0")).header("if-match", "what"), 400, "ValidationError"),
        (put(version(&llm, "1.0.0")), 409, "NoChange"),
        (put(b"no archive".to_vec()), 400, "BundleRejected"),
        (daemon.put("unknown", version(&llm, "2.0.0")), 404, "NotFound"),
        (
            daemon.request("POST", "/rpc/formations/hello/rollback").body("{"),
            400,
            "ValidationError",
        ),
    ] {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, &answer.body["error"]), (status, &json!(error)), "{answer:?}");
    }
    assert_eq!(daemon.files_left(), before);
    let fits = put(version(&llm, "2.0.0")).header("if-match", "\"1\"");
    assert_eq!(Answer::of(fits).await.status, 200);
}

#[tokio::test]
async fn a_generation_that_does_not_start_leaves_the_old_one_serving() {
    let (daemon, llm) = (daemon(5).await, FakeLlm::start().await);
    let formation = deployed(&daemon, &llm).await;
    let pid = daemon.instance_pid("hello").await;
    daemon.runtime().break_down("cannot open the mind");
    let answer = daemon.update("hello", version(&llm, "2.0.0")).await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("HealthCheckFailed")));
    let message = answer.body["message"].as_str().expect("a message");
    assert!(
        message.starts_with("New version failed health check: Formation crashed during startup: "),
        "{message}"
    );
    assert!(
        message.ends_with("Old version still running - zero downtime maintained."),
        "{message}"
    );
    assert_eq!(answer.body["details"], json!(["cannot open the mind"]));
    assert_eq!(formation.say("still there?").await.status, 200);
    assert_eq!(daemon.instance_pid("hello").await, pid);
    settled(&daemon, &[1]).await;
    // The failed number is not used again.
    daemon.runtime().mend();
    assert_eq!(daemon.update("hello", version(&llm, "2.0.0")).await.data()["version"], 3);
}

#[tokio::test]
async fn a_generation_that_fails_on_trial_goes_back_by_itself() {
    let (daemon, llm) = (daemon(600).await, FakeLlm::start().await);
    let formation = deployed(&daemon, &llm).await;
    let old = daemon.instance_pid("hello").await;
    let mut frames = daemon.update_stream("hello", version(&llm, "2.0.0")).await;
    frames.until_stage("swapping").await;
    let view = daemon.view("hello").await;
    assert_eq!(
        view["rollout"],
        json!({"phase": "on_trial", "to_generation": 2, "from_generation": 1})
    );
    let new = daemon.instance_pid("hello").await;
    assert_ne!(old, new);
    signal(new, Signal::KILL);
    let rest = frames.rest().await;
    let last = rest.last().expect("a last frame");
    assert_eq!((last.event.as_str(), &last.data["stage"]), ("error", &json!("swapping")));
    let message = last.data["message"].as_str().expect("a message");
    assert!(message.contains("failed within the 600s in which it was watched"), "{message}");
    assert_eq!(daemon.instance_pid("hello").await, old, "the one that stood by serves again");
    assert_eq!(formation.say("still there?").await.status, 200);
    settled(&daemon, &[1]).await;
}

#[tokio::test]
async fn an_update_can_be_cancelled_at_any_stage() {
    let (daemon, llm) = (daemon(600).await, FakeLlm::start().await);
    let formation = deployed(&daemon, &llm).await;
    let old = daemon.instance_pid("hello").await;
    for stage in ["health_check", "swapping"] {
        if stage == "health_check" {
            daemon.runtime().hold();
        }
        let mut frames = daemon.update_stream("hello", version(&llm, "2.0.0")).await;
        frames.until_stage(stage).await;
        let busy = daemon.update("hello", version(&llm, "3.0.0")).await;
        assert_eq!(busy.body["message"], "Formation is already being updated");
        let cancelled = daemon.post("/rpc/formations/hello/cancel-update").await;
        assert_eq!(cancelled.status, 200, "{cancelled:?}");
        assert_eq!(cancelled.body["message"], "Update cancelled successfully");
        assert_eq!(cancelled.body["current_port"], formation.port);
        let rest = frames.rest().await;
        let last = rest.last().expect("a last frame");
        assert_eq!((last.event.as_str(), &last.data["error"]), ("error", &json!("Cancelled")));
        if stage == "health_check" {
            daemon.runtime().release();
        }
        wait_until(PATIENCE, "the old process serves", async || {
            (daemon.instance_pid("hello").await == old).then_some(())
        })
        .await;
        assert_eq!(formation.say("still there?").await.status, 200);
        settled(&daemon, &[1]).await;
    }
}

#[tokio::test]
async fn a_stopped_formation_can_be_updated_and_is_stopped_again_if_that_fails() {
    let (daemon, llm) = (daemon(0).await, FakeLlm::start().await);
    deployed(&daemon, &llm).await;
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    daemon.runtime().break_down("no");
    let answer = daemon.update("hello", version(&llm, "2.0.0")).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let message = answer.body["message"].as_str().expect("a message");
    assert!(message.ends_with("The formation is stopped again, at generation 1."), "{message}");
    let view = daemon.wait_status("hello", "stopped").await;
    assert_eq!(view["version"]["semantic"], "1.0.0");
    daemon.runtime().mend();
    assert_eq!(daemon.update("hello", version(&llm, "2.0.0")).await.status, 200);
    assert_eq!(daemon.view("hello").await["status"], "running");
}

#[tokio::test]
async fn a_long_answer_outlives_an_update_up_to_the_drain_deadline() {
    let config = json!({"formations": {
        "deployment": {"watch_window": 0}, "drain": 2, "stop_grace": 1,
    }});
    let daemon = Daemon::builder().config(config).start().await;
    let llm = FakeLlm::start().await;
    llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "more", "gate_after_chunks": 1}}]),
    );
    let formation = deployed(&daemon, &llm).await;
    let mut kept = formation.stream("hi").await;
    kept.until(|frame| frame.data["token"]["content"] == "one ").await;
    assert_eq!(daemon.update("hello", version(&llm, "2.0.0")).await.status, 200);
    llm.open_gate("more");
    assert_eq!(kept.rest().await.last().expect("a last frame").event, "done");

    // One that never ends does not keep the old process for ever.
    llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "never", "gate_after_chunks": 1}}]),
    );
    let mut endless = formation.stream("hi").await;
    endless.until(|frame| frame.data["token"]["content"] == "one ").await;
    assert_eq!(daemon.update("hello", version(&llm, "3.0.0")).await.status, 200);
    wait_until(PATIENCE, "the old process is gone", async || {
        (daemon.instances().len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rollout_goes_on_after_the_manager_was_killed() {
    for stage in ["spawning_staging", "health_check", "swapping"] {
        let (mut daemon, llm) = (daemon(1).await, FakeLlm::start().await);
        let formation = deployed(&daemon, &llm).await;
        if stage != "swapping" {
            daemon.runtime().hold();
        }
        let mut frames = daemon.update_stream("hello", version(&llm, "2.0.0")).await;
        let operation = frames.until(|it| it.data["operation_id"].is_string()).await;
        let operation = operation.data["operation_id"].as_str().expect("an id").to_owned();
        frames.until_stage(stage).await;
        daemon.kill9();
        if stage != "swapping" {
            daemon.runtime().release();
        }
        daemon.start_again().await;
        let told = daemon.request("GET", &format!("/rpc/operations/{operation}/stream"));
        let rest = Frames::of(told).await.rest().await;
        assert_eq!(rest.last().expect("a last frame").event, "complete", "{stage}: {rest:?}");
        let view: Value = daemon.view("hello").await;
        assert_eq!(view["version"]["semantic"], "2.0.0", "{stage}");
        assert_eq!(formation.say("still there?").await.status, 200);
        settled(&daemon, &[1, 2]).await;
    }
}

#[tokio::test]
async fn a_restart_that_fails_leaves_the_old_process() {
    let (daemon, llm) = (daemon(0).await, FakeLlm::start().await);
    let formation = deployed(&daemon, &llm).await;
    let old = daemon.instance_pid("hello").await;
    daemon.runtime().break_down("not today");
    let answer = daemon.post("/rpc/formations/hello/restart").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let message = answer.body["message"].as_str().expect("a message");
    assert!(message.ends_with("The process that served before goes on."), "{message}");
    assert_eq!(daemon.instance_pid("hello").await, old);
    assert_eq!(formation.say("still there?").await.status, 200);
    tokio::time::timeout(Duration::from_secs(30), settled(&daemon, &[1])).await.expect("settled");
}
