//! What the operator sees of the formation's setup, and the log of what the operator did.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Runtime, manifest};

pub(crate) async fn admin(
    runtime: &Runtime,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let mut request = runtime.request(method, path).header("X-Muxi-Admin-Key", ADMIN_KEY);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn get(runtime: &Runtime, path: &str) -> (u16, Value) {
    admin(runtime, Method::GET, path, None).await
}

/// Actions, things and outcomes, newest first.
async fn trail(runtime: &Runtime, query: &str) -> Vec<[String; 3]> {
    let (status, log) = get(runtime, &format!("/v1/audit{query}")).await;
    assert_eq!(status, 200, "{log}");
    let entries = log["data"]["entries"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    entries
        .iter()
        .map(|it| [text(&it["action"]), text(&it["resource"]), text(&it["outcome"])])
        .collect()
}

#[tokio::test]
async fn each_section_shows_what_its_author_wrote_and_nothing_else() {
    let llm = FakeLlm::start().await;
    let sections =
        "overlord: {soul: 'Be kind, ${{ env.FAKE_NAME }}.'}\nmemory: {buffer: {size: 7}}\n";
    let bundle = Bundle::new(&manifest(sections));
    let mut command = bundle.command(&llm);
    command.env("FAKE_NAME", "resolved");
    let runtime = Runtime::start(command);
    let soul = "Be kind, ${{ env.FAKE_NAME }}.";
    let usual_bounds = json!({
        "default_retry_attempts": 3, "default_timeout_seconds": 30,
        "max_tool_iterations": 10, "max_tool_calls": 50, "max_repeated_errors": 3,
        "max_timeout_in_seconds": 300, "max_tool_timeout_in_seconds": 30,
        "enhance_user_prompts": true, "servers": {"total": 0, "resource": "/v1/mcp/servers"},
    });
    for (path, object, kind, data) in [
        (
            "/v1/overlord",
            "overlord_config",
            "overlord.config.retrieved",
            json!({
                "soul": soul, "llm": {}, "caching": {}, "response": {}, "workflow": {},
                "clarification": {},
            }),
        ),
        ("/v1/overlord/soul", "soul", "soul.retrieved", json!({"soul": soul})),
        ("/v1/llm/settings", "llm_settings", "llm.settings.retrieved", json!({"max_retries": 0})),
        ("/v1/memory", "memory_config", "memory.config.retrieved", json!({"buffer": {"size": 7}})),
        ("/v1/async", "async", "async.retrieved", json!({})),
        ("/v1/a2a", "a2a", "a2a.retrieved", json!({})),
        (
            "/v1/logging",
            "logging",
            "logging.retrieved",
            json!({"redaction": {"patterns": "active", "entities": "unavailable"}}),
        ),
        ("/v1/mcp", "mcp_defaults", "mcp.defaults.retrieved", usual_bounds),
        (
            "/v1/mcp/servers",
            "mcp_server_list",
            "mcp.server.list",
            json!({"servers": [], "count": 0}),
        ),
    ] {
        let (status, body) = get(&runtime, path).await;
        assert_eq!((status, &body["object"], &body["type"]), (200, &json!(object), &json!(kind)));
        assert_eq!(body["data"], data, "{path}");
    }
    // What the program does itself is there without any server.
    let (_, body) = get(&runtime, "/v1/mcp/tools").await;
    let tools = body["data"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"generate_file") && names.contains(&"recall_history"), "{names:?}");
    assert_eq!((&body["type"], &tools[0]["access"]), (&json!("mcp_tool.list"), &json!(["helper"])));

    let (status, body) = get(&runtime, "/v1/mcp/servers/files").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("MCP_SERVER_NOT_FOUND")));
    assert_eq!(body["type"], "error.not_found");

    let (_, config) = get(&runtime, "/v1/config").await;
    assert_eq!(config["type"], "formation.config.retrieved");
    let data = &config["data"];
    assert_eq!(data["formation_id"], "under-test");
    assert_eq!(data["schema_version"], "1.0.0");
    assert_eq!(data["agents"], json!({"total": 1, "resource": "/v1/agents"}));
    assert_eq!(data["secrets"], json!({"total": 0, "resource": "/v1/secrets"}));
}

