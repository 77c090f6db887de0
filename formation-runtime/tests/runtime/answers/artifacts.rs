//! Files that were made for a user.

use serde_json::{Value, json};

use crate::artifacts::{drawing, image};
use crate::document::{Walk, call};

#[tokio::test]
async fn artifacts() {
    let walk = Walk::start().await;
    let drawn = drawing(&[json!({"content": "Here", "images": [image(b"a cat")]})]);
    walk.llm.script(json!([{"reply": drawn}]));
    let chat = walk.runtime.chat(&json!({"message": "draw a cat", "request_id": "mine"}));
    let answer: Value = chat.send().await.unwrap().json().await.unwrap();
    let id = answer["data"]["message"]["artifacts"][0]["id"].as_str().unwrap().to_owned();
    walk.take(call("list_artifacts").client()).await;
    walk.take(call("get_artifact").client().path(&id)).await;
    walk.take(call("list_artifact_versions").client().path(&id)).await;
    walk.take_text(call("get_artifact_content").client().path(&id)).await;
    walk.take(call("delete_artifact").client().path(&id)).await;
    walk.refuse(call("get_artifact_content").client().path(&id)).await;
}
