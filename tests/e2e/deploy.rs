//! Deploy, look, chat: the bodies as clients see them.

use insta::assert_json_snapshot;
use muxi_testkit::daemon::{Answer, Daemon, Frames, bundle, bundle_with, manifest};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;

use crate::snapshot;

#[tokio::test]
async fn a_deploy_is_answered_and_shown_everywhere() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let answer = daemon.deploy(bundle("hello", &llm.base_url())).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let (list, one) =
        (daemon.get("/rpc/formations").await, daemon.get("/rpc/formations/hello").await);
    let status = daemon.get("/rpc/server/status").await;
    assert_eq!(one.body["data"]["port"], *daemon.ports().start());
    assert_eq!(list.body["data"]["formations"][0]["pid"], one.body["data"]["pid"]);
    // What confines it depends on this machine; see sandbox.rs.
    let mut one = one.body;
    for part in ["limits", "sandbox"] {
        let told = one["data"].as_object_mut().expect("an object").remove(part);
        assert!(told.is_some(), "{part}");
    }
    snapshot::with_names(|| {
        assert_json_snapshot!("deploy_answer", answer.body);
        assert_json_snapshot!("list_answer", list.body);
        assert_json_snapshot!("one_answer", one);
        assert_json_snapshot!("status_answer", status.body);
    });
    assert_eq!(daemon.leased_ports(), [*daemon.ports().start()]);
}

#[tokio::test]
async fn a_deploy_can_be_watched_stage_by_stage() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let frames = daemon.deploy_stream(bundle("hello", &llm.base_url())).await;
    assert_eq!(frames.status, 200);
    assert_eq!(frames.headers["content-type"], "text/event-stream; charset=utf-8");
    let frames = frames.rest().await;
    snapshot::with_names(|| assert_json_snapshot!("deploy_frames", snapshot::frames(&frames)));

    for act in ["stop", "start", "restart"] {
        let answer = daemon.post(&format!("/rpc/formations/hello/{act}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        snapshot::with_names(|| assert_json_snapshot!(format!("{act}_answer"), answer.body));
    }
    let restart = daemon.request("POST", "/rpc/formations/hello/restart");
    let frames = Frames::of(restart.header("accept", "text/event-stream")).await.rest().await;
    snapshot::with_names(|| assert_json_snapshot!("restart_frames", snapshot::frames(&frames)));
    let answer = daemon.delete("/rpc/formations/hello").await;
    snapshot::with_names(|| assert_json_snapshot!("delete_answer", answer.body));
    assert_eq!(daemon.get("/rpc/formations/hello").await.status, 404);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let before = daemon.files_left();
    let upload = |id: &str| daemon.upload(bundle(id, &llm.base_url()));
    let plain = daemon.request("POST", "/rpc/formations").body(bundle("other", &llm.base_url()));
    for (name, request, status) in [
        ("refused_duplicate", upload("hello"), 409),
        ("refused_duplicate_header", upload("hello").header("x-formation-id", "hello"), 409),
        ("refused_other_id", upload("other").header("x-formation-id", "another"), 400),
        ("refused_other_version", upload("other").header("x-formation-version", "2.0.0"), 400),
        ("refused_bad_id", upload("other").header("x-formation-id", "../other"), 400),
        ("refused_content_type", plain, 400),
        ("refused_no_update", daemon.request("POST", "/rpc/formations/hello/cancel-update"), 400),
        ("refused_no_previous", daemon.request("POST", "/rpc/formations/hello/rollback"), 400),
        ("refused_method", daemon.request("PATCH", "/rpc/formations/hello"), 405),
        ("refused_unknown_formation", daemon.request("POST", "/rpc/formations/no/stop"), 404),
        ("refused_start_of_running", daemon.request("POST", "/rpc/formations/hello/start"), 409),
    ] {
        let answer = Answer::of(request.header("x-request-id", "r-1")).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        snapshot::with_names(|| assert_json_snapshot!(name, answer.body));
    }
    assert_eq!(daemon.files_left(), before);
    assert_eq!(formation.say("still there?").await.status, 200);

    // Headers that agree are welcome.
    let upload = upload("other").header("x-formation-id", "other");
    let answer = Answer::of(upload.header("x-formation-version", "2.1.0")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn what_is_refused_to_a_stream_is_told_in_it() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    daemon.deploy_formation("hello", &llm.base_url()).await;
    for (act, error) in [
        ("no/start", "NotFound"),
        ("no/restart", "NotFound"),
        ("no/rollback", "NotFound"),
        ("hello/start", "Conflict"),
        ("hello/rollback", "NoPreviousVersion"),
    ] {
        let path = format!("/rpc/formations/{act}");
        let by_header = daemon.request("POST", &path).header("accept", "text/event-stream");
        for request in [by_header, daemon.request("POST", &format!("{path}/stream"))] {
            let frames = Frames::of(request).await;
            assert_eq!(frames.status, 200, "{act}");
            let frames = frames.rest().await;
            assert_eq!((frames.len(), frames[0].event.as_str()), (1, "error"), "{act}: {frames:?}");
            let data = &frames[0].data;
            assert_eq!((&data["error"], &data["stage"]), (&json!(error), &json!("validating")));
        }
        let plain = Answer::of(daemon.request("POST", &path)).await;
        assert_eq!((plain.status >= 400, &plain.body["error"]), (true, &json!(error)), "{act}");
    }
    let audit = daemon.get("/rpc/audit?action=formations.rollback").await;
    let entries = audit.data()["entries"].as_array().expect("a list");
    assert_eq!(entries.len(), 6, "{audit:?}");
    assert!(entries.iter().all(|it| it["outcome"] == "failure"), "{audit:?}");
    // A deploy or an update begins its stream with the whole body only.
    let update = daemon.request("PUT", "/rpc/formations/no").header("accept", "text/event-stream");
    assert_eq!(Answer::of(update).await.status, 404);
    let unsigned = daemon.unsigned("POST", "/rpc/formations/hello/start/stream");
    assert_eq!(Answer::of(unsigned).await.status, 401);
}

#[tokio::test]
async fn a_formation_answers_on_its_port_and_behind_the_manager() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let rule =
        json!({"text": "Once upon a time", "usage": {"prompt_tokens": 9, "completion_tokens": 4}});
    llm.script(json!([{"reply": rule}]));
    let text = manifest("hello", &llm.base_url());
    assert_eq!(daemon.deploy(bundle_with("hello", &text)).await.status, 201);
    let formation = daemon.formation("hello").await;
    for base in [formation.url(), format!("{}/api/hello", daemon.url())] {
        let body = json!({"message": "Tell me", "session_id": "s", "stream": false});
        let answer = Answer::of(formation.chat_at(&base, &body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = json!({"message": "Tell me", "session_id": "s", "stream": true});
        let events = Frames::of(formation.chat_at(&base, &body)).await.rest().await;
        let body = json!({"message": "Tell me", "session_id": "s"});
        let request = formation.chat_at(&base, &body).header("accept", "text/event-stream");
        let tokens = Frames::of(request).await.rest().await;
        // The same snapshots for both ways.
        snapshot::with_names(|| {
            assert_json_snapshot!("chat_answer", answer.body);
            assert_json_snapshot!("chat_events", snapshot::frames(&events));
            assert_json_snapshot!("chat_tokens", snapshot::frames(&tokens));
        });
    }
}
