//! One answer for each class of failure.

use serde_json::json;

use crate::document::{Walk, call};
use crate::harness::CLIENT_KEY;

#[tokio::test]
async fn who_asks() {
    let walk = Walk::start().await;
    walk.take(call("list_sessions").fails_with("UNAUTHORIZED")).await;
    let nobody = call("list_sessions").header("X-Muxi-Client-Key", CLIENT_KEY);
    walk.take(nobody.fails_with("INVALID_REQUEST")).await;
    let query = call("list_sessions").client().query("limit=0&active_only=perhaps");
    walk.take(query.fails_with("VALIDATION_ERROR")).await;
    walk.take(call("get_session").client().path("x").fails_with("RESOURCE_NOT_FOUND")).await;
}

#[tokio::test]
async fn requests() {
    let walk = Walk::start().await;
    walk.take(call("get_request").client().path("x").fails_with("REQUEST_NOT_FOUND")).await;
    let chat = json!({"message": "hi", "request_id": "mine"});
    walk.runtime.chat(&chat).send().await.unwrap();
    let bobs = call("get_request").header("X-Muxi-Client-Key", CLIENT_KEY);
    let bobs = bobs.header("X-Muxi-User-ID", "bob").path("mine");
    walk.take(bobs.fails_with("FORBIDDEN")).await;
    // The answer comes before the request's row has its end.
    loop {
        let request = walk.pass(call("get_request").client().path("mine")).await;
        if request["data"]["status"] == "completed" {
            break;
        }
    }
    let cancel = call("cancel_request").client().path("mine");
    walk.take(cancel.fails_with("OPERATION_FAILED")).await;
}
