//! What the manager tells of itself: metrics, readiness, its log, and one id through all of it.

use std::collections::BTreeMap;

use muxi_testkit::daemon::{Answer, Daemon, PATIENCE, bundle_with, manifest, wait_until};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;

/// The samples of a scrape by name and labels, as they are written.
async fn scrape(daemon: &Daemon) -> BTreeMap<String, f64> {
    let answer = Answer::of(daemon.unsigned("GET", "/metrics")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let samples = answer.text.lines().filter(|line| !line.starts_with('#'));
    let parsed = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    });
    parsed.collect()
}

#[tokio::test]
async fn metrics_count_what_happens_and_forget_what_is_deleted() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let base = format!("{}/api/hello", daemon.url());
    let body = json!({"message": "hi", "session_id": "s", "stream": false});
    assert_eq!(Answer::of(formation.chat_at(&base, &body)).await.status, 200);
    assert_eq!(Answer::of(daemon.unsigned("GET", "/api/nobody/v1/health")).await.status, 404);
    assert_eq!(Answer::of(daemon.unsigned("GET", "/rpc/formations")).await.status, 401);

    // Both are counted at their end, which is a moment after the answer.
    let samples = wait_until(PATIENCE, "the deploy and the chat are counted", async || {
        let samples = scrape(&daemon).await;
        let deploys = "muxi_operations_total{kind=\"deploy\",result=\"succeeded\"}";
        let answers = "muxi_proxy_requests_total{formation=\"hello\",status=\"2xx\"}";
        let counted = [deploys, answers].iter().all(|name| samples.get(*name) == Some(&1.0));
        counted.then_some(samples)
    })
    .await;
    for (name, expected) in [
        ("muxi_formations{status=\"running\"}", 1.0),
        ("muxi_formation_up{formation=\"hello\"}", 1.0),
        ("muxi_formation_restarts_total{formation=\"hello\"}", 0.0),
        ("muxi_proxy_requests_held{formation=\"hello\"}", 0.0),
        ("muxi_proxy_head_duration_seconds_count{formation=\"hello\"}", 1.0),
        ("muxi_proxy_requests_in_flight{formation=\"hello\"}", 0.0),
        ("muxi_proxy_unrouted_requests_total", 1.0),
        ("muxi_port_pool_leased_ports", 1.0),
        ("muxi_operation_duration_seconds_count{kind=\"deploy\"}", 1.0),
        ("muxi_http_requests_total{method=\"POST\",route=\"/rpc/formations\",status=\"2xx\"}", 1.0),
        ("muxi_http_requests_total{method=\"GET\",route=\"/rpc/formations\",status=\"4xx\"}", 1.0),
        ("muxi_store_failures_total", 0.0),
        ("muxi_auth_failures_total{reason=\"unauthorized\"}", 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&expected), "{name} of {samples:#?}");
    }
    for name in [
        "muxi_proxy_received_bytes_total{formation=\"hello\"}",
        "muxi_proxy_sent_bytes_total{formation=\"hello\"}",
        "muxi_formation_resident_memory_bytes{formation=\"hello\"}",
        "muxi_formation_start_duration_seconds_count{formation=\"hello\"}",
        "muxi_http_received_bytes_total",
        "muxi_audit_entries_total",
        "muxi_store_command_duration_seconds_count{access=\"write\"}",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(samples.get(name).is_some_and(|value| *value > 0.0), "{name} of {samples:#?}");
    }

    assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
    let left = scrape(&daemon).await;
    let left: Vec<_> = left.keys().filter(|name| name.contains("formation=")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn metrics_are_for_this_machine_and_for_keys() {
    let daemon = Daemon::start().await;
    let far = |request: reqwest::RequestBuilder| request.header("x-forwarded-for", "10.1.2.3");
    assert_eq!(Answer::of(daemon.unsigned("GET", "/metrics")).await.status, 200);
    assert_eq!(Answer::of(far(daemon.unsigned("GET", "/metrics"))).await.status, 401);
    assert_eq!(Answer::of(far(daemon.request("GET", "/metrics"))).await.status, 200);

    let open = daemon.unsigned("GET", "/metrics").header("accept", "application/openmetrics-text");
    let open = Answer::of(open).await;
    assert!(open.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics"));
    assert!(open.text.ends_with("# EOF\n"), "{}", open.text);
    let classic = daemon.get("/metrics").await;
    assert_eq!(classic.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(classic.text.contains("# TYPE muxi_http_requests_total counter\n"), "{}", classic.text);

    let public = Daemon::builder().config(json!({"metrics": {"public": true}})).start().await;
    assert_eq!(Answer::of(far(public.unsigned("GET", "/metrics"))).await.status, 200);
}

#[tokio::test]
async fn every_metric_says_what_it_is() {
    let daemon = Daemon::start().await;
    let text = Answer::of(daemon.unsigned("GET", "/metrics")).await.text;
    let named = |keyword: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(keyword));
        lines.map(|line| line.split(' ').next().expect("a name").to_owned()).collect()
    };
    let (helped, typed) = (named("# HELP "), named("# TYPE "));
    assert_eq!(helped, typed);
    let mut once = helped.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), helped.len(), "{helped:?}");
    assert!(helped.iter().all(|name| name.starts_with("muxi_") || name.starts_with("process_")));
}

