//! Webhooks: every event at least once, in order for each formation, signed, through refusals and
//! the death of the manager.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use muxi_contract::events::sign;
use muxi_testkit::daemon::{
    Answer, Builder, Daemon, Frames, PATIENCE, bundle, bundle_with, manifest, now_s, signal,
    wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::{Value, json};

const WEBHOOK_SECRET: &str = "whsec_of_the_test";

/// One request that came.
#[derive(Debug, Clone)]
struct Hit {
    headers: BTreeMap<String, String>,
    body: String,
    event: Value,
}

/// The outside: takes what it is told to take.
#[derive(Clone)]
struct Receiver {
    port: u16,
    state: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    hits: Vec<Hit>,
    /// Answers for the next requests; 200 once they are used up.
    answers: Vec<u16>,
    is_closed: bool,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let receiver = Self { port, state: Arc::default() };
        let app = Router::new().route("/hook", post(Self::take)).with_state(receiver.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    #[expect(clippy::unused_async, reason = "handlers are async")]
    async fn take(
        State(receiver): State<Self>,
        headers: HeaderMap,
        body: Bytes,
    ) -> (StatusCode, &'static str) {
        let mut told = receiver.told();
        let status = match told.answers.is_empty() {
            _ if told.is_closed => 503,
            true => 200,
            false => told.answers.remove(0),
        };
        let text = |value: &axum::http::HeaderValue| value.to_str().expect("ASCII").to_owned();
        let body = String::from_utf8(body.to_vec()).expect("JSON");
        told.hits.push(Hit {
            headers: headers.iter().map(|(name, it)| (name.to_string(), text(it))).collect(),
            event: serde_json::from_str(&body).expect("JSON"),
            body,
        });
        (StatusCode::from_u16(status).expect("a status"), "a word from the receiver")
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_next(&self, statuses: &[u16]) {
        self.told().answers.extend(statuses);
    }

    fn close(&self, is_closed: bool) {
        self.told().is_closed = is_closed;
    }

    fn hits(&self) -> Vec<Hit> {
        self.told().hits.clone()
    }

    /// Types of the events of a formation in the order in which they came first.
    fn types(&self, formation: &str) -> Vec<String> {
        let mut seen = Vec::new();
        let mut types = Vec::new();
        for hit in self.hits() {
            let id = hit.event["id"].clone();
            if hit.event["formation"]["id"] == formation && !seen.contains(&id) {
                seen.push(id);
                types.push(hit.event["type"].as_str().expect("a type").to_owned());
            }
        }
        types
    }

    async fn wait_types(&self, formation: &str, expected: &[&str]) {
        wait_until(PATIENCE, &format!("{expected:?} came"), async || {
            (self.types(formation).len() >= expected.len()).then_some(())
        })
        .await;
        assert_eq!(self.types(formation), expected);
    }
}

fn with_webhook(receiver: &Receiver, more: &Value) -> Builder {
    let mut webhook = json!({
        "id": "ops",
        "url": format!("http://127.0.0.1:{}/hook", receiver.port),
        "secret": WEBHOOK_SECRET,
    });
    webhook.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
    Daemon::builder().config(json!({"webhooks": [webhook]}))
}

/// What a receiver does with a published SDK: the time within five minutes, the hash over the bytes.
fn verify(hit: &Hit) {
    let given = &hit.headers["x-muxi-signature"];
    let (timestamp, _) =
        given.strip_prefix("t=").and_then(|it| it.split_once(',')).expect("t=,v1=");
    let timestamp: i64 = timestamp.parse().expect("Unix seconds");
    assert!(now_s().abs_diff(timestamp) < 300, "{given}");
    assert_eq!(*given, sign(WEBHOOK_SECRET, timestamp, hit.body.as_bytes()));
    assert_eq!(hit.headers["x-muxi-event-id"], hit.event["id"].as_str().expect("an id"));
    assert_eq!(hit.headers["x-muxi-event"], hit.event["type"].as_str().expect("a type"));
    assert!(hit.headers["x-muxi-delivery"].starts_with("dlv_"));
}

#[tokio::test]
async fn every_turn_of_a_formations_life_is_told_in_order() {
    let (receiver, llm) = (Receiver::start().await, FakeLlm::start().await);
    let daemon = with_webhook(&receiver, &json!({}))
        .config(json!({"formations": {"max_restarts": 2, "restart_delay": 0}}))
        .switched()
        .start()
        .await;
    daemon.deploy_formation("hello", &llm.base_url()).await;
    let pid = daemon.instance_pid("hello").await;
    signal(pid, Signal::KILL);
    receiver
        .wait_types("hello", &["formation.deployed", "formation.crashed", "formation.recovered"])
        .await;
    daemon.wait_status("hello", "running").await;
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    let started = daemon.request("POST", "/rpc/formations/hello/start");
    let started = Answer::of(started.header("x-request-id", "req_of_the_start")).await;
    assert_eq!(started.status, 200, "{started:?}");

    daemon.runtime().break_down("no good today");
    signal(daemon.instance_pid("hello").await, Signal::KILL);
    daemon.wait_status("hello", "crash_loop").await;
    daemon.runtime().mend();
    assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
    wait_until(PATIENCE, "the end is told", async || {
        receiver.types("hello").contains(&"formation.deleted".to_owned()).then_some(())
    })
    .await;
    let types = receiver.types("hello");
    println!("{types:#?}");
    let begin = ["deployed", "crashed", "recovered", "stopped", "started", "crashed"];
    let begin: Vec<String> = begin.iter().map(|it| format!("formation.{it}")).collect();
    assert_eq!(types[..6], begin);
    assert_eq!(types[types.len() - 2..], ["formation.crash_loop", "formation.deleted"]);
    let between = &types[6..types.len() - 2];
    assert!(between.iter().all(|it| it == "formation.crashed"), "{between:?}");

    let hits = receiver.hits();
    hits.iter().for_each(verify);
    let of = |kind: &str| {
        let name = format!("formation.{kind}");
        hits.iter().rfind(|it| it.event["type"] == name).map(|it| it.event.clone()).expect("told")
    };
    let deployed = of("deployed");
    assert_eq!(deployed["server_id"], "server-test");
    assert_eq!(deployed["formation"]["generation"], 1);
    assert_eq!(deployed["formation"]["version"], "2.1.0");
    assert!(deployed["operation_id"].as_str().is_some_and(|it| it.starts_with("op_")));
    let crashed = of("crashed");
    // Whether a process that ends at once was ever there differs; that the formation was given up does not.
    let given_up = of("crash_loop");
    assert!(given_up["log"].to_string().contains("no good today"), "{given_up}");
    assert!(crashed["reason"].as_str().is_some_and(|it| it.contains("ended")), "{crashed}");
    assert_eq!(of("started")["request_id"], "req_of_the_start");

    // A failed deploy says why, with the end of the log.
    daemon.runtime().break_down("cannot begin");
    assert_eq!(daemon.deploy(bundle("other", &llm.base_url())).await.status, 400);
    receiver.wait_types("other", &["formation.deploy_failed"]).await;
    let failed = receiver.hits().pop().expect("a hit").event;
    assert!(failed["log"].to_string().contains("cannot begin"), "{failed}");
}

#[tokio::test]
async fn rollouts_are_told_with_the_generation_that_serves_afterwards() {
    let (receiver, llm) = (Receiver::start().await, FakeLlm::start().await);
    let window = json!({"formations": {"deployment": {"watch_window": 1}}});
    let daemon = with_webhook(&receiver, &json!({})).config(window).switched().start().await;
    daemon.deploy_formation("hello", &llm.base_url()).await;
    let next = manifest("hello", &llm.base_url()).replace("2.1.0", "2.2.0");
    let updated = daemon.update("hello", bundle_with("hello", &next)).await;
    assert_eq!(updated.status, 200, "{updated:?}");
    let back = daemon.post("/rpc/formations/hello/rollback").await;
    assert_eq!(back.status, 200, "{back:?}");
    daemon.runtime().break_down("not this one");
    let bad = next.replace("2.2.0", "2.3.0");
    assert_eq!(daemon.update("hello", bundle_with("hello", &bad)).await.status, 400);
    let told = ["deployed", "updated", "rolled_back", "update_failed"];
    let told: Vec<String> = told.iter().map(|it| format!("formation.{it}")).collect();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    receiver.wait_types("hello", &told).await;
    let events: Vec<Value> = receiver.hits().into_iter().map(|it| it.event).collect();
    let after = |at: usize| {
        let formation = &events[at]["formation"];
        (formation["generation"].clone(), formation["version"].clone())
    };
    assert_eq!(after(1), (json!(2), json!("2.2.0")));
    assert_eq!(after(2), (json!(1), json!("2.1.0")));
    assert_eq!(after(3), (json!(1), json!("2.1.0")), "what served before goes on");
    assert!(events[3]["log"].to_string().contains("not this one"), "{}", events[3]);
    assert!(events[3]["reason"].as_str().is_some_and(|it| it.contains("New version")));
}

#[tokio::test]
async fn what_is_refused_comes_again_and_keeps_its_order() {
    let (receiver, llm) = (Receiver::start().await, FakeLlm::start().await);
    let mut daemon = with_webhook(
        &receiver,
        &json!({"events": [
            "formation.deployed", "formation.stopped", "formation.started", "formation.deleted",
        ]}),
    )
    .start()
    .await;
    receiver.answer_next(&[500, 302]);
    daemon.deploy_formation("hello", &llm.base_url()).await;
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    receiver.wait_types("hello", &["formation.deployed", "formation.stopped"]).await;
    let hits = receiver.hits();
    assert_eq!(hits.len(), 4, "refused twice, then taken, then the next");
    assert!(hits[..3].iter().all(|it| it.event["type"] == "formation.deployed"));
    assert!(
        hits[..3]
            .iter()
            .all(|it| it.headers["x-muxi-delivery"] == hits[0].headers["x-muxi-delivery"])
    );
    hits.iter().for_each(verify);

    // The manager dies with an event that nobody has taken.
    receiver.close(true);
    assert_eq!(daemon.post("/rpc/formations/hello/start").await.status, 200);
    daemon.kill9();
    receiver.close(false);
    daemon.start_again().await;
    receiver
        .wait_types("hello", &["formation.deployed", "formation.stopped", "formation.started"])
        .await;

    // What was given up comes back when an operator says so.
    let path = "/rpc/webhooks/deliveries?formation=hello&state=delivered&limit=2";
    let page = wait_until(PATIENCE, "all are noted", async || {
        let page = daemon.get("/rpc/webhooks/deliveries?state=pending").await;
        if !page.data()["deliveries"].as_array()?.is_empty() {
            return None;
        }
        Some(daemon.get(path).await.data().clone())
    })
    .await;
    let first = &page["deliveries"][0];
    assert_eq!(
        (&first["event"], &first["last_status"]),
        (&json!("formation.started"), &json!(200))
    );
    let cursor = page["next_cursor"].as_str().expect("there are older ones");
    let older = daemon.get(&format!("{path}&cursor={cursor}")).await.data().clone();
    let oldest = &older["deliveries"][0];
    assert_eq!((&oldest["event"], &oldest["attempts"]), (&json!("formation.deployed"), &json!(3)));
    assert_eq!(older["next_cursor"], Value::Null);
    let before = receiver.hits().len();
    let id = oldest["id"].as_str().expect("an id");
    let retried = daemon.post(&format!("/rpc/webhooks/deliveries/{id}/retry")).await;
    assert_eq!(retried.data()["state"], "pending");
    wait_until(PATIENCE, "it came again", async || (receiver.hits().len() > before).then_some(()))
        .await;
    assert_eq!(receiver.hits()[before].event["id"], oldest["event_id"]);
    let unknown = daemon.post("/rpc/webhooks/deliveries/dlv_nothing/retry").await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn a_webhook_is_shown_without_secrets_and_can_be_tested_and_changed() {
    let receiver = Receiver::start().await;
    let mut daemon = with_webhook(
        &receiver,
        &json!({"secret": null, "secret_file": "SECRET", "max_attempts": 2}),
    )
    .install();
    // Secrets in files are read for each delivery; one that is not there is told at the start.
    let file = daemon.scratch().join("secret");
    let text = std::fs::read_to_string(daemon.config_file()).expect("the configuration");
    let text = text.replace("\"SECRET\"", &format!("{file:?}"));
    std::fs::write(daemon.config_file(), text).expect("the configuration");
    let output = daemon.command().arg("start").output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("webhooks[0].secret_file"), "{told}");
    std::fs::write(&file, WEBHOOK_SECRET).expect("our own folder");
    daemon.start_again().await;

    let listed = daemon.get("/rpc/webhooks").await;
    let webhook = &listed.data()["webhooks"][0];
    assert_eq!(webhook["url"], format!("http://127.0.0.1:{}/…", receiver.port));
    assert!(!listed.text.contains(WEBHOOK_SECRET) && !listed.text.contains("/hook"), "{listed:?}");
    let tested = daemon.post("/rpc/webhooks/ops/test").await;
    assert_eq!(tested.data()["state"], "delivered", "{tested:?}");
    receiver.answer_next(&[500]);
    let tested = daemon.post("/rpc/webhooks/ops/test").await;
    let (state, error) = (&tested.data()["state"], &tested.data()["last_error"]);
    assert_eq!((state, &tested.data()["attempts"]), (&json!("failed"), &json!(1)));
    assert!(error.as_str().is_some_and(|it| it.contains("a word from the receiver")), "{error}");
    receiver.hits().iter().for_each(verify);
    assert!(receiver.hits().iter().all(|it| it.event["type"] == "ping"));
    assert_eq!(daemon.post("/rpc/webhooks/nobody/test").await.status, 404);
    let counts = &daemon.get("/rpc/webhooks").await.data()["webhooks"][0]["deliveries"].clone();
    assert_eq!(counts, &json!({"pending": 0, "delivered": 1, "failed": 1}));

    // Gone from the file, gone from the manager, without a restart.
    let text = std::fs::read_to_string(daemon.config_file()).expect("the configuration");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["webhooks"] = json!([]);
    std::fs::write(daemon.config_file(), config.to_string()).expect("the configuration");
    let output = daemon.command().arg("reload").output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(daemon.get("/rpc/webhooks").await.data()["webhooks"], json!([]));
    assert_eq!(daemon.post("/rpc/webhooks/ops/test").await.status, 404);
}

#[tokio::test]
async fn events_are_listed_and_streamed_from_where_a_reader_was() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let stream = |last: Option<&str>| {
        let request = daemon.request("GET", "/rpc/events?formation=hello");
        let request = request.header("accept", "text/event-stream");
        match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        }
    };
    let mut live = Frames::of(stream(None)).await;
    daemon.deploy_formation("other", &llm.base_url()).await;
    daemon.deploy_formation("hello", &llm.base_url()).await;
    let frame = live.next().await.expect("a frame");
    assert_eq!(
        (frame.event.as_str(), &frame.data["formation"]["id"]),
        ("formation.deployed", &json!("hello"))
    );
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    assert_eq!(live.next().await.expect("a frame").event, "formation.stopped");
    // The numbers of the frames count all events, so 1 was the other formation's.
    let mut again = Frames::of(stream(Some("1"))).await;
    assert_eq!(again.next().await.expect("a frame").event, "formation.deployed");
    assert_eq!(again.next().await.expect("a frame").event, "formation.stopped");

    let page = daemon.get("/rpc/events?limit=2").await.data().clone();
    let types: Vec<_> = (0..2).map(|at| page["events"][at]["type"].clone()).collect();
    assert_eq!(types, ["formation.stopped", "formation.deployed"]);
    let cursor = page["next_cursor"].as_str().expect("there is an older one");
    let older = daemon.get(&format!("/rpc/events?limit=2&cursor={cursor}")).await.data().clone();
    assert_eq!(older["events"][0]["formation"]["id"], "other");
    assert_eq!(older["next_cursor"], Value::Null);
    let stopped = daemon.get("/rpc/events?type=formation.stopped&since=2026-01-01T00:00:00Z").await;
    assert_eq!(stopped.data()["events"].as_array().map(Vec::len), Some(1));
    let later = daemon.get(&format!("/rpc/events?since={}", now_s() + 60)).await;
    assert_eq!(later.data()["events"], json!([]));
    for wrong in ["type=formation.stoped", "since=soon", "limit=0", "limit=501", "colour=red"] {
        let answer = daemon.get(&format!("/rpc/events?{wrong}")).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (400, &json!("ValidationError")),
            "{wrong}"
        );
    }
}
