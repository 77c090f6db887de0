//! Where logs go: lines that are read back, a collector that is asked, and nothing private in any of them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::collector::{Answer, Collector};
use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, Runtime, manifest};

async fn admin(runtime: &Runtime, path: &str) -> Value {
    let request = runtime.get(path).header("X-Muxi-Admin-Key", ADMIN_KEY);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["data"].clone()
}

/// The destinations' state, once it is what is waited for.
async fn state_when(runtime: &Runtime, reached: impl Fn(&Value) -> bool) -> Value {
    loop {
        let data = admin(runtime, "/v1/logging/destinations").await;
        let stream = data["conversation"]["destinations"][0].clone();
        if reached(&stream) {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
}

/// What is left of a destination without its state, which must be this one.
fn with(destination: &Value, state: &Value) -> Value {
    let mut rest = destination.clone();
    for (name, value) in state.as_object().unwrap() {
        assert_eq!(rest.as_object_mut().unwrap().remove(name).as_ref(), Some(value), "{name}");
    }
    rest
}

#[tokio::test]
async fn files_hold_what_was_asked_for_and_nothing_private() {
    let (llm, bundle) = (
        FakeLlm::start().await,
        Bundle::new(&manifest(
            "logging:
  system: {level: info, destination: logs/system.log}
  conversation:
    streams:
      - {transport: file, destination: logs/all.jsonl}
      - {transport: file, destination: logs/failures.txt, format: text, level: error}
      - {transport: file, destination: logs/otlp.jsonl, format: opentelemetry, events: ['*.started']}
",
        )),
    );
    let broken = "key fma_test of bob@example.com, card 4111 1111 1111 1111, call +1 415 555 0100";
    llm.script(json!([
        {"match": {"nth": 1}, "reply": {"status": 500, "error_body": {"error": {"message": broken}}}},
        {"reply": {"text": "Yes"}},
    ]));
    let stderr = bundle.path().join("stderr");
    let mut command = bundle.command(&llm);
    command.env("MUXI_LOG", "debug");
    let runtime = Runtime::start_with(command, Stdio::from(File::create(&stderr).unwrap()));
    let ask = |message: &str| {
        let body = json!({"message": message, "session_id": "s", "request_id": "r-1"});
        let chat = runtime.post("/v1/chat").header("X-Muxi-Client-Key", CLIENT_KEY);
        chat.header("X-Muxi-User-ID", "alice@example.com").json(&body).send()
    };
    let follow = |path: &str, key: (&str, &str)| {
        let request = runtime.get(path).header(key.0, key.1);
        request.header("X-Muxi-User-ID", "alice@example.com").send()
    };
    let (client, operator) = (("X-Muxi-Client-Key", CLIENT_KEY), ("X-Muxi-Admin-Key", ADMIN_KEY));
    let mut own = Frames::of(follow("/v1/events", client).await.unwrap());
    let mut logs = Frames::of(follow("/v1/logs?event_type=chat.failed", operator).await.unwrap());
    assert_eq!(ask("hi").await.unwrap().status(), 502);
    assert_eq!(ask("again").await.unwrap().status(), 200);

    // Users see what is theirs, but no secret; operators see neither.
    let failed = loop {
        let (_, event) = own.numbered().await;
        if event["type"] == "chat.failed" {
            break event;
        }
    };
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("bob@example.com") && message.contains("[SECRET_1]"), "{message}");
    assert_eq!(failed["user_id"], "alice@example.com");
    let (_, log) = logs.next().await.unwrap();
    let hidden = "key [SECRET_1] of [EMAIL_1], card [CARD_1], call [PHONE_1]";
    assert!(log["message"].as_str().unwrap().contains(hidden), "{log}");
    assert_eq!(log["user_id"], "[EMAIL_2]");
    drop((own, logs));
    state_when(&runtime, |it| it["sent"] == 4).await;
    let shown = admin(&runtime, "/v1/logging/destinations").await;
    let state = |sent: u64| json!({"queued": 0, "sent": sent, "dropped": 0, "last_error": null});
    assert_eq!(
        with(&shown["system"], &state(1)),
        json!({"level": "info", "destination": "logs/system.log", "process_level": "debug"})
    );
    assert_eq!(
        with(&shown["conversation"]["destinations"][0], &state(4)),
        json!({
            "name": "streams[0]", "transport": "file", "destination": "logs/all.jsonl",
            "level": "debug", "format": "jsonl", "events": [], "auth": null,
        })
    );
    assert_eq!(shown["conversation"]["count"], 3);
    assert_eq!(shown["redaction"], json!({"patterns": "active", "entities": "unavailable"}));

    runtime.signal("-TERM");
    assert!(runtime.wait().success());
    let folder = bundle.data_dir().join("logs");
    let all = lines(&folder.join("all.jsonl"));
    assert_eq!(events(&all), ["chat.started", "chat.failed", "chat.started", "chat.completed"]);
    let failed = &all[1];
    assert_eq!((&failed["level"], &failed["session_id"]), (&json!("ERROR"), &json!("s")));
    assert_eq!(failed["request"]["id"], "r-1");
    assert_eq!(failed["request"]["status"], "failed");
    assert_eq!(failed["request"]["formation_id"], "under-test");
    let text = failed["data"]["description"].as_str().unwrap();
    assert!(text.contains(hidden), "{text}");
    assert_eq!(
        events(&lines(&folder.join("system.log"))),
        ["formation.started", "formation.stopping"]
    );
    let failures = fs::read_to_string(folder.join("failures.txt")).unwrap();
    assert_eq!(failures.lines().count(), 1);
    assert!(failures.contains(" | ERROR | chat.failed | r-1 | "), "{failures}");
    let otlp = lines(&folder.join("otlp.jsonl"));
    assert_eq!(otlp.len(), 3);
    let record = &otlp[1]["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["eventName"], "chat.started");
    // The process's own log is no way out either.
    let said = fs::read_to_string(&stderr).unwrap();
    assert!(said.contains("the model failed"), "{said}");
    for file in ["all.jsonl", "failures.txt", "otlp.jsonl", "system.log", "../../stderr"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        for private in ["example.com", "4111 1111", "415 555", CLIENT_KEY, ADMIN_KEY] {
            assert!(!text.contains(private), "{file} has {private}: {text}");
        }
    }
}

#[tokio::test]
async fn lines_on_standard_output_have_the_documented_shape() {
    let more =
        "logging: {enabled: true, streams: [{transport: stdout, events: [chat.completed]}]}\n";
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(more)));
    let path = bundle.path().join("stdout");
    let runtime = Runtime::start_writing(bundle.command(&llm), &path).await;
    runtime.say("one").await;
    runtime.signal("-TERM");
    assert!(runtime.wait().success());
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(events(&lines), ["formation.started", "chat.completed", "formation.stopping"]);
    let line = &lines[1];
    assert!(line["id"].as_str().unwrap().starts_with("evt_"));
    assert!(line["timestamp"].is_i64() && line["server"].is_string());
    assert_eq!(line["muxi_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&line["level"], &line["session_id"]), (&json!("INFO"), &json!("s")));
    assert_eq!(line["request"]["status"], "completed");
    assert_eq!(line["request"]["user_id"], "alice");
    assert_eq!(line["data"]["agent_id"], "helper");
    assert!(line["data"]["completion_tokens"].is_number());
    assert!(lines[0].get("request").is_none() && lines[0].get("session_id").is_none());
}

#[tokio::test]
async fn a_collector_gets_everything_also_when_it_was_busy() {
    let collector = Collector::start(vec![
        Answer::status(429).header("retry-after: 0"),
        Answer::status(503),
        Answer::status(200).body(r#"{"partialSuccess": {}}"#),
    ]);
    let more = format!(
        "logging:
  conversation:
    streams:
      - transport: stream
        destination: {}
        format: opentelemetry
        auth: {{type: bearer, token: collector-token-1}}
        events: ['*']
",
        collector.url()
    );
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(&more)));
    let runtime = bundle.start(&llm);
    runtime.say("one").await;
    let state = state_when(&runtime, |it| it["sent"] == 3).await;
    assert_eq!((&state["queued"], &state["dropped"]), (&json!(0), &json!(0)));
    assert_eq!((&state["transport"], &state["auth"]), (&json!("stream"), &json!("bearer")));
    assert_eq!(state["last_error"]["message"], "it answered 503 Service Unavailable");
    let config = admin(&runtime, "/v1/logging").await;
    let auth = &config["conversation"]["streams"][0]["auth"];
    assert_eq!(auth, &json!({"type": "bearer", "token": "••••••••"}));
    assert_eq!(config["redaction"], json!({"patterns": "active", "entities": "unavailable"}));

    runtime.say("two").await;
    runtime.signal("-TERM");
    assert!(runtime.wait().success());
    let taken = collector.taken();
    for (head, _) in &taken {
        assert!(head.starts_with("post /v1/logs http/1.1"), "{head}");
        assert!(head.contains("authorization: bearer collector-token-1"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
    }
    // The refused ones came again, and after that nothing came twice.
    assert_eq!((&taken[0].1, &taken[1].1), (&taken[1].1, &taken[2].1));
    let mut seen = Vec::new();
    for (_, body) in &taken[2..] {
        let body: Value = serde_json::from_slice(body).unwrap();
        let resource = &body["resourceLogs"][0];
        let named = &resource["resource"]["attributes"][0];
        assert_eq!(
            named,
            &json!({"key": "service.name", "value": {"stringValue": "muxi-runtime"}})
        );
        for record in resource["scopeLogs"][0]["logRecords"].as_array().unwrap() {
            assert_eq!(
                (&record["severityNumber"], &record["severityText"]),
                (&json!(9), &json!("INFO"))
            );
            assert!(record["timeUnixNano"].as_str().unwrap().parse::<u64>().is_ok());
            seen.push(record["eventName"].as_str().unwrap().to_owned());
        }
    }
    let expected = [
        "formation.started",
        "chat.started",
        "chat.completed",
        "chat.started",
        "chat.completed",
        "formation.stopping",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_collector_that_hangs_or_refuses_delays_nobody() {
    let (hanging, refusing) = (Collector::hanging(), Collector::start(vec![Answer::status(401)]));
    let more = format!(
        "logging: {{conversation: {{streams: [
  {{transport: stream, destination: '{}'}},
  {{transport: stream, destination: '{}', format: text, auth: {{type: api_key, key: logs-key-1}}}}]}}}}\n",
        hanging.url(),
        refusing.url(),
    );
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(&more)));
    let runtime = bundle.start(&llm);
    runtime.say("one").await;
    hanging.was_called().await;
    // It holds a call of ours, and everything goes on.
    for message in ["two", "three", "four"] {
        runtime.say(message).await;
    }
    let state = state_when(&runtime, |it| it["queued"] == 8).await;
    assert_eq!((&state["sent"], &state["dropped"]), (&json!(0), &json!(0)));
    let refused = loop {
        let data = admin(&runtime, "/v1/logging/destinations").await;
        let stream = data["conversation"]["destinations"][1].clone();
        if stream["dropped"] == 8 {
            break stream;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refused["last_error"]["message"], "it answered 401 Unauthorized");
    assert!(refusing.taken()[0].0.contains("x-api-key: logs-key-1"));
    runtime.signal("-TERM");
    assert!(runtime.wait().success(), "a hanging collector is no reason not to end");
}
