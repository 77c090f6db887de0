//! What an operator asks a formation, what it refuses, and to whom.

use std::pin::pin;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use muxi_rust::FormationClient;
use serde_json::{Value, json};

use crate::Settings;
use crate::calls::call;
use crate::checks::{Checks, Kind, equal, refused};

const USER: Option<&str> = Some("ada");

pub(crate) async fn check_views(
    checks: &mut Checks,
    settings: &Settings,
    way: &str,
    client: &FormationClient,
) {
    let id = settings.formation_id.as_str();
    checks
        .check(&format!("{way} health"), async {
            let health = call!(client.health()).await?;
            equal((&health["status"], &health["version"]), (&json!("healthy"), &json!("1.2.3")))
        })
        .await;
    checks
        .check(&format!("{way} get_status"), async {
            let status = call!(client.get_status()).await?;
            equal(&status["formation"]["id"], &json!(id))?;
            ensure!(status["request_id"].is_string(), "no request id: {status}");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} get_agents and get_agent"), async {
            let agents = call!(client.get_agents()).await?;
            equal(&agents["count"], &json!(1))?;
            equal(&agents["agents"][0]["id"], &json!("parrot"))?;
            equal(&call!(client.get_agent("parrot")).await?["name"], &json!("Parrot"))?;
            refused(call!(client.get_agent("no-such-agent")).await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} get_formation_info"), async {
            let shown = call!(client.get_formation_info()).await?;
            equal(&shown["id"], &json!(id))?;
            let text = shown.to_string();
            for key in [&settings.admin_key, &settings.client_key] {
                ensure!(!text.contains(key.as_str()), "shows a key");
            }
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} get_config"), async {
            let config = call!(client.get_config()).await?;
            equal(&config["formation_id"], &json!(id))?;
            equal(&config["agents"]["total"], &json!(1))
        })
        .await;
    checks
        .check(&format!("{way} get_mcp_servers and get_mcp_tools: no server, and what the program does itself"), async {
            equal(&call!(client.get_mcp_servers()).await?["servers"], &json!([]))?;
            let tools = call!(client.get_mcp_tools()).await?["tools"].take();
            let names = tools.as_array().into_iter().flatten().map(|tool| &tool["name"]);
            equal(&json!(names.filter(|it| *it == "generate_file").count()), &json!(1))
        })
        .await;
    checks
        .check(&format!("{way} get_overlord_config and get_overlord_soul"), async {
            let soul = call!(client.get_overlord_soul()).await?["soul"].take();
            equal(&soul, &json!("You repeat what the script says."))?;
            equal(&call!(client.get_overlord_config()).await?["soul"], &soul)
        })
        .await;
    checks
        .check(&format!("{way} get_llm_settings, get_async_config and get_a2a_config"), async {
            equal(&call!(client.get_llm_settings()).await?["temperature"], &json!(0.5))?;
            equal(&call!(client.get_async_config()).await?["webhook_timeout"], &json!(7))?;
            let a2a = call!(client.get_a2a_config()).await?;
            ensure!(a2a["enabled"].is_null(), "{a2a}");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} get_logging_config and get_logging_destinations"), async {
            ensure!(call!(client.get_logging_config()).await?.is_object(), "no object");
            let shown = call!(client.get_logging_destinations()).await?;
            ensure!(shown["system"]["destination"].is_string(), "{shown}");
            Ok(())
        })
        .await;
}

pub(crate) async fn check_secrets_and_audit(
    checks: &mut Checks,
    settings: &Settings,
    way: &str,
    client: &FormationClient,
) {
    let (name, value) = (&format!("SDK_{}", way.to_uppercase()), "sk-0123456789abcdefghij");
    checks
        .check(&format!("{way} set_secret, get_secret and get_secrets, masked"), async {
            refused(call!(client.set_secret(name, value)).await, Kind::NotFound, 404)?;
            settings.create_secret(name).await?;
            let before = call!(client.get_secret(name)).await?["value"].take();
            call!(client.set_secret(name, value)).await?;
            let after = call!(client.get_secret(name)).await?["value"].take();
            ensure!(after != before && !after.to_string().contains(value), "{before} {after}");
            ensure!(after.as_str().is_some_and(|it| it.ends_with("ghij")), "{after}");
            equal(&call!(client.get_secrets()).await?["secrets"][name], &after)
        })
        .await;
    checks
        .check(&format!("{way} delete_secret"), async {
            call!(client.delete_secret(name)).await?;
            refused(call!(client.get_secret(name)).await, Kind::NotFound, 404)?;
            ensure!(call!(client.get_secrets()).await?["secrets"][name].is_null(), "still there");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} get_audit_log, then clear_audit_log"), async {
            let actions = async || {
                let log = call!(client.get_audit_log()).await?;
                let entries = log["entries"].as_array().context("no list")?.clone();
                let action = |it: &Value| it["action"].as_str().unwrap_or_default().to_owned();
                anyhow::Ok(entries.iter().map(action).collect::<Vec<_>>())
            };
            let done = actions().await?;
            for action in ["secret.created", "secret.updated", "secret.deleted"] {
                ensure!(done.iter().any(|it| it == action), "{action} is not in {done:?}");
            }
            call!(client.clear_audit_log()).await?;
            equal(actions().await?, ["audit.cleared"])
        })
        .await;
}

/// What cannot-pass.json lists: each is refused by name.
pub(crate) async fn check_unserved(checks: &mut Checks, way: &str, client: &FormationClient) {
    checks
        .check(&format!("{way} get_sops is empty"), async {
            let listed = call!(client.get_sops()).await?;
            equal(listed["sops"].as_array().map(Vec::len), Some(0))
        })
        .await;
    checks
        .cannot_pass(&format!("{way} get_sop: NotFound"), async {
            refused(call!(client.get_sop("any")).await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
    checks
        .cannot_pass(&format!("{way} get_mcp_server: NotFound"), async {
            refused(call!(client.get_mcp_server("any")).await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
}

/// With keys that must not do.
pub(crate) async fn check_keys(
    checks: &mut Checks,
    way: &str,
    kind: &str,
    client: &FormationClient,
) {
    let message = || json!({"message": "greet me"});
    let answers = [
        ("chat", client.chat(message(), USER).await),
        ("get_sessions", client.get_sessions("ada", None).await),
        ("get_session_messages", client.get_session_messages("any", "ada").await),
        ("get_status", client.get_status().await),
        ("get_agents", client.get_agents().await),
        ("get_formation_info", client.get_formation_info().await),
    ];
    for (name, answer) in answers {
        checks
            .check(&format!("{way} {name}, {kind}: Authentication"), async {
                refused(answer, Kind::Authentication, 401)?;
                Ok(())
            })
            .await;
    }
    let firsts = [
        ("chat_stream", pin!(client.chat_stream(message(), USER)).next().await),
        ("stream_events", pin!(client.stream_events("ada")).next().await),
        ("stream_logs", pin!(client.stream_logs(None)).next().await),
    ];
    for (name, first) in firsts {
        checks
            .check(&format!("{way} {name}, {kind}: Authentication"), async {
                refused(first.context("the stream is empty")?, Kind::Authentication, 401)?;
                Ok(())
            })
            .await;
    }
}
