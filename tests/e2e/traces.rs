//! Traces arrive at a collector, as one trace from the caller through the manager.

use muxi_testkit::daemon::{Answer, Daemon, PATIENCE, wait_until};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;

use crate::collector::{Collector, Span};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

async fn named(collector: &Collector, name: &str) -> Span {
    wait_until(PATIENCE, &format!("a span `{name}` arrives"), async || {
        collector.spans().into_iter().find(|span| span.name == name)
    })
    .await
}

async fn traced(collector: &Collector) -> Daemon {
    let otlp = json!({"endpoint": collector.url(), "headers_env": "OTLP", "interval_ms": 100});
    let builder = Daemon::builder().config(json!({"telemetry": {"otlp": otlp}}));
    builder.environment("OTLP", "x-token=secret-4711").start().await
}

#[tokio::test]
async fn a_request_and_its_operation_are_one_trace_with_the_callers() {
    let (collector, llm) = (Collector::start(), FakeLlm::start().await);
    let daemon = traced(&collector).await;
    let bundle = muxi_testkit::daemon::bundle("hello", &llm.base_url());
    let request = daemon.upload(bundle).header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    // As the published SDKs call: done in a task that outlives the caller.
    let request = request.header("x-muxi-idempotency-key", "uuid-1");
    let request = request.header("x-request-id", "req_of_the_deploy");
    assert_eq!(Answer::of(request).await.status, 201);
    let noted = "SELECT count(*) FROM operations WHERE request_id = 'req_of_the_deploy'";
    assert_eq!(daemon.count(noted), 1);
    let events = daemon.get("/rpc/events").await;
    assert_eq!(events.data()["events"][0]["request_id"], "req_of_the_deploy", "{events:?}");

    let request = named(&collector, "POST /rpc/formations").await;
    assert_eq!((request.trace.as_str(), request.parent.as_str()), (TRACE, CALLER));
    let operation = named(&collector, "operation deploy").await;
    assert_eq!((operation.trace.as_str(), &operation.parent), (TRACE, &request.id));
    assert!(collector.heads().iter().all(|head| head.contains("x-token: secret-4711")));
    assert!(!daemon.log().contains("secret-4711"));
}

#[tokio::test]
async fn a_proxied_request_is_passed_on_as_a_part_of_the_trace() {
    let (collector, llm) = (Collector::start(), FakeLlm::start().await);
    let daemon = traced(&collector).await;
    daemon.deploy_formation("hello", &llm.base_url()).await;
    let request = daemon.unsigned("GET", "/api/hello/v1/health");
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    assert_eq!(Answer::of(request).await.status, 200);
    let span = named(&collector, "GET /api/{id}/{*rest}").await;
    assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, CALLER));
}

#[tokio::test]
async fn what_waits_is_sent_at_the_end_and_a_collector_that_is_gone_is_named_once() {
    let collector = Collector::start();
    let mut daemon = traced(&collector).await;
    daemon.get("/rpc/formations").await;
    daemon.terminate().await;
    assert!(collector.spans().iter().any(|span| span.name == "GET /rpc/formations"));

    drop(collector);
    daemon.start_again().await;
    for _ in 0..3 {
        let lost = daemon.log().matches("traces cannot be sent").count();
        assert!(lost <= 1, "{}", daemon.log());
        assert_eq!(daemon.get("/rpc/formations").await.status, 200);
    }
    wait_until(PATIENCE, "the outage is named", async || {
        (daemon.log().matches("traces cannot be sent").count() == 1).then_some(())
    })
    .await;
    assert!(daemon.terminate().await.success());
}
