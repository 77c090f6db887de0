//! A server over HTTP with an authorization server of its own, written without the SDK. It forgets
//! sessions, sends callers elsewhere and asks for tokens, as the test tells it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What the server does next, and what it saw.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) needs_token: bool,
    pub(crate) forgets_sessions: bool,
    /// In seconds; the token endpoint tells it.
    pub(crate) token_lifetime: u64,
    pub(crate) big_bytes: usize,
    /// Notifications before the answer to a call.
    pub(crate) notices: usize,
    /// Methods of JSON-RPC, in order.
    pub(crate) asked: Vec<String>,
    pub(crate) headers: HeaderMap,
    /// Forms that came to the token endpoint.
    pub(crate) exchanges: Vec<BTreeMap<String, String>>,
    pub(crate) valid_token: Option<String>,
    challenges: HashMap<String, String>,
    session: u64,
    issued: u64,
}

#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) url: String,
    facts: Arc<Mutex<Facts>>,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let facts = Facts { token_lifetime: 3600, ..Facts::default() };
        let hub = Self { url, facts: Arc::new(Mutex::new(facts)) };
        let app = Router::new()
            .route("/mcp", post(answer).get(|| async { StatusCode::METHOD_NOT_ALLOWED }))
            .route("/elsewhere", post(elsewhere))
            .route("/.well-known/oauth-protected-resource/mcp", get(resource))
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/register", post(register))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(hub.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, app).await });
        hub
    }

    pub(crate) fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap()
    }
}

async fn answer(
    State(hub): State<Hub>,
    headers: HeaderMap,
    Json(message): Json<Value>,
) -> Response {
    let mut facts = hub.facts();
    let bearer = headers.get("authorization").and_then(|it| it.to_str().ok());
    let is_known = bearer.and_then(|it| it.strip_prefix("Bearer ")) == facts.valid_token.as_deref();
    if facts.needs_token && (facts.valid_token.is_none() || !is_known) {
        let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", hub.url);
        let challenge = format!("Bearer resource_metadata=\"{metadata}\", scope=\"tools\"");
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    let method = message["method"].as_str().unwrap_or("answer").to_owned();
    facts.asked.push(method.clone());
    facts.headers = headers.clone();
    let result = match method.as_str() {
        "initialize" => {
            facts.session += 1;
            json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                "serverInfo": {"name": "hub", "version": "1"}})
        }
        "tools/list" => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        "tools/call" => {
            if std::mem::take(&mut facts.forgets_sessions) {
                return StatusCode::NOT_FOUND.into_response();
            }
            let text = "x".repeat(facts.big_bytes) + "done";
            json!({"content": [{"type": "text", "text": text}]})
        }
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    let session = facts.session.to_string();
    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
    if method == "tools/call" && facts.notices > 0 {
        let notice = json!({"jsonrpc": "2.0", "method": "notifications/message",
            "params": {"level": "info", "data": "again"}});
        let stream = format!("data: {notice}\n\n").repeat(facts.notices);
        let stream = format!("{stream}data: {answer}\n\n");
        return ([("content-type", "text/event-stream")], stream).into_response();
    }
    ([("mcp-session-id", session)], Json(answer)).into_response()
}

async fn elsewhere(State(hub): State<Hub>) -> Redirect {
    // Another name of the same machine is another origin.
    Redirect::temporary(&format!("{}/mcp", hub.url.replace("127.0.0.1", "localhost")))
}

async fn resource(State(hub): State<Hub>) -> Json<Value> {
    Json(json!({"resource": format!("{}/mcp", hub.url), "authorization_servers": [hub.url]}))
}

async fn metadata(State(hub): State<Hub>) -> Json<Value> {
    let at = |path: &str| format!("{}/{path}", hub.url);
    Json(json!({
        "issuer": hub.url,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "registration_endpoint": at("register"),
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

async fn register(Json(wanted): Json<Value>) -> (StatusCode, Json<Value>) {
    let client = json!({"client_id": "registered", "redirect_uris": wanted["redirect_uris"]});
    (StatusCode::CREATED, Json(client))
}

/// Consents at once and shows the code instead of sending it on.
async fn authorize(
    State(hub): State<Hub>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["resource"], format!("{}/mcp", hub.url));
    let mut facts = hub.facts();
    facts.challenges.insert("code-1".to_owned(), query["code_challenge"].clone());
    Json(json!({"code": "code-1", "state": query["state"], "client_id": query["client_id"]}))
}

async fn token(State(hub): State<Hub>, body: String) -> (StatusCode, Json<Value>) {
    // A form is written as a query is.
    let form = reqwest::Url::parse(&format!("http://form/?{body}")).unwrap();
    let form: BTreeMap<String, String> = form.query_pairs().into_owned().collect();
    let mut facts = hub.facts();
    facts.exchanges.push(form.clone());
    let is_good = match form["grant_type"].as_str() {
        "authorization_code" => {
            let digest = Sha256::digest(&form["code_verifier"]);
            let wanted = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
            facts.challenges.remove(&form["code"]) == Some(wanted)
        }
        "refresh_token" => form["refresh_token"] == format!("refresh-{}", facts.issued),
        "client_credentials" => form["client_secret"] == "s3cret",
        _ => false,
    };
    if !is_good {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"})));
    }
    facts.issued += 1;
    let token = format!("token-{}", facts.issued);
    facts.valid_token = Some(token.clone());
    let mut answer = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": facts.token_lifetime});
    if form["grant_type"] != "client_credentials" {
        answer["refresh_token"] = json!(format!("refresh-{}", facts.issued));
    }
    (StatusCode::OK, Json(answer))
}