#[tokio::test]
async fn ready_is_about_the_manager_and_not_about_its_formations() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let answer = Answer::of(daemon.unsigned("GET", "/ready")).await;
    assert_eq!((answer.status, &answer.body["ready"]), (200, &json!(true)), "{answer:?}");
    daemon.deploy_formation("hello", &llm.base_url()).await;
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    let answer = Answer::of(daemon.unsigned("GET", "/ready")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let counts = json!({"total": 1, "running": 0, "stopped": 1, "crashed": 0});
    assert_eq!(answer.body["formations"], counts);
}

#[tokio::test]
async fn a_manager_without_room_says_so_and_stays_healthy() {
    let config = json!({"limits": {"disk_free_min_bytes": 1u64 << 40}});
    let daemon = Daemon::builder().config(config).start().await;
    let answer = Answer::of(daemon.unsigned("GET", "/ready")).await;
    assert_eq!((answer.status, &answer.body["ready"]), (503, &json!(false)), "{answer:?}");
    let checks = answer.body["checks"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(failed.len(), 1, "{checks:?}");
    assert_eq!(failed[0]["name"], "disk");
    assert_eq!(Answer::of(daemon.unsigned("GET", "/health")).await.status, 200);
}

#[tokio::test]
async fn ready_waits_for_the_formations_of_the_start() {
    let llm = FakeLlm::start().await;
    let mut daemon = Daemon::builder().switched().start().await;
    daemon.deploy_formation("hello", &llm.base_url()).await;
    daemon.terminate().await;
    daemon.runtime().hold();
    daemon.start_again().await;
    let answer = Answer::of(daemon.unsigned("GET", "/ready")).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text.contains("1 formation(s) are starting: hello"), "{answer:?}");
    daemon.runtime().release();
    wait_until(PATIENCE, "the manager is ready", async || {
        (Answer::of(daemon.unsigned("GET", "/ready")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_id_leads_through_answer_and_logs() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let manifest = manifest("hello", &llm.base_url());
    let manifest = manifest.replacen("server: {", "server: {access_log: true, ", 1);
    assert_eq!(daemon.deploy(bundle_with("hello", &manifest)).await.status, 201);
    let formation = daemon.formation("hello").await;
    let id = "trace-me-0815";
    let body = json!({"message": "hi", "session_id": "s", "stream": false});
    let base = format!("{}/api/hello", daemon.url());
    let answer = Answer::of(formation.chat_at(&base, &body).header("x-request-id", id)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["x-request-id"], id);
    assert_eq!(answer.body["request"]["id"], id);

    let lines_with = |text: &str| text.lines().filter(|line| line.contains(id)).count();
    wait_until(PATIENCE, "the manager's log has the id", async || {
        (lines_with(&daemon.log()) == 1).then_some(())
    })
    .await;
    let log = daemon.data_dir().join("logs/hello/000001.log");
    wait_until(PATIENCE, "the formation's log has the id", async || {
        let text = std::fs::read_to_string(&log).ok()?;
        (lines_with(&text) > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_log_has_one_line_a_request_unless_told_otherwise() {
    let config = json!({"logging": {"format": "json"}});
    let daemon = Daemon::builder().config(config).start().await;
    let request = daemon.request("GET", "/rpc/formations").header("x-request-id", "one-line");
    assert_eq!(Answer::of(request).await.status, 200);
    let line = wait_until(PATIENCE, "the request is logged", async || {
        let log = daemon.log();
        let mut lines = log.lines().filter(|line| line.contains("one-line"));
        let line = lines.next()?.to_owned();
        assert_eq!(lines.next(), None, "one line");
        Some(line)
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["message"], "GET /rpc/formations");
    assert_eq!(line["target"], "access");
    assert_eq!(line["status"], 200);
    assert!(line["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{line}");
    assert!(line["duration_ms"].is_u64(), "{line}");

    let silent = Daemon::builder().config(json!({"logging": {"access": false}})).start().await;
    let request = silent.request("GET", "/rpc/formations").header("x-request-id", "no-line");
    assert_eq!(Answer::of(request).await.status, 200);
    // The next line is there, so this one would be.
    assert_eq!(Answer::of(silent.unsigned("GET", "/rpc/formations")).await.status, 401);
    wait_until(PATIENCE, "the refusal is logged", async || {
        silent.log().contains("refused").then_some(())
    })
    .await;
    assert!(!silent.log().contains("access:"), "{}", silent.log());
}
