//! Two users do the same under the same names; whatever one asks for, nothing of the other is there.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, Runtime, manifest};

async fn ask(
    runtime: &Runtime,
    user: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let request = runtime.request(method, path).header("X-Muxi-Client-Key", CLIENT_KEY);
    let request = request.header("X-Muxi-User-ID", user);
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Everything that a user can leave behind, and the paths of what has an id of its own.
async fn leave_traces(runtime: &Runtime, user: &str, mark: &str) -> Vec<String> {
    let post = |path: &'static str, body: Value| ask(runtime, user, Method::POST, path, body);
    let chat = json!({"message": mark, "session_id": "s", "request_id": format!("r-{mark}")});
    assert_eq!(post("/v1/chat", chat).await.0, 200);
    let restored = json!({"messages": [
        {"role": "user", "content": mark, "timestamp": 1},
    ]});
    assert_eq!(post("/v1/sessions/restored/restore", restored).await.0, 200);
    let (_, memory) = post("/v1/memories", json!({"content": mark})).await;
    let entry = json!({"content": mark, "source": "crm", "source_id": "1", "subject": "Acme"});
    let (status, entry) = post("/v1/memories", entry).await;
    assert_eq!(status, 202);
    let credential =
        json!({"service": "github", "name": mark, "credential": {"token": mark.repeat(3)}});
    let (_, credential) = post("/v1/credentials", credential).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    vec![
        format!("/v1/requests/r-{mark}"),
        format!("/v1/events/s/r-{mark}"),
        format!("/v1/memories/{}", text(&memory["data"]["id"])),
        text(&entry["data"]["status_url"]),
        format!("/v1/memories/provenance?event_id={}", text(&entry["data"]["event_id"])),
        format!("/v1/credentials/{}", text(&credential["data"]["credential_id"])),
    ]
}

const READS: [&str; 17] = [
    "/v1/sessions",
    "/v1/sessions/s",
    "/v1/sessions/s/messages",
    "/v1/sessions/restored",
    "/v1/sessions/restored/messages",
    "/v1/requests",
    "/v1/requests?limit=1000",
    "/v1/memory/buffer",
    "/v1/memories",
    "/v1/memories?query=mark&scopes=user,group,formation",
    "/v1/memories/provenance?entity=acme",
    "/v1/history",
    "/v1/history?include_sources=true&date_from=2000-01-01",
    "/v1/credentials",
    "/v1/credentials/services",
    "/v1/usage?group_by=user",
    "/v1/scheduler/jobs",
];

#[tokio::test]
async fn nothing_of_one_user_is_in_an_answer_to_another() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let link = runtime.post("/v1/users/identifiers").header("X-Muxi-Admin-Key", ADMIN_KEY);
    let linked = link.json(&json!({"identifiers": ["ann", "ann@b.org"]})).send().await.unwrap();
    assert_eq!(linked.status(), 200);
    let users = [("ann", "mark-of-ann"), ("ben", "mark-of-ben")];
    let mut own_paths = Vec::new();
    for (user, mark) in users {
        own_paths.push(leave_traces(&runtime, user, mark).await);
    }
    for (who, names) in [(0, &["ann", "ann@b.org"][..]), (1, &["ben"]), (2, &["cat"])] {
        for name in names {
            for path in READS {
                let (status, answer) = ask(&runtime, name, Method::GET, path, Value::Null).await;
                assert!(status < 500, "{path}: {answer}");
                for (other, (user, mark)) in users.into_iter().enumerate() {
                    let text = answer.to_string();
                    let is_there = text.contains(mark) || text.contains(&format!("\"{user}\""));
                    assert!(other == who || !is_there, "{name} {path}: {text}");
                }
            }
            for (whose, paths) in own_paths.iter().enumerate().filter(|(whose, _)| *whose != who) {
                for path in paths {
                    for method in [Method::GET, Method::DELETE] {
                        let (status, answer) = ask(&runtime, name, method, path, Value::Null).await;
                        assert!((403..=405).contains(&status), "{name} {path}: {answer}");
                        assert!(!answer["data"].to_string().contains(users[whose].1));
                    }
                }
            }
        }
    }
    // What others tried has changed nothing.
    for (user, mark) in users {
        for path in ["/v1/sessions/s/messages", "/v1/memories", "/v1/credentials", "/v1/history"] {
            let (_, answer) = ask(&runtime, user, Method::GET, path, Value::Null).await;
            assert!(answer.to_string().contains(mark), "{user} {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_stream_of_events_tells_its_reader_nothing_of_others() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let stream = runtime.get("/v1/events?user_id=ben").header("X-Muxi-Client-Key", CLIENT_KEY);
    let mut frames = Frames::of(stream.send().await.unwrap());
    for (user, mark) in [("ann", "mark-of-ann"), ("ben", "mark-of-ben")] {
        leave_traces(&runtime, user, mark).await;
    }
    loop {
        let (_, event) = frames.next().await.unwrap();
        assert_eq!(event["user_id"], "ben", "{event}");
        assert!(!event.to_string().contains("mark-of-ann"));
        if event["type"] == "credential.created" {
            break;
        }
    }
}
