//! Uploads that must be refused: each with its own words, and nothing is left of any.

use std::collections::BTreeMap;

use insta::assert_json_snapshot;
use muxi_testkit::daemon::{Answer, Daemon, Formation, bundle, bundle_with};
use muxi_testkit::fake_llm::FakeLlm;
use muxi_testkit::hostile;
use serde_json::{Value, json};

use crate::snapshot;

/// A manager with one formation that must not notice anything.
struct Scene {
    daemon: Daemon,
    bystander: Formation,
    before: Vec<String>,
    _llm: FakeLlm,
}

async fn scene(config: Value) -> Scene {
    let llm = FakeLlm::start().await;
    let daemon = Daemon::builder().config(config).start().await;
    let bystander = daemon.deploy_formation("bystander", &llm.base_url()).await;
    let before = daemon.files_left();
    Scene { daemon, bystander, before, _llm: llm }
}

// === impl Scene ===

impl Scene {
    /// Uploads both ways; answers the JSON answer after both were found to say the same.
    async fn refuse(&self, what: &str, archive: Vec<u8>) -> Answer {
        let frames = self.daemon.deploy_stream(archive.clone()).await;
        assert_eq!(frames.status, 200, "{what}");
        let frames = frames.rest().await;
        let last = frames.last().expect("a last frame");
        assert_eq!(last.event, "error", "{what}: {frames:?}");

        let answer = self.daemon.deploy(archive).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        for key in ["error", "message", "details"] {
            assert_eq!(answer.body.get(key), last.data.get(key), "{what}");
        }
        self.nothing_happened(what).await;
        answer
    }

    async fn nothing_happened(&self, what: &str) {
        assert_eq!(self.daemon.files_left(), self.before, "{what}");
        assert_eq!(self.daemon.leased_ports(), [self.bystander.port], "{what}");
        assert_eq!(self.daemon.get("/health").await.status, 200, "{what}");
        let list = self.daemon.get("/rpc/formations").await;
        assert_eq!(list.body["data"]["total"], 1, "{what}");
        assert_eq!(self.bystander.get("/health").await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn every_hostile_archive_meets_its_own_words() {
    // Some archives are made to pass this limit by one.
    let scene = scene(json!({"limits": {"entries": 10_000}})).await;
    let mut words = BTreeMap::new();
    for refused in hostile::refused() {
        let answer = scene.refuse(refused.what, refused.archive).await;
        assert_eq!(answer.body["error"], "BundleRejected", "{}: {answer:?}", refused.what);
        let key = format!("{}: {}", refused.variant, refused.what);
        words.insert(key, answer.body["message"].clone());
    }
    snapshot::with_names(|| assert_json_snapshot!("hostile_words", words));
    assert_eq!(scene.bystander.say("still there?").await.status, 200);
}

#[tokio::test]
async fn every_fault_of_a_bundle_is_told_at_once_with_its_place() {
    let scene = scene(json!({})).await;
    let several = "schema: 9.0.0\nid: NO\nnonsense: 1\nagents:\n  - {id: a}\nllm:\n  models:\n    - text: nothing\n";
    for (name, archive) in [
        ("bad_yaml", hostile::bad_yaml()),
        ("bad_manifest", hostile::bad_manifest()),
        ("several_faults", bundle_with("faulty", several)),
    ] {
        let answer = scene.refuse(name, archive).await;
        let details = answer.body["details"].as_array().expect("details").clone();
        for detail in &details {
            // file:line:column: what
            let mut parts = detail.as_str().expect("a text").splitn(4, ':');
            assert_eq!(parts.next(), Some("formation.afs"), "{detail}");
            assert!(parts.next().is_some_and(|line| line.parse::<u32>().is_ok()), "{detail}");
            assert!(parts.next().is_some_and(|column| column.parse::<u32>().is_ok()), "{detail}");
        }
        snapshot::with_names(|| {
            assert_json_snapshot!(
                name,
                json!([answer.body["error"], answer.body["message"], details])
            );
        });
    }
}

#[tokio::test]
async fn an_upload_has_a_size_that_it_may_have() {
    let scene = scene(json!({"limits": {"bundle_bytes": 4096}})).await;
    let mut archive = bundle("large", "http://127.0.0.1:1/v1");
    archive.resize(64 << 10, 0);
    let answer = scene.daemon.deploy(archive).await;
    assert_eq!((answer.status, &answer.body["error"]), (413, &json!("BundleTooLarge")));
    scene.nothing_happened("too large").await;
}

#[tokio::test]
async fn an_uploader_that_falls_silent_or_leaves_is_forgotten() {
    let scene = scene(json!({"limits": {"upload_idle_ms": 200}})).await;
    let archive = bundle("half", "http://127.0.0.1:1/v1");
    let half = archive[..archive.len() / 2].to_vec();
    let begun = futures_util::stream::iter([Ok::<_, std::io::Error>(half)]);
    let silent = futures_util::StreamExt::chain(begun, futures_util::stream::pending());
    let request = scene.daemon.request("POST", "/rpc/formations");
    let request = request.header("content-type", "application/gzip");
    let answer = Answer::of(request.body(reqwest::Body::wrap_stream(silent))).await;
    assert_eq!((answer.status, &answer.body["error"]), (408, &json!("UploadTimeout")));
    scene.nothing_happened("silent").await;
}
