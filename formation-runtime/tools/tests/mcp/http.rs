//! Servers over HTTP: sessions, credentials, redirects, and grants of users.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use muxi_tools::mcp::{Auth, Limits, McpError, OAuth, Secret, ServerConfig, Transport};
use secrecy::SecretString;
use serde_json::{Value, json};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::hub::Hub;
use super::support::{Formation, PATIENCE, call, installed, user};

const REDIRECT: &str = "http://127.0.0.1:9/callback";

/// How much was written at `info` and above.
#[derive(Clone, Default)]
struct Logged(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Logged {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::INFO {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn http(url: String) -> ServerConfig {
    let transport = Transport::Http { url, headers: [].into() };
    ServerConfig { retry_attempts: 0, timeout: PATIENCE, ..ServerConfig::new("hub", transport) }
}

fn of(hub: &Hub) -> ServerConfig {
    http(format!("{}/mcp", hub.url))
}

/// What a browser would do.
async fn consent(address: &str) -> (String, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let shown: Value = client.get(address).send().await.unwrap().json().await.unwrap();
    let text = |name: &str| shown[name].as_str().unwrap().to_owned();
    (text("state"), text("code"))
}

#[tokio::test]
async fn calls_carry_the_session_and_the_users_own_credential() {
    let hub = Hub::start().await;
    let auth = Auth::Bearer(Secret::OfUser("of-{}".to_owned()));
    let formation = Formation::of(ServerConfig { auth, ..of(&hub) });
    let echo = formation.tool("echo").await;
    assert_eq!(echo.call(call(json!({}))).await.text(), "done");
    {
        let facts = hub.facts();
        assert_eq!(facts.headers["authorization"], "Bearer of-alice");
        assert_eq!(facts.headers["mcp-session-id"], "1");
        let accepted = facts.headers["accept"].to_str().unwrap();
        assert!(accepted.contains("application/json") && accepted.contains("text/event-stream"));
    }
    let of_bob = muxi_tools::Call { user: user("bob"), ..call(json!({})) };
    assert!(!echo.call(of_bob).await.is_error);
    assert_eq!(hub.facts().headers["authorization"], "Bearer of-bob");
    assert_eq!(hub.facts().headers["mcp-session-id"], "2", "no connection is shared");
    formation.end().await;
}

#[tokio::test]
async fn a_forgotten_session_is_begun_again() {
    let hub = Hub::start().await;
    let formation = Formation::of(of(&hub));
    formation.tools().await.unwrap();
    hub.facts().forgets_sessions = true;
    assert_eq!(formation.call("echo", json!({})).await.text(), "done");
    let begun = hub.facts().asked.iter().filter(|it| *it == "initialize").count();
    assert_eq!(begun, 2);
    formation.end().await;
}

#[tokio::test]
async fn answers_are_bounded_and_other_origins_are_not_followed() {
    let hub = Hub::start().await;
    hub.facts().big_bytes = 300_000;
    let limits = Limits { message_bytes: 100_000, ..Limits::default() };
    let formation = Formation::with(of(&hub), limits);
    let refused = formation.call("echo", json!({})).await;
    assert!(refused.is_error && refused.text().contains("100000 bytes"), "{refused:?}");
    formation.end().await;

    let formation = Formation::of(http(format!("{}/elsewhere", hub.url)));
    let asked = hub.facts().asked.len();
    let refused = formation.tools().await.unwrap_err().to_string();
    assert!(refused.contains("307"), "{refused}");
    assert_eq!(hub.facts().asked.len(), asked, "nothing arrived at the other origin");
    formation.end().await;
}

/// What it logs of them is seen by the whole process, so it is counted there.
#[tokio::test]
async fn notifications_stay_out_of_the_log_and_a_flood_of_them_ends_the_connection() {
    let logged = Logged::default();
    let subscriber = tracing_subscriber::registry().with(logged.clone());
    let _logging = tracing::subscriber::set_default(subscriber);
    let hub = Hub::start().await;
    let limits = Limits { unasked_messages: 1_000, ..Limits::default() };
    let formation = Formation::with(of(&hub), limits);
    hub.facts().notices = 900;
    assert_eq!(formation.call("echo", json!({})).await.text(), "done");
    hub.facts().notices = 100_000;
    let flood = formation.call("echo", json!({})).await.text();
    assert!(flood.contains("it sent more than 1000 messages within 10 s"), "{flood}");
    hub.facts().notices = 0;
    assert_eq!(formation.call("echo", json!({})).await.text(), "done");
    let events = logged.0.load(Ordering::Relaxed);
    assert!(events < 500, "{events} events");
    formation.end().await;
}

#[tokio::test]
async fn what_cannot_be_reached_or_refuses_the_credential_says_so() {
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let formation = Formation::of(http(format!("http://{closed}/mcp")));
    let refused = formation.tools().await.unwrap_err();
    assert!(matches!(refused, McpError::Unreachable { .. }), "{refused:?}");
    formation.end().await;

    let hub = Hub::start().await;
    hub.facts().needs_token = true;
    let formation = Formation::of(ServerConfig { auth: Auth::Bearer("old".into()), ..of(&hub) });
    let refused = formation.tools().await.unwrap_err();
    assert_eq!(refused, McpError::Unauthorized { server: "hub".to_owned() });
    formation.end().await;
}

#[tokio::test]
async fn a_user_grants_access_and_the_token_is_renewed() {
    let hub = Hub::start().await;
    {
        let mut facts = hub.facts();
        facts.needs_token = true;
        // Renewed at its first use.
        facts.token_lifetime = 0;
    }
    let formation = Formation::of(ServerConfig { auth: Auth::OAuth(OAuth::default()), ..of(&hub) });
    let needed = McpError::NeedsAuthorization { server: "hub".to_owned() };
    assert_eq!(formation.tools().await.unwrap_err(), needed);

    let address =
        formation.servers.begin_authorization("hub", &user("alice"), REDIRECT).await.unwrap();
    let (state, code) = consent(&address).await;
    let alice = user("alice");
    let wrong = formation.servers.finish_authorization("invented", &code, None, &alice).await;
    assert!(wrong.is_err());
    let done = formation.servers.finish_authorization(&state, &code, None, &alice).await.unwrap();
    assert_eq!(done, "hub");
    let again = formation.servers.finish_authorization(&state, &code, None, &alice).await;
    assert!(again.is_err(), "a state is good for one answer");

    hub.facts().token_lifetime = 3600;
    assert_eq!(formation.call("echo", json!({})).await.text(), "done");
    let grants: Vec<String> =
        hub.facts().exchanges.iter().map(|it| it["grant_type"].clone()).collect();
    assert_eq!(grants, ["authorization_code", "refresh_token"]);
    let resource = format!("{}/mcp", hub.url);
    assert!(hub.facts().exchanges.iter().all(|it| it["resource"] == resource));
    assert_eq!(hub.facts().headers["authorization"], "Bearer token-2");

    let of_bob = formation.servers.tools("hub", Some(&user("bob"))).await;
    assert_eq!(of_bob.unwrap_err(), needed, "a grant is its user's");
    formation.end().await;
}

#[tokio::test]
async fn a_code_of_another_user_is_never_exchanged() {
    let hub = Hub::start().await;
    hub.facts().needs_token = true;
    let formation = Formation::of(ServerConfig { auth: Auth::OAuth(OAuth::default()), ..of(&hub) });
    let (alice, mallory) = (user("alice"), user("mallory"));
    let address = formation.servers.begin_authorization("hub", &alice, REDIRECT).await.unwrap();
    let (state, code) = consent(&address).await;
    let invented = formation.servers.finish_authorization("invented", &code, None, &mallory).await;
    let refused = formation.servers.finish_authorization(&state, &code, None, &mallory).await;
    assert_eq!(refused, invented, "it does not tell that somebody began it");
    assert!(matches!(refused, Err(McpError::Authorization { .. })), "{refused:?}");
    assert!(hub.facts().exchanges.is_empty(), "the code was not exchanged");
    let late = formation.servers.finish_authorization(&state, &code, None, &alice).await;
    assert!(late.is_err(), "what another tried is spoilt");
    let needed = McpError::NeedsAuthorization { server: "hub".to_owned() };
    for user in [&alice, &mallory] {
        assert_eq!(formation.servers.tools("hub", Some(user)).await.unwrap_err(), needed);
    }
    formation.end().await;
}

#[tokio::test]
async fn a_formation_with_a_secret_authorizes_itself_and_again_when_revoked() {
    let hub = Hub::start().await;
    hub.facts().needs_token = true;
    let client = OAuth {
        client_id: Some("formation".to_owned()),
        client_secret: Some(SecretString::from("s3cret")),
        scopes: vec!["tools".to_owned()],
    };
    let formation = Formation::of(ServerConfig { auth: Auth::OAuth(client), ..of(&hub) });
    assert!(formation.servers.tools("hub", None).await.is_ok(), "no user is needed");
    assert_eq!(formation.call("echo", json!({})).await.text(), "done");
    hub.facts().valid_token = Some("another".to_owned());
    assert_eq!(formation.call("echo", json!({})).await.text(), "done");
    let exchanges = hub.facts().exchanges.clone();
    assert_eq!(exchanges.len(), 2, "{exchanges:?}");
    assert_eq!(exchanges[1]["scope"], "tools");
    formation.end().await;
}

#[tokio::test]
async fn the_everything_server_speaks_streamable_http() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let program = installed("node/node_modules/.bin/mcp-server-everything");
    let mut server = tokio::process::Command::new(program)
        .arg("streamableHttp")
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let waiting = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(server.try_wait().unwrap().is_none(), "it ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    let formation = Formation::of(http(format!("http://127.0.0.1:{port}/mcp")));
    let said = formation.call("echo", json!({"message": "over http"})).await;
    assert!(said.text().contains("over http"), "{said:?}");
    let failed = formation.call("get-sum", json!({"a": "one"})).await;
    assert!(failed.is_error, "{failed:?}");
    formation.end().await;
    server.kill().await.unwrap();
}
