//! The manager killed with -9 at every point: formations serve on, and what was under way is
//! found done or gone by the next manager.

use std::time::Duration;

use futures_util::StreamExt as _;
use muxi_testkit::daemon::{Daemon, PATIENCE, bundle, freeze, signal, wait_until};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::json;

use crate::raw::Prober;

/// Waits until nothing is under way; answers the formation's status, or `absent`.
async fn settled(daemon: &Daemon, id: &str) -> String {
    wait_until(PATIENCE, &format!("{id} has settled"), async || {
        let answer = daemon.get(&format!("/rpc/formations/{id}")).await;
        if answer.status == 404 {
            return Some("absent".to_owned());
        }
        let status = answer.data()["status"].as_str().expect("a status").to_owned();
        let moving = ["starting", "stopping", "crashed"].contains(&status.as_str());
        (!moving).then_some(status)
    })
    .await
}

/// Whole or gone: answers which of the two, after checking it to the last file.
async fn check_outcome(daemon: &Daemon, llm: &FakeLlm, empty: &[String], what: &str) -> String {
    let outcome = settled(daemon, "hello").await;
    if outcome == "absent" {
        assert_eq!(daemon.files_left(), empty, "{what}");
        assert_eq!(daemon.leased_ports(), [0u16; 0], "{what}");
        assert_eq!(daemon.processes(), [0u32; 0], "{what}");
        daemon.deploy_formation("hello", &llm.base_url()).await;
    }
    if outcome == "stopped" {
        assert_eq!(daemon.processes(), [0u32; 0], "{what}");
        assert_eq!(daemon.post("/rpc/formations/hello/start").await.status, 200, "{what}");
    }
    let formation = daemon.formation("hello").await;
    assert_eq!(formation.say("hi").await.status, 200, "{what}");
    // After a restart the old process may still finish what it has.
    wait_until(PATIENCE, &format!("one process is left after {what}"), async || {
        let one = daemon.instances() == [daemon.instance_pid("hello").await];
        (one && daemon.log_writers().len() == 1).then_some(())
    })
    .await;
    assert_eq!(daemon.leased_ports(), [formation.port], "{what}");
    assert!(daemon.files_left().iter().all(|it| !it.starts_with("tmp/") || it == "tmp/"), "{what}");
    // And nothing stands in the way of the next act.
    assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200, "{what}");
    assert_eq!(daemon.files_left(), empty, "{what}");
    outcome
}

#[tokio::test]
async fn during_every_stage_of_a_deploy() {
    let llm = FakeLlm::start().await;
    let mut daemon = Daemon::builder().switched().start().await;
    let empty = daemon.files_left();
    let mut outcomes = Vec::new();

    let archive = bundle("hello", &llm.base_url());
    let half = archive[..archive.len() / 2].to_vec();
    let begun = futures_util::stream::iter([Ok::<_, std::io::Error>(half)]);
    let body = reqwest::Body::wrap_stream(begun.chain(futures_util::stream::pending()));
    let request = daemon.request("POST", "/rpc/formations");
    let upload = request.header("content-type", "application/gzip").body(body).send();
    let arrived = wait_until(PATIENCE, "half the upload is there", async || {
        daemon.files_left().iter().any(|path| path.starts_with("tmp/upload-")).then_some(())
    });
    tokio::select! {
        answer = upload => panic!("an answer to half a request: {answer:?}"),
        () = arrived => {}
    }
    daemon.kill9();
    daemon.start_again().await;
    outcomes.push(("upload", check_outcome(&daemon, &llm, &empty, "upload").await));

    for stage in ["extracting", "resolving_runtime", "spawning", "health_check"] {
        let mut frames = daemon.deploy_stream(archive.clone()).await;
        frames.until_stage(stage).await;
        daemon.kill9();
        daemon.start_again().await;
        outcomes.push((stage, check_outcome(&daemon, &llm, &empty, stage).await));
    }

    // The same with an instance that has not begun to serve when the next manager comes.
    daemon.runtime().hold();
    let mut frames = daemon.deploy_stream(archive.clone()).await;
    frames.until_stage("health_check").await;
    daemon.kill9();
    daemon.start_again().await;
    assert_eq!(daemon.view("hello").await["status"], "starting");
    daemon.runtime().release();
    let what = "health_check, held";
    outcomes.push((what, check_outcome(&daemon, &llm, &empty, what).await));

    // And with one that dies while there is no manager.
    daemon.runtime().hold();
    let mut frames = daemon.deploy_stream(archive.clone()).await;
    frames.until_stage("health_check").await;
    daemon.kill9();
    for pid in daemon.processes() {
        signal(pid, Signal::KILL);
    }
    daemon.runtime().release();
    daemon.start_again().await;
    let what = "health_check, instance dies too";
    outcomes.push((what, check_outcome(&daemon, &llm, &empty, what).await));

    let frames = daemon.deploy_stream(archive.clone()).await.rest().await;
    assert_eq!(frames.last().expect("a last frame").event, "complete");
    daemon.kill9();
    daemon.start_again().await;
    outcomes.push(("complete", check_outcome(&daemon, &llm, &empty, "complete").await));

    for (stage, outcome) in &outcomes {
        println!("{stage:32} {outcome}");
        assert!(["running", "absent"].contains(&outcome.as_str()), "{stage}: {outcome}");
    }
    assert_eq!(outcomes[0].1, "absent");
    assert_eq!(outcomes.last().map(|it| it.1.as_str()), Some("running"));
}

