use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use muxi_contract::{RequestId, SessionId, UserId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;

/// An agent that answers each request with the next of its answers, the last one for ever; it keeps what
/// it was sent. It is as strange as its answers are.
struct Peer {
    url: Url,
    heard: Arc<std::sync::Mutex<Vec<String>>>,
    _task: tokio::task::JoinSet<()>,
}

type Answer = Box<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

impl Peer {
    async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let heard = Arc::<std::sync::Mutex<Vec<String>>>::default();
        let (kept, answers, next) =
            (heard.clone(), Arc::new(answers), Arc::new(AtomicUsize::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answers, next) = (kept.clone(), answers.clone(), next.clone());
                open.spawn(async move {
                    let (mut stream, request) = request(stream).await;
                    let number = next.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
                    let answer = answers[number](&request);
                    kept.lock().unwrap().push(request);
                    stream.write_all(&answer).await.ok();
                    if answer.ends_with(HANG) {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { url, heard, _task: tasks }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// An answer that ends so leaves its connection open and says no more.
const HANG: &[u8] = b"\n...\n";

async fn request(mut stream: TcpStream) -> (TcpStream, String) {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if read == 0 {
                return (stream, text);
            }
            continue;
        };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if read == 0 || body.len() >= length.unwrap_or(0) {
            return (stream, text);
        }
    }
}

fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
        .into_bytes()
}

fn plain(status: u16, headers: &'static str, body: String) -> Answer {
    Box::new(move |_| answer(status, headers, &body))
}

fn card(streams: bool) -> Answer {
    let card = json!({"name": "x", "capabilities": {"streaming": streams}, "supportedInterfaces": [
        {"url": "/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]});
    plain(200, "content-type: application/json\r\n", card.to_string())
}

fn result(result: &Value) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 1, "result": result});
    plain(200, "content-type: application/json\r\n", body.to_string())
}

fn task(state: &str, text: &str) -> Value {
    json!({"task": {"id": "t", "contextId": "c", "status": {"state": state},
        "artifacts": [{"artifactId": "a", "parts": [{"text": text}]}]}})
}

fn agent(peer: &Peer, credentials: Credentials) -> RemoteAgent {
    let remote = Remote {
        id: "news".to_owned(),
        name: "News".to_owned(),
        description: "Knows the news.".to_owned(),
        url: peer.url.clone(),
        timeout: Duration::from_secs(5),
        retries: 2,
        credentials,
    };
    RemoteAgent::new(remote, TaskGroup::new(CancellationToken::new())).unwrap()
}

fn call(depth: u8) -> Call {
    let Value::Object(arguments) = json!({"message": "What is new?"}) else { panic!() };
    Call {
        arguments,
        user: UserId::anonymous(),
        session: SessionId::generate(),
        request: RequestId::generate(),
        agent: "helper".to_owned(),
        depth,
        time_left: Duration::from_secs(30),
        cancelled: CancellationToken::new(),
    }
}

#[tokio::test]
async fn a_long_task_is_looked_at_until_it_is_over() {
    let working =
        json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}});
    let done = &task("TASK_STATE_COMPLETED", "Nothing.")["task"];
    let peer =
        Peer::start(vec![card(false), result(&working), result(&working["task"]), result(done)])
            .await;
    let outcome = agent(&peer, Credentials::None).call(call(2)).await;
    assert_eq!(
        (outcome.text().as_str(), outcome.is_error, outcome.is_trusted),
        ("Nothing.", false, false)
    );
    let heard = peer.heard();
    let named = |name: &str| heard.iter().filter(|it| it.contains(name)).count();
    assert_eq!((named("SendMessage"), named("GetTask"), heard.len()), (1, 2, 4));
    assert!(heard[1].contains("x-muxi-depth: 3") && heard[1].contains("a2a-version: 1.0"));
}

#[tokio::test]
async fn a_stream_is_put_together() {
    let pieces = [
        json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}}),
        json!({"artifactUpdate": {"artifact": {"artifactId": "a", "parts": [{"text": "No"}]}}}),
        json!({"artifactUpdate": {"append": true, "artifact": {"artifactId": "a",
            "parts": [{"text": "thing."}]}}}),
        json!({"statusUpdate": {"taskId": "t", "status": {"state": "TASK_STATE_COMPLETED"}}}),
    ]
    .into_iter()
    .map(|result| format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": result})));
    let pieces: Vec<String> = pieces.collect();
    let stream = plain(200, "content-type: text/event-stream\r\n", pieces.concat());
    let peer = Peer::start(vec![card(true), stream]).await;
    let outcome = agent(&peer, Credentials::None).call(call(0)).await;
    assert_eq!(outcome.text(), "Nothing.");
    assert_eq!(outcome.structured.unwrap()["context_id"], "c");
}

