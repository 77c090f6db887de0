//! Who is who, and what users gave.

use serde_json::json;

use crate::document::{Walk, call};

#[tokio::test]
async fn users() {
    let walk = Walk::start().await;
    let body = json!({"identifier": "Alice@example.org", "identifier_type": "email"});
    let found = walk.take(call("resolve_user").client().body(body)).await;
    walk.take(call("get_user").client().path("alice@example.org")).await;
    let linked = json!(["alice", ["slack:7", "slack"], {"identifier": "+49 30 7", "type": null}]);
    let whom = found["data"]["muxi_user_id"].clone();
    let body = json!({"muxi_user_id": whom, "identifiers": linked});
    walk.take(call("link_identifiers").admin().body(body)).await;
    walk.take(call("list_identifiers").admin().path("alice")).await;
    walk.take(call("unlink_identifier").admin().path("alice")).await;
    for bad in [
        call("resolve_user").client().body(json!({"identifier": "bob", "create_user": false})),
        call("get_user").client().path("bob"),
        call("link_identifiers").admin().body(json!({"identifiers": []})),
        call("link_identifiers").admin().body(json!({"identifiers": ["slack:7"]})),
        call("list_identifiers").admin().path("bob"),
        call("unlink_identifier").admin().path("bob"),
    ] {
        walk.refuse(bad).await;
    }
}

#[tokio::test]
async fn credentials() {
    let walk = Walk::start().await;
    walk.take(call("list_credential_services").client()).await;
    let body = json!({"service": "github", "credential": {"token": "ghp_0123456789abcdefXYZ"}});
    let create = call("create_credential").client().body(body);
    let made = walk.take(create.clone()).await;
    walk.take(create.fails_with("DUPLICATE_RESOURCE")).await;
    walk.take(call("list_credentials").client()).await;
    let id = made["data"]["credential_id"].as_str().unwrap();
    walk.take(call("get_credential").client().path(id)).await;
    walk.take(call("delete_credential").client().path(id)).await;
    for bad in [
        call("create_credential").client().body(json!({"service": "github", "credential": {}})),
        call("get_credential").client().path(id),
        call("delete_credential").client().path(id),
    ] {
        walk.refuse(bad).await;
    }
}
