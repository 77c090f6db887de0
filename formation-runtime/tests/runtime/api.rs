//! Keys, routes and the resources beside chat.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Runtime, manifest};

async fn json_of(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn admin(runtime: &Runtime, path: &str) -> (u16, Value) {
    json_of(runtime.get(path).header("X-Muxi-Admin-Key", ADMIN_KEY)).await
}

#[tokio::test]
async fn every_route_takes_its_own_key_only() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    for (method, path, right, class) in [
        (Method::POST, "/v1/chat", "X-Muxi-Client-Key", "client"),
        (Method::GET, "/v1/sessions", "X-Muxi-Client-Key", "client"),
        (Method::GET, "/v1/status", "X-Muxi-Admin-Key", "admin"),
        (Method::GET, "/v1/agents", "X-Muxi-Admin-Key", "admin"),
        (Method::GET, "/v1/formation", "X-Muxi-Admin-Key", "admin"),
    ] {
        let request =
            || if method == Method::POST { runtime.post(path) } else { runtime.get(path) };
        let other = if class == "client" { ADMIN_KEY } else { CLIENT_KEY };
        for (key, text) in [
            (None, format!("a valid {class} key is required; send it as {right}")),
            (Some(other), format!("invalid {class} key in {right}")),
        ] {
            let request = key.map_or_else(request, |key| request().header(right, key));
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{path}");
            let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
            assert!(challenge.contains(right), "{challenge}");
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["error"]["code"], "UNAUTHORIZED");
            assert_eq!(body["type"], "error.authentication");
            assert_eq!(body["error"]["message"], text);
        }
    }
}

#[tokio::test]
async fn health_needs_no_key_and_no_envelope() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    for path in ["/health", "/v1/health"] {
        let (status, body) = json_of(runtime.get(path)).await;
        assert_eq!(status, 200);
        let uptime = body["uptime_seconds"].as_u64().unwrap();
        let expected = json!({"status": "healthy", "version": "2.1.0", "uptime_seconds": uptime});
        assert_eq!(body, expected);
    }
    let page = runtime.get("/").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("Up"));
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let request = runtime.get("/v1/nothing").header("X-Request-Id", "mine");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine");
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        (&body["error"]["code"], &body["request"]["id"]),
        (&json!("RESOURCE_NOT_FOUND"), &json!("mine"))
    );

    let response = runtime.post("/v1/sessions").send().await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["code"], "METHOD_NOT_ALLOWED");

    let (status, body) = json_of(runtime.get("/v1/tuning")).await;
    assert_eq!((status, &body["error"]["code"]), (501, &json!("NOT_IMPLEMENTED")));
    assert!(body["error"]["message"].as_str().unwrap().contains("GET /v1/tuning"));
    // The manager's routes are not on the formation's port.
    let (status, _) = json_of(runtime.post("/_instance/retire")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_head_has_no_body_and_a_slash_too_many_does_no_harm() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    for (path, status) in [("/v1/health", 200), ("/v1/agents", 401), ("/v1/nothing", 404)] {
        let response = client.head(format!("{}{path}", runtime.url)).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.text().await.unwrap(), "");
    }
    let moved = client.get(format!("{}/v1/health/?a=b", runtime.url)).send().await.unwrap();
    assert_eq!(moved.status(), 307);
    assert_eq!(moved.headers()["location"], "../health?a=b");
    assert_eq!(runtime.get("/v1/health/").send().await.unwrap().status(), 200);

    // What is no text is the id of nothing, and told in the envelope like everything else.
    let (status, body) = admin(&runtime, "/v1/agents/%FF").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("RESOURCE_NOT_FOUND")));
}