#[tokio::test]
async fn what_nobody_began_is_sent_again_and_what_may_have_run_is_not() {
    let busy = || plain(503, "", String::new());
    let done = result(&task("TASK_STATE_COMPLETED", "Here."));
    let peer = Peer::start(vec![card(false), busy(), busy(), done]).await;
    assert_eq!(agent(&peer, Credentials::None).call(call(0)).await.text(), "Here.");
    let heard = peer.heard();
    let ids: Vec<_> = heard[1..].iter().map(|it| it.split("messageId").nth(1).unwrap()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| id[..24] == ids[0][..24]), "{ids:?}");

    let peer = Peer::start(vec![card(false), plain(500, "", String::new())]).await;
    let outcome = agent(&peer, Credentials::None).call(call(0)).await;
    assert!(outcome.is_error && outcome.text().contains("status 500"), "{}", outcome.text());
    assert_eq!(peer.heard().len(), 2);
}

#[tokio::test]
async fn hostile_answers_fail_their_own_call() {
    let huge = format!("{{\"result\": \"{}\"}}", "x".repeat(9 * 1024 * 1024));
    let refusal =
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "Task not found"}});
    for (answer, fault) in [
        (plain(200, "", huge), "more than"),
        (plain(200, "", "{\"result\": ".to_owned()), "not JSON"),
        (plain(200, "", "[".repeat(100_000)), "not JSON"),
        (plain(200, "", "{\"result\": {\"kind\": \"song\"}}".to_owned()), "neither a task"),
        (plain(302, "location: http://127.0.0.1:1/\r\n", String::new()), "redirect"),
        (plain(200, "", refusal.to_string()), "-32001: Task not found"),
        (plain(200, "content-type: text/event-stream\r\n", "data: {\n\n".to_owned()), "not JSON"),
        (plain(401, "", String::new()), "status 401"),
    ] {
        let peer = Peer::start(vec![card(false), answer]).await;
        let outcome = agent(&peer, Credentials::None).call(call(0)).await;
        assert!(outcome.is_error && outcome.text().contains(fault), "{}", outcome.text());
    }
    let leads = json!({"supportedInterfaces": [
        {"url": "http://127.0.0.2:1/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]});
    let peer = Peer::start(vec![plain(200, "", leads.to_string())]).await;
    let outcome = agent(&peer, Credentials::None).call(call(0)).await;
    assert!(outcome.text().contains("another host"), "{}", outcome.text());
}

#[tokio::test]
async fn one_that_hangs_is_left_when_the_call_is_cancelled_or_late() {
    let hang = || -> Answer {
        let task = json!({"jsonrpc": "2.0", "id": 1, "result": task("TASK_STATE_WORKING", "x")});
        let head = "HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\n\r\n";
        let mut bytes = format!("{head}data: {task}\n\n:").into_bytes();
        bytes.extend_from_slice(HANG);
        Box::new(move |_| bytes.clone())
    };
    for time_left in [Duration::from_millis(300), Duration::from_secs(30)] {
        let gone = result(&task("TASK_STATE_CANCELED", "")["task"]);
        let peer = Peer::start(vec![card(true), hang(), gone]).await;
        let agent = agent(&peer, Credentials::None);
        let made = Call { time_left, ..call(0) };
        let cancelled = made.cancelled.clone();
        let (outcome, ()) = tokio::join!(agent.call(made), async {
            if time_left > Duration::from_secs(1) {
                while peer.heard().len() < 2 {
                    tokio::task::yield_now().await;
                }
                cancelled.cancel();
            }
        });
        assert!(outcome.is_error, "{}", outcome.text());
    }
    // A turn that is cancelled does not wait for its calls: it drops them.
    let gone = result(&task("TASK_STATE_CANCELED", "")["task"]);
    let working = result(&task("TASK_STATE_WORKING", "x"));
    let head = "HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n";
    let silent: Answer = Box::new(move |_| [head.as_bytes(), HANG].concat());
    let peer = Peer::start(vec![card(false), working, silent, gone]).await;
    let agent = agent(&peer, Credentials::None);
    let mut calling = agent.call(call(0));
    // Whoever looks at a task knows it.
    let begun = async {
        while peer.heard().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = &mut calling => panic!("{outcome:?}"),
        () = begun => {}
    }
    drop(calling);
    until_cancelled(&peer).await;
}

async fn until_cancelled(peer: &Peer) {
    while !peer.heard().iter().any(|it| it.contains("CancelTask")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn those_who_ask_in_a_circle_are_stopped() {
    let peer = Peer::start(vec![card(false)]).await;
    let outcome = agent(&peer, Credentials::None).call(call(DEPTH_MAX)).await;
    assert!(outcome.is_error && outcome.text().contains("circle"));
    assert!(peer.heard().is_empty());
}

#[tokio::test]
async fn each_kind_of_credentials_is_sent() {
    let secret = |text: &str| secrecy::SecretString::from(text.to_owned());
    let token = plain(200, "", json!({"access_token": "granted", "expires_in": 3600}).to_string());
    let server = Peer::start(vec![token]).await;
    let kinds = [
        (Credentials::Bearer { token: secret("tok") }, "authorization: bearer tok"),
        (
            Credentials::Basic { username: secret("u"), password: secret("p") },
            "authorization: basic dtpw",
        ),
        (Credentials::ApiKey { header: "X-API-Key".to_owned(), key: secret("k") }, "x-api-key: k"),
        (
            Credentials::Headers(BTreeMap::from([("X-Team".to_owned(), secret("blue"))])),
            "x-team: blue",
        ),
        (
            Credentials::OAuth2 {
                client_id: secret("me"),
                client_secret: secret("s&s"),
                token_url: server.url.to_string(),
                scope: Some("a b".to_owned()),
            },
            "authorization: bearer granted",
        ),
    ];
    for (credentials, expected) in kinds {
        let done = result(&task("TASK_STATE_COMPLETED", "Here."));
        let peer = Peer::start(vec![card(false), done]).await;
        assert_eq!(agent(&peer, credentials).call(call(0)).await.text(), "Here.");
        for heard in peer.heard() {
            assert!(heard.to_ascii_lowercase().contains(expected), "{expected}: {heard}");
        }
    }
    // One token was enough for the card and the call.
    let asked = server.heard();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains("client_secret=s%26s&scope=a+b"), "{}", asked[0]);
    let hmac = Credentials::Hmac {
        secret: secret("shared"),
        signature_header: "X-Signature".to_owned(),
        timestamp_header: "X-Timestamp".to_owned(),
    };
    let peer = Peer::start(vec![card(false), result(&task("TASK_STATE_COMPLETED", "Here."))]).await;
    assert_eq!(agent(&peer, hmac).call(call(0)).await.text(), "Here.");
    let request = &peer.heard()[1];
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let field = |name: &str| head.lines().find_map(|it| it.strip_prefix(name)).unwrap();
    let expected = super::super::sign(&secret("shared"), field("x-timestamp: "), body.as_bytes());
    assert_eq!(field("x-signature: "), expected);
}