#[tokio::test]
async fn every_view_is_for_the_operator_only() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    for (method, path) in [
        (Method::GET, "/v1/config"),
        (Method::GET, "/v1/overlord"),
        (Method::GET, "/v1/overlord/soul"),
        (Method::GET, "/v1/llm/settings"),
        (Method::GET, "/v1/async"),
        (Method::GET, "/v1/a2a"),
        (Method::GET, "/v1/memory"),
        (Method::GET, "/v1/logging"),
        (Method::GET, "/v1/logging/destinations"),
        (Method::GET, "/v1/mcp"),
        (Method::GET, "/v1/mcp/servers"),
        (Method::GET, "/v1/mcp/servers/x"),
        (Method::GET, "/v1/mcp/tools"),
        (Method::GET, "/v1/audit"),
        (Method::DELETE, "/v1/audit?confirm=clear-audit-log"),
        (Method::GET, "/v1/secrets"),
        (Method::POST, "/v1/secrets"),
        (Method::POST, "/v1/secrets/reload"),
        (Method::GET, "/v1/secrets/A"),
        (Method::PUT, "/v1/secrets/A"),
        (Method::DELETE, "/v1/secrets/A"),
    ] {
        let request = runtime.request(method.clone(), path).header("X-Muxi-Client-Key", CLIENT_KEY);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401, "{method} {path}");
    }
}

#[tokio::test]
async fn what_the_operator_did_is_remembered_over_a_restart() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    runtime.say("hi").await;
    let secret = json!({"key": "my key", "value": "a-secret-value-0123"});
    for expected in [201, 409] {
        let path = "/v1/secrets";
        assert_eq!(admin(&runtime, Method::POST, path, Some(secret.clone())).await.0, expected);
    }
    let (status, _) =
        admin(&runtime, Method::DELETE, "/v1/memory/buffer/s?user_id=alice", None).await;
    assert_eq!(status, 200);
    admin(&runtime, Method::DELETE, "/v1/memory/buffers", None).await;
    let link = json!({"identifiers": ["a@example.org"]});
    let (status, _) = admin(&runtime, Method::POST, "/v1/users/identifiers", Some(link)).await;
    assert_eq!(status, 200);
    // What a client does with its own is no act of the operator.
    let own = runtime.request(Method::DELETE, "/v1/memory/buffer?user_id=alice");
    let own = own.header("X-Muxi-Client-Key", CLIENT_KEY).send().await.unwrap();
    assert_eq!(own.status(), 200);
    runtime.kill9();

    let runtime = bundle.start(&llm);
    let expected = [
        ["user.identifiers.associated", "user", "succeeded"],
        ["memory.buffer.cleared", "memory", "succeeded"],
        ["memory.buffer.cleared", "memory/alice/s", "succeeded"],
        ["secret.created", "secret/MY_KEY", "failed"],
        ["secret.created", "secret/MY_KEY", "succeeded"],
    ];
    assert_eq!(trail(&runtime, "").await, expected);
    assert_eq!(trail(&runtime, "?limit=1").await, expected[..1]);
    assert_eq!(trail(&runtime, "?resource_type=secret").await, expected[3..]);
    assert_eq!(trail(&runtime, "?action=memory.buffer.cleared").await, expected[1..3]);
    assert_eq!(trail(&runtime, "?since=2020-01-01").await, expected);
    assert!(trail(&runtime, "?since=2999-01-01T00:00:00Z").await.is_empty());

    let (_, log) = get(&runtime, "/v1/audit?limit=4").await;
    assert_eq!((&log["object"], &log["type"]), (&json!("audit_log"), &json!("audit.retrieved")));
    assert_eq!((&log["data"]["total_entries"], &log["data"]["limit"]), (&json!(5), &json!(4)));
    assert_eq!(log["data"]["entries"][3]["error"], "SECRET_EXISTS");
    assert!(!log.to_string().contains("a-secret"), "{log}");
}

#[tokio::test]
async fn the_log_is_cleared_on_a_clear_word_only_and_says_so() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    admin(&runtime, Method::DELETE, "/v1/memory/buffer", None).await;
    for (method, path, status, code) in [
        (Method::DELETE, "/v1/audit", 400, "INVALID_PARAMETER"),
        (Method::DELETE, "/v1/audit?confirm=yes", 400, "INVALID_PARAMETER"),
        (Method::GET, "/v1/audit?since=yesterday", 400, "INVALID_PARAMETER"),
        (Method::GET, "/v1/audit?limit=0", 422, "VALIDATION_ERROR"),
        (Method::GET, "/v1/audit?limit=1001&resource_type=dog", 422, "VALIDATION_ERROR"),
    ] {
        let (found, body) = admin(&runtime, method, path, None).await;
        assert_eq!((found, &body["error"]["code"]), (status, &json!(code)), "{path}");
        assert_eq!(body["type"], "error.validation");
    }
    let path = "/v1/audit?confirm=clear-audit-log";
    let (status, body) = admin(&runtime, Method::DELETE, path, None).await;
    assert_eq!((status, &body["type"]), (200, &json!("audit.cleared")));
    assert_eq!(body["data"]["previous_entries_count"], 1);
    assert_eq!(body["data"]["cleared_by"], "admin");
    assert_eq!(trail(&runtime, "").await, [["audit.cleared", "audit_log", "succeeded"]]);
}