#[tokio::test]
async fn at_any_moment_of_a_deploy() {
    let (mut daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let empty = daemon.files_left();
    for after_ms in (0..60).step_by(3) {
        let moment = Duration::from_millis(after_ms);
        // The time is what is tested: it falls between the stages, too.
        let deploy = daemon.deploy(bundle("hello", &llm.base_url()));
        let answered = tokio::time::timeout(moment, deploy).await.is_ok();
        daemon.kill9();
        daemon.start_again().await;
        let what = format!("after {after_ms} ms");
        let outcome = check_outcome(&daemon, &llm, &empty, &what).await;
        println!("{what:32} {outcome}");
        assert!(outcome == "running" || (outcome == "absent" && !answered), "{what}: {outcome}");
    }
}

#[tokio::test]
async fn during_start_restart_stop_and_delete() {
    let llm = FakeLlm::start().await;
    let mut daemon = Daemon::builder().switched().start().await;
    let empty = daemon.files_left();

    for act in ["start", "restart"] {
        daemon.deploy_formation("hello", &llm.base_url()).await;
        if act == "start" {
            assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
        }
        daemon.runtime().hold();
        let request = daemon.request("POST", &format!("/rpc/formations/hello/{act}"));
        let request = request.header("accept", "text/event-stream");
        let mut frames = muxi_testkit::daemon::Frames::of(request).await;
        frames.until_stage("health_check").await;
        daemon.kill9();
        daemon.start_again().await;
        daemon.runtime().release();
        assert_eq!(check_outcome(&daemon, &llm, &empty, act).await, "running");
    }

    for (method, path, expected) in [
        ("POST", "/rpc/formations/hello/stop", "stopped"),
        ("DELETE", "/rpc/formations/hello", "absent"),
    ] {
        daemon.deploy_formation("hello", &llm.base_url()).await;
        let pid = daemon.instance_pid("hello").await;
        // Its end waits until the test lets it go on.
        freeze(pid).await;
        let act = daemon.request(method, path).send();
        let stopping = daemon.wait_status("hello", "stopping");
        tokio::select! {
            answer = act => panic!("{method} ended before its instance did: {answer:?}"),
            _ = stopping => {}
        }
        daemon.kill9();
        signal(pid, Signal::CONT);
        daemon.start_again().await;
        assert_eq!(check_outcome(&daemon, &llm, &empty, path).await, expected, "{method}");
    }
}

#[tokio::test]
async fn a_stream_from_the_formations_port_does_not_notice() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"match": {"contains": "slowly"}, "reply": {
        "chunks": ["one ", "two ", "three"], "gate": "more", "gate_after_chunks": 1,
    }}]));
    let mut daemon = Daemon::start().await;
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let pid = daemon.instance_pid("hello").await;
    let prober = Prober::start(formation.port);
    let mut frames = formation.stream("slowly").await;
    frames.until(|frame| frame.data["token"]["content"] == "one ").await;

    daemon.kill9();
    // With no manager at all, others are served, too.
    assert_eq!(formation.say_in("other", "hi").await.status, 200);
    llm.open_gate("more");
    let rest = frames.rest().await;
    let completed = &rest[rest.len() - 2].data["token"];
    assert_eq!(completed["content"], "one two three");
    assert_eq!(rest.last().expect("a last frame").event, "done");

    // Twice in a row, the second one before the first has settled.
    daemon.start_again().await;
    daemon.kill9();
    daemon.start_again().await;
    let view = daemon.wait_status("hello", "running").await;
    assert_eq!((view["pid"].as_u64(), &view["restart_count"]), (Some(pid.into()), &json!(0)));
    assert!(daemon.log().contains("adopted"));
    let proxied = format!("{}/api/hello", daemon.url());
    let request = formation.chat_at(&proxied, &json!({"message": "hi", "stream": false}));
    assert_eq!(request.send().await.expect("an answer").status(), 200);

    // The port outlives both together with the manager that adopted it.
    signal(pid, Signal::KILL);
    wait_until(PATIENCE, "the instance is replaced", async || {
        (daemon.instance_pid("hello").await != pid).then_some(())
    })
    .await;
    daemon.wait_status("hello", "running").await;
    assert_eq!(formation.say("hi").await.status, 200);
    prober.finish();
    assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
    assert_eq!(daemon.processes(), [0u32; 0]);
}

#[tokio::test]
async fn together_with_the_instance() {
    let (mut daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    assert_eq!(formation.say("one").await.status, 200);
    let pid = daemon.instance_pid("hello").await;
    daemon.kill9();
    signal(pid, Signal::KILL);
    daemon.start_again().await;
    let view = daemon.wait_status("hello", "running").await;
    assert_eq!(view["port"], formation.port);
    assert_ne!(view["pid"].as_u64(), Some(pid.into()));
    assert_eq!(formation.say("two").await.status, 200);
    assert_eq!(formation.transcript().await[0], "one");
}
