//! Pages of other origins call formations from a browser, and never the management API.

use muxi_testkit::daemon::{Answer, CLIENT_KEY, Daemon};
use serde_json::{Value, json};

const PAGE: &str = "https://app.example";

async fn ask(daemon: &Daemon, url: &str, method: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = daemon.http().request(method.parse().expect("a method"), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

async fn preflight(daemon: &Daemon, url: &str) -> Answer {
    let headers = [
        ("origin", PAGE),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "x-muxi-client-key, x-muxi-user-id, content-type"),
    ];
    ask(daemon, url, "OPTIONS", &headers).await
}

#[track_caller]
fn assert_allows(answer: &Answer, origin: Option<&str>) {
    let told = answer.headers.get_all("access-control-allow-origin").iter();
    let told: Vec<&str> = told.map(|value| value.to_str().expect("a readable header")).collect();
    assert_eq!(told, Vec::from_iter(origin), "{answer:?}");
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
}

#[track_caller]
fn assert_lets_pass(answer: &Answer) {
    assert_eq!(answer.status, 204, "{answer:?}");
    let list =
        |name: &str| answer.headers[name].to_str().expect("a readable header").to_lowercase();
    assert!(list("access-control-allow-methods").contains("patch"));
    let headers = list("access-control-allow-headers");
    for name in ["x-muxi-client-key", "x-muxi-admin-key", "x-muxi-user-id", "authorization"] {
        assert!(headers.contains(name), "{name} is not in {headers}");
    }
    assert!(answer.headers.contains_key("access-control-max-age"));
}

#[tokio::test]
async fn a_page_may_call_a_formation_wherever_it_is_reached() {
    let daemon = Daemon::start().await;
    let formation = daemon.deploy_formation("hello", "http://127.0.0.1:1").await;
    let bases = [format!("{}/api/hello", daemon.url()), formation.url()];
    for base in &bases {
        let answer = preflight(&daemon, &format!("{base}/v1/chat")).await;
        assert_lets_pass(&answer);
        assert_allows(&answer, Some("*"));
        let key = [("origin", PAGE), ("x-muxi-client-key", CLIENT_KEY)];
        for (headers, status) in [(&key[..], 200), (&key[..1], 401)] {
            let answer =
                ask(&daemon, &format!("{base}/v1/sessions?user_id=alice"), "GET", headers).await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert_allows(&answer, Some("*"));
            let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap();
            assert!(exposed.contains("X-Request-Id") && exposed.contains("Retry-After"));
        }
    }
    // What the manager says itself can be read, too: through it, and on the formation's port.
    let nobody = format!("{}/api/nobody/v1/chat", daemon.url());
    assert_allows(&ask(&daemon, &nobody, "GET", &[("origin", PAGE)]).await, Some("*"));
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    for base in &bases {
        let answer =
            ask(&daemon, &format!("{base}/v1/sessions?user_id=alice"), "GET", &[("origin", PAGE)])
                .await;
        assert_eq!(answer.status, 503);
        assert_allows(&answer, Some("*"));
    }
    for path in ["/rpc/formations", "/rpc/server/status", "/health"] {
        let url = format!("{}{path}", daemon.url());
        assert_allows(&preflight(&daemon, &url).await, None);
        assert_allows(&ask(&daemon, &url, "GET", &[("origin", PAGE)]).await, None);
    }
}

#[tokio::test]
async fn only_listed_origins_are_let_in() {
    let listed = json!({"proxy": {"cors": {"allow_origins": [PAGE, "http://localhost:3000"]}}});
    let daemon = Daemon::builder().config(listed).start().await;
    let formation = daemon.deploy_formation("hello", "http://127.0.0.1:1").await;
    for base in [format!("{}/api/hello", daemon.url()), formation.url()] {
        let url = format!("{base}/v1/health");
        assert_allows(&preflight(&daemon, &url).await, Some(PAGE));
        for (origin, allowed) in [(PAGE, Some(PAGE)), ("https://evil.example", None)] {
            let answer = ask(&daemon, &url, "GET", &[("origin", origin)]).await;
            assert_allows(&answer, allowed);
            assert_eq!(answer.headers["vary"], "Origin");
        }
    }
}

#[tokio::test]
async fn a_formation_does_not_speak_for_the_manager() {
    let daemon = Daemon::builder().fake_formation().start().await;
    daemon.deploy_formation("hello", "http://127.0.0.1:1").await;
    let url = |path: &str| format!("{}/api/hello/{path}", daemon.url());
    let answer = ask(&daemon, &url("own-cors"), "GET", &[("origin", PAGE)]).await;
    assert_eq!(answer.text, "own");
    assert_allows(&answer, Some("*"));
    // An OPTIONS that is no preflight is the formation's to answer.
    let answer = ask(&daemon, &url("echo"), "OPTIONS", &[("origin", PAGE)]).await;
    assert_eq!((answer.status, &answer.body["method"]), (200, &Value::from("OPTIONS")));
    assert_allows(&answer, Some("*"));
    let mcp = format!("{}/mcp/hello", daemon.url());
    assert_lets_pass(&preflight(&daemon, &mcp).await);
}
