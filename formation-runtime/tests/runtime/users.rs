//! Identifiers of one person lead to the same things; everybody else's stay apart.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Runtime, manifest};

async fn client(runtime: &Runtime, method: Method, path: &str, body: Value) -> (u16, Value) {
    send(runtime, method, path, ("X-Muxi-Client-Key", CLIENT_KEY), body).await
}

async fn admin(runtime: &Runtime, method: Method, path: &str, body: Value) -> (u16, Value) {
    send(runtime, method, path, ("X-Muxi-Admin-Key", ADMIN_KEY), body).await
}

async fn send(
    runtime: &Runtime,
    method: Method,
    path: &str,
    (header, key): (&str, &str),
    body: Value,
) -> (u16, Value) {
    let request = runtime.request(method, path).header(header, key);
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn sessions(runtime: &Runtime, user: &str) -> Value {
    let path = format!("/v1/sessions?user_id={user}");
    let (status, answer) = client(runtime, Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer["data"]["sessions"].clone()
}

fn is_person(id: &Value) -> bool {
    id.as_str().unwrap().strip_prefix("usr_").is_some_and(|random| random.len() == 21)
}

#[tokio::test]
async fn a_person_is_made_only_when_that_is_wanted() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let resolve = |body: Value| client(&runtime, Method::POST, "/v1/users/resolve", body);
    let not_made = json!({"identifier": "Alice@Example.org", "create_user": false});
    let (status, missing) = resolve(not_made.clone()).await;
    assert_eq!((status, &missing["error"]["code"]), (404, &json!("RESOURCE_NOT_FOUND")));
    let path = "/v1/users/alice@example.org";
    assert_eq!(client(&runtime, Method::GET, path, Value::Null).await.0, 404);

    let made = json!({"identifier": "Alice@Example.org", "identifier_type": "email"});
    let (_, made) = resolve(made).await;
    assert_eq!((&made["object"], &made["type"]), (&json!("user"), &json!("user.resolved")));
    let id = made["data"]["muxi_user_id"].clone();
    assert!(is_person(&id), "{made}");
    let expected = json!({"identifier": "Alice@Example.org", "muxi_user_id": id, "created": true});
    assert_eq!(made["data"], expected);
    assert_eq!(resolve(not_made).await.1["data"]["muxi_user_id"], id);

    drop(runtime);
    let runtime = bundle.start(&llm);
    let (_, found) = client(&runtime, Method::GET, path, Value::Null).await;
    assert_eq!(found["data"], json!({"identifier": "alice@example.org", "muxi_user_id": id}));
    let path = format!("/v1/users/identifiers/{}", id.as_str().unwrap());
    let (_, listed) = admin(&runtime, Method::GET, &path, Value::Null).await;
    let first = &listed["data"]["identifiers"][0];
    assert_eq!(
        (&first["identifier"], &first["type"]),
        (&json!("alice@example.org"), &json!("email"))
    );
    assert!(first["created_at"].as_str().unwrap().ends_with('Z'), "{listed}");
}

#[tokio::test]
async fn linked_identifiers_share_sessions_and_unlinked_ones_do_not() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    // What alice said before is hers under all of her names.
    runtime.say("I am Alice").await;
    let body = json!({"identifiers": ["alice", ["a@b.org", "email"],
        {"identifier": "slack:7", "type": "slack"}]});
    let (status, linked) = admin(&runtime, Method::POST, "/v1/users/identifiers", body).await;
    assert_eq!((status, &linked["data"]["count"]), (200, &json!(3)), "{linked}");
    let id = linked["data"]["muxi_user_id"].clone();
    assert!(is_person(&id));
    for name in ["alice", "a@b.org", "slack:7", id.as_str().unwrap()] {
        let found = sessions(&runtime, name).await;
        assert_eq!((&found[0]["session_id"], &found[0]["user_id"]), (&json!("s"), &json!(name)));
    }
    let chat = json!({"message": "again", "session_id": "s", "user_id": "slack:7"});
    let (_, answer) = client(&runtime, Method::POST, "/v1/chat", chat).await;
    assert_eq!(answer["data"]["user_id"], "slack:7");
    assert_eq!(runtime.transcript().await.len(), 4);
    assert_eq!(llm.journal()[1].body["messages"].as_array().unwrap().len(), 4);
    let requests = "/v1/requests?user_id=a@b.org";
    let (_, requests) = client(&runtime, Method::GET, requests, Value::Null).await;
    assert_eq!(requests["data"]["count"], 2);
    assert_eq!(requests["data"]["requests"][0]["user_id"], "a@b.org");

    // The name that everything is kept under leads to nothing of it once it is unlinked.
    let (status, _) =
        client(&runtime, Method::DELETE, "/v1/users/identifiers/alice", Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(sessions(&runtime, "alice").await, json!([]));
    assert_eq!(sessions(&runtime, "slack:7").await.as_array().unwrap().len(), 1);
    let (status, _) =
        admin(&runtime, Method::DELETE, "/v1/users/identifiers/alice", Value::Null).await;
    assert_eq!(status, 404);
    assert_eq!(sessions(&runtime, "bob").await, json!([]));
}

#[tokio::test]
async fn what_cannot_be_linked_is_refused_whole() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let link = |body: Value| admin(&runtime, Method::POST, "/v1/users/identifiers", body);
    let (_, bob) = link(json!({"identifiers": ["bob"]})).await;
    let (status, taken) = link(json!({"identifiers": ["free", "bob"]})).await;
    assert_eq!((status, &taken["error"]["code"]), (409, &json!("DUPLICATE_RESOURCE")));
    assert_eq!(client(&runtime, Method::GET, "/v1/users/free", Value::Null).await.0, 404);
    let whom = bob["data"]["muxi_user_id"].clone();
    let (status, _) = link(json!({"muxi_user_id": whom, "identifiers": ["bob", "free"]})).await;
    assert_eq!(status, 200);

    let nobody = json!({"muxi_user_id": "usr_000000000000000000000", "identifiers": ["x"]});
    assert_eq!(link(nobody).await.0, 404);
    let bad =
        json!({"muxi_user_id": "bob", "identifiers": ["0", 5, ["a"], [], whom, "", {"type": "x"}]});
    let (status, bad) = link(bad).await;
    let faults = bad["error"]["data"]["validation_errors"].as_array().unwrap().clone();
    let fields: Vec<_> = faults.iter().map(|it| it["field"].as_str().unwrap()).collect();
    assert_eq!(status, 422);
    assert_eq!(
        fields,
        [
            "muxi_user_id",
            "identifiers.0",
            "identifiers.1",
            "identifiers.3",
            "identifiers.4",
            "identifiers.5",
            "identifiers.6",
        ]
    );
    let (status, _) = client(&runtime, Method::POST, "/v1/users/resolve", json!({})).await;
    assert_eq!(status, 422);

    // Keys: the operator does not resolve, and nobody does without one.
    let body = json!({"identifier": "x"});
    let (status, _) = admin(&runtime, Method::POST, "/v1/users/resolve", body).await;
    assert_eq!(status, 401);
    let request = runtime.get("/v1/users/identifiers/bob").send().await.unwrap();
    assert_eq!(request.status(), 401);
    // A user that cannot be read is never taken for nobody.
    let request = runtime.request(Method::DELETE, "/v1/memory/buffer");
    let request = request.header("X-Muxi-Admin-Key", ADMIN_KEY).header("X-Muxi-User-ID", "a\tb");
    assert_eq!(request.send().await.unwrap().status(), 400);
}
