//! Deploys and updates as the published SDKs send them: JSON that says where the bundle is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};
use muxi_testkit::daemon::{Answer, Daemon, Frames, PATIENCE, bundle, bundle_of_version};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

async fn send(daemon: &Daemon, path: &str, body: &Value) -> Answer {
    Answer::of(daemon.request("POST", &format!("/rpc/formations/{path}")).json(body)).await
}

#[tokio::test]
async fn a_bundle_is_named_by_its_path_or_sent_along() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let file = daemon.scratch().join("bundle.tar.gz");
    std::fs::write(&file, bundle("hello", &llm.base_url())).expect("a file");
    let named = json!({"bundle_path": file, "id": "hello", "version": "2.1.0"});
    let deployed = send(&daemon, "hello/deploy", &named).await;
    assert_eq!(deployed.status, 201, "{deployed:?}");
    assert_eq!(
        (&deployed.data()["status"], &deployed.data()["formation_id"]),
        (&json!("running"), &json!("hello"))
    );
    assert_eq!(send(&daemon, "hello/deploy", &named).await.body["error"], "FormationExists");

    let sent = STANDARD.encode(bundle_of_version("hello", &llm.base_url(), "2.2.0"));
    let updated = send(&daemon, "hello/update", &json!({"bundle": sent})).await;
    assert_eq!((updated.status, &updated.data()["version"]), (200, &json!(2)), "{updated:?}");

    let raw = daemon.request("POST", "/rpc/formations/hello/update/stream");
    let raw = raw.header("content-type", "application/gzip");
    let raw = raw.body(bundle_of_version("hello", &llm.base_url(), "2.3.0"));
    let frames = Frames::of(raw).await.rest().await;
    assert_eq!(frames.last().map(|it| it.event.as_str()), Some("complete"), "{frames:?}");

    std::fs::write(&file, bundle("other", &llm.base_url())).expect("a file");
    let stream = daemon.request("POST", "/rpc/formations/other/deploy/stream");
    let frames = Frames::of(stream.json(&json!({"bundle_path": file}))).await.rest().await;
    assert_eq!(frames[0].data["stage"], "extracting");
    assert_eq!(frames.last().map(|it| it.event.as_str()), Some("complete"), "{frames:?}");
}

#[tokio::test]
async fn faults_of_the_json_are_told_all_at_once() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let many = json!({"bundle_pth": "x", "id": "other", "version": 3});
    let answer = send(&daemon, "hello/deploy", &many).await;
    assert_eq!(
        (answer.status, answer.body["details"].as_array().map(Vec::len)),
        (422, Some(4)),
        "{answer:?}"
    );

    // Clients of streams do not look at the status.
    let stream = daemon.request("POST", "/rpc/formations/hello/deploy/stream").json(&many);
    let frames = Frames::of(stream).await.rest().await;
    assert_eq!((frames.len(), frames[0].event.as_str()), (1, "error"), "{frames:?}");
    assert_eq!(frames[0].data["error"], "InvalidPayload");
    assert_eq!(frames[0].data["details"], answer.body["details"]);

    // The home folder of a manager under test is its scratch folder.
    let scratch = daemon.scratch().to_owned();
    std::os::unix::fs::symlink("/etc/hostname", scratch.join("link.tar.gz")).expect("a link");
    for path in [
        "/etc/hostname".to_owned(),
        "relative.tar.gz".to_owned(),
        scratch.join("../../../etc/hostname").display().to_string(),
        scratch.join("link.tar.gz").display().to_string(),
        scratch.join("nothing.tar.gz").display().to_string(),
        scratch.display().to_string(),
    ] {
        let answer = send(&daemon, "hello/deploy", &json!({"bundle_path": path})).await;
        assert_eq!(answer.status, 422, "{path}: {answer:?}");
    }
    for body in [
        json!([]),
        json!({}),
        json!({"bundle": "?"}),
        json!({"bundle": "eA==", "bundle_path": "/x"}),
    ] {
        assert_eq!(send(&daemon, "hello/deploy", &body).await.status, 422, "{body}");
    }
    let unknown = send(&daemon, "hello/update", &json!({"bundle": "eA=="})).await;
    assert_eq!((unknown.status, &unknown.body["error"]), (404, &json!("NotFound")));
    assert!(
        daemon.files_left().iter().all(|it| it.ends_with('/') || it.starts_with("run/")),
        "{:?}",
        daemon.files_left()
    );

    daemon.deploy_formation("hello", &llm.base_url()).await;
    let wrong = STANDARD.encode(bundle("other", &llm.base_url()));
    let wrong = send(&daemon, "hello/update", &json!({"bundle": wrong})).await;
    assert_eq!((wrong.status, &wrong.body["error"]), (400, &json!("IdentityMismatch")));
}

#[tokio::test]
async fn a_caller_who_stalls_in_the_json_holds_nobody_up() {
    let limits = json!({"limits": {"deploys_at_once": 1, "upload_idle_ms": 200}});
    let (daemon, llm) = (Daemon::builder().config(limits).start().await, FakeLlm::start().await);
    let beginning = stream::once(async { Ok::<_, std::io::Error>("{\"bundle\": \"") });
    let body = reqwest::Body::wrap_stream(beginning.chain(stream::pending()));
    let stalled = daemon.request("POST", "/rpc/formations/slow/deploy").body(body);
    let stalled = stalled.header("content-type", "application/json");
    let stalled = tokio::time::timeout(PATIENCE, Answer::of(stalled)).await.expect("an end");
    assert_eq!((stalled.status, &stalled.body["error"]), (408, &json!("UploadTimeout")));
    let sent = json!({"bundle": STANDARD.encode(bundle("hello", &llm.base_url()))});
    let deployed = send(&daemon, "hello/deploy", &sent).await;
    assert_eq!(deployed.status, 201, "{deployed:?}");
}
