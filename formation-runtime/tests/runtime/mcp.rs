//! The formation as a server of the Model Context Protocol, with the official client and with bare HTTP.

use std::collections::HashMap;

use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use reqwest::{RequestBuilder, Response};
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientRequest, ProgressNotificationParam, Request,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ServiceExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::document::{Walk, call};
use crate::harness::{Bundle, CLIENT_KEY, Runtime, manifest};

/// A client that keeps what it is told of progress.
#[derive(Clone)]
struct Listening(mpsc::Sender<ProgressNotificationParam>);

impl ClientHandler for Listening {
    async fn on_progress(
        &self,
        told: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.0.send(told).await.ok();
    }
}

struct Client {
    service: RunningService<RoleClient, Listening>,
    progress: mpsc::Receiver<ProgressNotificationParam>,
}

impl Client {
    /// With the key as a bearer token, as most clients can send it.
    async fn connect(runtime: &Runtime, path: &str, user: Option<&str>) -> Self {
        let headers = user.map(|user| {
            ("x-muxi-user-id".parse().unwrap(), user.parse::<http::HeaderValue>().unwrap())
        });
        let mut config =
            StreamableHttpClientTransportConfig::with_uri(format!("{}{path}", runtime.url))
                .auth_header(CLIENT_KEY);
        config.custom_headers = HashMap::from_iter(headers);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let transport = StreamableHttpClientTransport::with_client(http, config);
        let (sender, progress) = mpsc::channel(64);
        let service = Listening(sender).serve(transport).await.unwrap();
        Self { service, progress }
    }

    async fn call(&self, tool: &'static str, arguments: Value) -> CallToolResult {
        self.service.call_tool(wanted(tool, arguments)).await.unwrap()
    }
}

fn wanted(tool: &'static str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else { panic!("{arguments}") };
    CallToolRequestParams::new(tool).with_arguments(arguments)
}

fn posted(runtime: &Runtime, body: &Value) -> RequestBuilder {
    let request = runtime.post("/mcp").header("Accept", "application/json, text/event-stream");
    request.json(body)
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }})
}

async fn keyed(request: RequestBuilder) -> Response {
    request.header("X-Muxi-Client-Key", CLIENT_KEY).send().await.unwrap()
}

#[tokio::test]
async fn nothing_is_told_without_the_key() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest("")).start(&llm);
    for body in [initialize(), json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})] {
        for header in
            [None, Some(("X-Muxi-Client-Key", "wrong")), Some(("Authorization", "Bearer"))]
        {
            let mut request = posted(&runtime, &body);
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{header:?}");
            let text = response.text().await.unwrap();
            assert!(text.contains("UNAUTHORIZED") && !text.contains("tools"), "{text}");
        }
    }
    let response = keyed(posted(&runtime, &initialize())).await;
    assert_eq!(response.status(), 200);
    let session = response.headers()["mcp-session-id"].clone();
    // The session alone is no right to anything.
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let request = posted(&runtime, &list).header("mcp-session-id", &session);
    assert_eq!(request.send().await.unwrap().status(), 401);
    // Ended, it is gone.
    let end = runtime.request(reqwest::Method::DELETE, "/mcp").header("mcp-session-id", &session);
    assert_eq!(keyed(end).await.status(), 204);
    let request = posted(&runtime, &list).header("mcp-session-id", &session);
    assert_eq!(keyed(request).await.status(), 404);
}

/// As all failures of the API are.
#[tokio::test]
async fn refusals_of_the_transport_are_typed() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest("")).start(&llm);
    let delete = || runtime.request(reqwest::Method::DELETE, "/mcp");
    let events = || runtime.get("/mcp").header("Accept", "text/event-stream");
    for (request, status, code) in [
        (delete(), 400, "INVALID_REQUEST"),
        (runtime.get("/mcp"), 406, "INVALID_REQUEST"),
        (events(), 400, "INVALID_REQUEST"),
        (events().header("mcp-session-id", "none"), 404, "NOT_FOUND"),
        (runtime.post("/mcp").json(&initialize()), 406, "INVALID_REQUEST"),
        (posted(&runtime, &json!({"no": "message"})), 415, "INVALID_REQUEST"),
    ] {
        let response = keyed(request).await;
        assert_eq!(response.status(), status);
        let failure: Value = response.json().await.unwrap();
        assert_eq!(failure["error"]["code"], code);
        assert!(!failure["error"]["message"].as_str().unwrap().is_empty(), "{failure}");
    }
}

