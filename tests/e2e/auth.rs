//! Signatures, made by openssl's command line and not by our own code.

use std::io::Write as _;
use std::process::{Command, Stdio};

use muxi_testkit::daemon::{Answer, Daemon, KEY, SECRET, now_s};

const PATH: &str = "/rpc/formations";

/// What `openssl dgst` makes of `{timestamp};{method};{path}`.
fn openssl_header(key: &str, secret: &str, timestamp_s: i64, method: &str, path: &str) -> String {
    let mut openssl = Command::new("sh")
        .args(["-c", "openssl dgst -sha256 -hmac \"$1\" -binary | openssl base64 -A", "sh", secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut input = openssl.stdin.take().expect("a pipe");
    input.write_all(format!("{timestamp_s};{method};{path}").as_bytes()).expect("openssl reads");
    drop(input);
    let output = openssl.wait_with_output().expect("openssl ends");
    let signature = String::from_utf8(output.stdout).expect("base64");
    assert_eq!(signature.len(), 44, "openssl is needed on the PATH");
    format!("MUXI-HMAC key={key}, timestamp={timestamp_s}, signature={signature}")
}

async fn ask(daemon: &Daemon, method: &str, path: &str, header: Option<String>) -> Answer {
    let mut request = daemon.unsigned(method, path);
    if let Some(header) = header {
        request = request.header("authorization", header);
    }
    Answer::of(request).await
}

#[tokio::test]
async fn only_a_right_and_fresh_signature_is_let_in() {
    let daemon = Daemon::start().await;
    let now = now_s();
    let header = |key, secret, at, method, path| openssl_header(key, secret, at, method, path);
    let right = header(KEY, SECRET, now, "GET", PATH);

    let malformed = "Invalid authorization header format";
    let expired = "Request expired (timestamp too old or in future)";
    let wrong = "Invalid signature";
    let at = |at_s| Some(header(KEY, SECRET, at_s, "GET", PATH));
    let cases = [
        ("none", None, "Missing authorization header"),
        ("empty", Some(String::new()), "Missing authorization header"),
        ("another scheme", Some("Bearer token".to_owned()), malformed),
        ("no signature", Some(format!("MUXI-HMAC key={KEY}, timestamp={now}")), malformed),
        ("no blanks", Some(right.replace(", ", ",")), malformed),
        ("lower case", Some(right.replace("MUXI-HMAC", "muxi-hmac")), malformed),
        ("unknown key", Some(header("muxi_pk_other", SECRET, now, "GET", PATH)), "Invalid key"),
        ("too old", at(now - 305), expired),
        ("from the future", at(now + 320), expired),
        ("no time", Some(right.replace(&now.to_string(), "yesterday")), expired),
        ("another secret", Some(header(KEY, "guess", now, "GET", PATH)), wrong),
        ("another method", Some(header(KEY, SECRET, now, "POST", PATH)), wrong),
        ("another path", Some(header(KEY, SECRET, now, "GET", "/rpc/server/status")), wrong),
        ("another time", Some(right.replace(&now.to_string(), &(now + 1).to_string())), wrong),
        ("no base64", Some(format!("MUXI-HMAC key={KEY}, timestamp={now}, signature=!")), wrong),
    ];
    for (what, header, message) in cases {
        let answer = ask(&daemon, "GET", PATH, header).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert_eq!(answer.body["message"], message, "{what}");
        assert_eq!(answer.body["error"], "Unauthorized", "{what}");
        assert_eq!(answer.body["success"], false, "{what}");
        assert_eq!(answer.headers["www-authenticate"], "MUXI-HMAC", "{what}");
    }
    for at_s in [now, now - 290, now + 290] {
        assert_eq!(ask(&daemon, "GET", PATH, at(at_s)).await.status, 200, "{}", at_s - now);
    }
}

#[tokio::test]
async fn the_query_may_be_signed_or_not() {
    let daemon = Daemon::start().await;
    let asked = "/rpc/formations?limit=5&x=%20y";
    for signed in [PATH, asked] {
        let header = openssl_header(KEY, SECRET, now_s(), "GET", signed);
        let answer = ask(&daemon, "GET", asked, Some(header)).await;
        assert_eq!(answer.status, 200, "{signed}: {answer:?}");
    }
    let other = openssl_header(KEY, SECRET, now_s(), "GET", "/rpc/formations?limit=6");
    assert_eq!(ask(&daemon, "GET", asked, Some(other)).await.status, 401);
}

#[tokio::test]
async fn every_management_route_asks_for_a_key_and_nothing_else_does() {
    let daemon = Daemon::start().await;
    for (method, path) in [
        ("GET", "/rpc/formations"),
        ("POST", "/rpc/formations"),
        ("GET", "/rpc/formations/hello"),
        ("DELETE", "/rpc/formations/hello"),
        ("PUT", "/rpc/formations/hello"),
        ("POST", "/rpc/formations/hello/start"),
        ("POST", "/rpc/formations/hello/stop"),
        ("POST", "/rpc/formations/hello/restart"),
        ("GET", "/rpc/server/status"),
        ("GET", "/rpc/server/logs"),
        ("POST", "/rpc/dev/run"),
    ] {
        let answer = ask(&daemon, method, path, None).await;
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
    }
    for (path, status) in
        [("/health", 200), ("/ping", 200), ("/rpc/nothing", 404), ("/rpc", 404), ("/", 404)]
    {
        assert_eq!(ask(&daemon, "GET", path, None).await.status, status, "{path}");
    }
    assert_eq!(ask(&daemon, "GET", "/ping", None).await.text, "pong");
}
