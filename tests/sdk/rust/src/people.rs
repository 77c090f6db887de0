//! Who is who, and the credentials that users give.

use anyhow::{Context as _, ensure};
use muxi_rust::FormationClient;
use serde_json::json;

use crate::calls::call;
use crate::checks::{Checks, Kind, equal, refused, strings};

pub(crate) async fn check(checks: &mut Checks, way: &str, client: &FormationClient) {
    check_identifiers(checks, way, client).await;
    check_credentials(checks, way, client).await;
}

async fn check_identifiers(checks: &mut Checks, way: &str, client: &FormationClient) {
    let (mail, chat_name) = (&format!("ada.{way}@example.com"), &format!("slack-{way}"));
    let mut person = String::new();
    checks
        .check(&format!("{way} resolve_user makes one only if it may"), async {
            refused(call!(client.resolve_user(mail, false)).await, Kind::NotFound, 404)?;
            let made = call!(client.resolve_user(mail, true)).await?;
            person = made["muxi_user_id"].as_str().context("no id")?.to_owned();
            ensure!(person.starts_with("usr_"), "{made}");
            equal(&call!(client.resolve_user(mail, false)).await?["muxi_user_id"], &json!(person))
        })
        .await;
    let person = person.as_str();
    let identifiers = async || {
        let found = call!(client.get_user_identifiers(person)).await?;
        let mut identifiers = strings(&found["identifiers"], "identifier");
        identifiers.sort();
        anyhow::Ok(identifiers)
    };
    checks
        .check(&format!("{way} link_user_identifier, both names are one person"), async {
            let names = json!([[chat_name, "slack"]]);
            call!(client.link_user_identifier(person, names)).await?;
            equal(identifiers().await?, [mail.as_str(), chat_name])?;
            call!(client.add_memory(mail, "fact", "is one person")).await?;
            let found = call!(client.get_memories(chat_name, None)).await?;
            equal(strings(&found["memories"], "content"), ["is one person"])
        })
        .await;
    checks
        .check(&format!("{way} unlink_user_identifier"), async {
            call!(client.unlink_user_identifier(chat_name)).await?;
            equal(identifiers().await?, [mail.as_str()])?;
            refused(call!(client.resolve_user(chat_name, false)).await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
}

async fn check_credentials(checks: &mut Checks, way: &str, client: &FormationClient) {
    let (user, other) = (&format!("{way}-holder"), &format!("{way}-thief"));
    let secret = "ghp_0123456789abcdefghij";
    checks
        .check(&format!("{way} list_credential_services"), async {
            // No tool server can be configured yet, and only those ask for credentials.
            equal(&call!(client.list_credential_services()).await?["services"], &json!([]))
        })
        .await;
    let mut id = String::new();
    checks
        .check(&format!("{way} create_credential, masked, once"), async {
            let payload =
                json!({"service": "github", "name": "work", "credential": {"token": secret}});
            let made = call!(client.create_credential(user, payload.clone())).await?;
            id = made["credential_id"].as_str().context("no id")?.to_owned();
            ensure!(!made.to_string().contains(secret), "{made}");
            refused(call!(client.create_credential(user, payload)).await, Kind::Conflict, 409)?;
            Ok(())
        })
        .await;
    let id = id.as_str();
    checks
        .check(
            &format!("{way} list_credentials and get_credential, masked, its user's only"),
            async {
                let listed = call!(client.list_credentials(user)).await?;
                equal(strings(&listed["credentials"], "credential_id"), [id])?;
                let found = call!(client.get_credential(id, user)).await?;
                equal((&found["service"], &found["name"]), (&json!("github"), &json!("work")))?;
                ensure!(!format!("{listed}{found}").contains(secret), "{listed} {found}");
                equal(&call!(client.list_credentials(other)).await?["credentials"], &json!([]))?;
                refused(call!(client.get_credential(id, other)).await, Kind::NotFound, 404)?;
                Ok(())
            },
        )
        .await;
    checks
        .check(&format!("{way} delete_credential, not another user's"), async {
            refused(call!(client.delete_credential(id, other)).await, Kind::NotFound, 404)?;
            call!(client.delete_credential(id, user)).await?;
            equal(&call!(client.list_credentials(user)).await?["credentials"], &json!([]))
        })
        .await;
}