#[tokio::test]
async fn the_official_client_talks_and_reads_what_was_said() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest("")).start(&llm);
    llm.script(json!([{"reply": {"text": "Hello Ann, all is well."}}]));
    for path in ["/mcp", "/mcp/"] {
        let mut client = Client::connect(&runtime, path, Some("ann")).await;
        let tools = client.service.list_all_tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert!(names.contains(&"chat") && names.contains(&"get_artifact_content"), "{names:?}");
        assert!(tools.iter().all(|tool| tool.description.is_some()));

        let said = client.call("chat", json!({"message": "How are you?"})).await;
        let structured = said.structured_content.unwrap();
        assert_eq!(structured["response"], "Hello Ann, all is well.");
        let told = client.progress.recv().await.unwrap();
        assert!(told.message.is_some() && told.progress >= 1.0, "{told:?}");

        let session = structured["session_id"].as_str().unwrap();
        let read = client.call("get_session_messages", json!({"session_id": session})).await;
        assert!(read.structured_content.unwrap().to_string().contains("How are you?"));
        let request = structured["request_id"].as_str().unwrap();
        let found = client.call("get_request", json!({"request_id": request})).await;
        assert_eq!(found.structured_content.unwrap()["status"], "completed");
        // Somebody else has nothing of it.
        let other = Client::connect(&runtime, path, None).await;
        let read = json!({"session_id": session, "user_id": "ben"});
        let read = other.call("get_session_messages", read).await;
        assert_eq!(read.structured_content.unwrap()["count"], 0);
        let found = other.call("get_request", json!({"request_id": request, "user_id": "ben"}));
        assert_eq!(found.await.is_error, Some(true));
        let listed = other.call("list_sessions", json!({"user_id": "ben"})).await;
        assert_eq!(listed.structured_content.unwrap()["count"], 0);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_told() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest("")).start(&llm);
    let client = Client::connect(&runtime, "/mcp", Some("ann")).await;
    for (tool, arguments, fault) in [
        ("chat", json!({}), "message"),
        ("chat", json!({"message": "x", "user_id": "ben"}), "another user"),
        ("chat", json!({"message": "x", "colour": "red"}), "colour"),
        ("get_request", json!({}), "request_id"),
        ("no_such_tool", json!({}), "no_such_tool"),
    ] {
        let refused = client.service.call_tool(wanted(tool, arguments)).await.unwrap_err();
        assert!(refused.to_string().contains(fault), "{refused}");
    }
    for (tool, arguments, code) in [
        ("get_request", json!({"request_id": "req_none"}), "REQUEST_NOT_FOUND"),
        ("chat", json!({"message": "x", "agent_id": "nobody"}), "AGENT_NOT_FOUND"),
        ("chat", json!({"message": " "}), "VALIDATION_ERROR"),
        ("list_sessions", json!({"limit": 0}), "VALIDATION_ERROR"),
    ] {
        let refused = client.call(tool, arguments).await;
        assert_eq!(refused.is_error, Some(true));
        assert_eq!(refused.structured_content.unwrap()["code"], code);
    }
    assert!(llm.journal().is_empty());
}

#[tokio::test]
async fn cancelling_the_call_ends_the_turn() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest("")).start(&llm);
    llm.script(
        json!([{"reply": {"chunks": ["Once ", "upon"], "gate": "never", "gate_after_chunks": 1}}]),
    );
    let mut client = Client::connect(&runtime, "/mcp", Some("ann")).await;
    let wanted = wanted("chat", json!({"message": "Tell a story", "session_id": "s"}));
    let request = ClientRequest::CallToolRequest(Request::new(wanted));
    let handle = client.service.send_cancellable_request(request, PeerRequestOptions::default());
    let handle = handle.await.unwrap();
    // It is under way.
    client.progress.recv().await.unwrap();
    llm.wait_for(1, None).await;
    handle.cancel(Some("changed my mind".to_owned())).await.unwrap();
    llm.wait_for(1, Some(Outcome::ClientGone)).await;
}

#[tokio::test]
async fn the_door_is_documented() {
    let walk = Walk::start().await;
    let message = call("mcp").client().header("Accept", "application/json, text/event-stream");
    let message = message.body(initialize());
    let opened = walk.send(&message).await;
    let session = opened.headers()["mcp-session-id"].to_str().unwrap();
    walk.take_text(message).await;
    let of_session = |operation| call(operation).client().header("Mcp-Session-Id", session);
    walk.take_text(of_session("mcp_messages").header("Accept", "text/event-stream")).await;
    walk.take_nothing(of_session("end_mcp_session")).await;
}