#[tokio::test]
async fn sessions_belong_to_their_user() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    runtime.say("hi").await;
    let get = |path: &'static str, user: Option<&'static str>| {
        let request = runtime.get(path).header("X-Muxi-Client-Key", CLIENT_KEY);
        json_of(match user {
            Some(user) => request.header("X-Muxi-User-ID", user),
            None => request,
        })
    };
    let (status, body) = get("/v1/sessions", None).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("INVALID_REQUEST")));
    assert!(body["error"]["message"].as_str().unwrap().contains("X-Muxi-User-ID"));

    // Published clients name the user in the query too; the header wins.
    let (_, listed) = get("/v1/sessions?user_id=alice", None).await;
    assert_eq!((&listed["object"], &listed["data"]["count"]), (&json!("session_list"), &json!(1)));
    let (_, listed) = get("/v1/sessions?user_id=alice", Some("bob")).await;
    assert_eq!(listed["data"]["count"], 0);

    let (_, session) = get("/v1/sessions/s", Some("alice")).await;
    assert_eq!(session["data"]["message_count"], 2);
    let (status, _) = get("/v1/sessions/s", Some("bob")).await;
    assert_eq!(status, 404);
    let (status, empty) = get("/v1/sessions/s/messages", Some("bob")).await;
    assert_eq!((status, &empty["data"]["count"]), (200, &json!(0)));

    let (_, newest) = get("/v1/sessions/s/messages?limit=1", Some("alice")).await;
    assert_eq!(newest["data"]["has_more"], true);
    let message = &newest["data"]["messages"][0];
    assert_eq!(message["text"], "fake model: hi");
    assert_eq!(message["metadata"]["role"], "assistant");
    assert_eq!(message["metadata"]["formation_id"], "under-test");
    assert_eq!(message["namespace"], "buffer");
    let before = format!("/v1/sessions/s/messages?before={}", message["id"].as_str().unwrap());
    let older = runtime.get(&before).header("X-Muxi-Client-Key", CLIENT_KEY);
    let (_, older) = json_of(older.header("X-Muxi-User-ID", "alice")).await;
    assert_eq!(older["data"]["messages"][0]["text"], "hi");
    assert_eq!(older["data"]["has_more"], false);

    let (status, body) = get("/v1/sessions?limit=0&active_only=maybe", Some("alice")).await;
    assert_eq!(status, 422);
    assert_eq!(body["error"]["data"]["validation_errors"][0]["field"], "query.limit");
    assert_eq!(body["error"]["data"]["validation_errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_operator_sees_figures_agents_and_a_manifest_without_keys() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest(""));
    let runtime = bundle.start(&llm);
    runtime.say("hi").await;
    let (_, status) = admin(&runtime, "/v1/status").await;
    assert_eq!(status["object"], "formation_status");
    let data = &status["data"];
    assert_eq!(data["formation"]["id"], "under-test");
    assert_eq!(data["stats"]["requests"], json!({"total": 1, "active": 0}));
    assert!(data["stats"]["memory"]["memory_usage_mb"].as_f64().unwrap() > 1.0);

    let (_, agents) = admin(&runtime, "/v1/agents").await;
    assert_eq!((&agents["object"], &agents["data"]["count"]), (&json!("agent_list"), &json!(1)));
    let (_, agent) = admin(&runtime, "/v1/agents/helper").await;
    assert_eq!(
        (&agent["data"]["id"], &agent["data"]["source"]),
        (&json!("helper"), &json!("formation"))
    );
    let (status, missing) = admin(&runtime, "/v1/agents/nobody").await;
    assert_eq!((status, &missing["error"]["code"]), (404, &json!("AGENT_NOT_FOUND")));

    let (_, formation) = admin(&runtime, "/v1/formation").await;
    assert_eq!(formation["data"]["id"], "under-test");
    let text = formation.to_string();
    for key in [CLIENT_KEY, ADMIN_KEY, "sk-fake"] {
        assert!(!text.contains(key), "{text}");
    }
}

#[tokio::test]
async fn a_connection_is_good_for_more_after_a_body_that_was_refused_unread() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let address = runtime.url.strip_prefix("http://").unwrap().to_owned();
    let talk = move || {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let refused = "POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n";
        stream.write_all(refused.as_bytes()).unwrap();
        // For the refusal to be made without the body.
        std::thread::sleep(Duration::from_millis(50));
        let next = "{}GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(next.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    };
    let said = tokio::task::spawn_blocking(talk).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
    assert!(said.contains("HTTP/1.1 200 "), "{said}");
}
