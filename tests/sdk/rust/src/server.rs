//! The manager: what it shows, whom it refuses, and a formation's life.

use anyhow::ensure;
use muxi_rust::{FormationClient, ServerClient};
use serde_json::{Value, json};

use crate::Settings;
use crate::calls::call;
use crate::checks::{Checks, Kind, equal, refused};

pub(crate) async fn check(
    checks: &mut Checks,
    settings: &Settings,
    server: &ServerClient,
) -> anyhow::Result<()> {
    let id = settings.formation_id.as_str();
    checks
        .check("health", async {
            let health = call!(server.health()).await?;
            equal((&health["success"], &health["status"]), (&json!(true), &json!("ok")))
        })
        .await;
    checks
        .check("status", async {
            let status = call!(server.status()).await?;
            equal(&status["success"], &json!(true))?;
            equal(&status["data"]["formations"]["total"], &json!(1))?;
            equal(&status["data"]["formations"]["running"], &json!(1))
        })
        .await;
    checks
        .check("list_formations", async {
            let listed = call!(server.list_formations()).await?;
            equal(&listed["data"]["total"], &json!(1))?;
            equal(&listed["data"]["formations"][0]["id"], &json!(id))
        })
        .await;
    checks
        .check("get_formation", async {
            let found = call!(server.get_formation(id)).await?;
            let data = &found["data"];
            equal((&data["id"], &data["status"]), (&json!(id), &json!("running")))?;
            equal(&data["version"]["semantic"], &json!("1.2.3"))
        })
        .await;
    checks
        .check("get_formation of an unknown one: NotFound", async {
            refused(call!(server.get_formation("no-such-formation")).await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
    for (name, key_id, secret) in [
        ("wrong secret", settings.key_id.as_str(), "not-the-secret"),
        ("unknown key", "not-the-key", settings.secret.as_str()),
    ] {
        let stranger = settings.server(key_id, secret)?;
        checks
            .check(&format!("status, signature {name}: Authentication"), async {
                refused(call!(stranger.status()).await, Kind::Authentication, 401)?;
                Ok(())
            })
            .await;
        checks
            .check(&format!("stop_formation, signature {name}: Authentication"), async {
                refused(call!(stranger.stop_formation(id)).await, Kind::Authentication, 401)?;
                equal(&state(server, id).await?["status"], &json!("running"))
            })
            .await;
    }
    Ok(())
}

/// Stops, starts, restarts and deletes; what was said before is there until the delete.
pub(crate) async fn check_lifecycle(
    checks: &mut Checks,
    settings: &Settings,
    server: &ServerClient,
    proxied: &FormationClient,
    direct: &FormationClient,
) {
    let id = settings.formation_id.as_str();
    checks
        .check("chat before the stop", async {
            let message = json!({"message": "greet me", "session_id": "kept"});
            call!(proxied.chat(message, Some("lifecycle"))).await?;
            Ok(())
        })
        .await;
    checks
        .check("stop_formation", async {
            let port = state(server, id).await?["port"].clone();
            let stopped = call!(server.stop_formation(id)).await?;
            equal(&stopped["data"]["status"], &json!("stopped"))?;
            let now = state(server, id).await?;
            equal((&now["status"], &now["port"]), (&json!("stopped"), &port))
        })
        .await;
    checks
        .check("stop_formation of a stopped one: Conflict", async {
            refused(call!(server.stop_formation(id)).await, Kind::Conflict, 409)?;
            Ok(())
        })
        .await;
    checks
        .check("health proxied to a stopped formation: Server 503", async {
            refused(call!(proxied.health()).await, Kind::Server, 503)?;
            Ok(())
        })
        .await;
    checks
        .check("start_formation", async {
            call!(server.start_formation(id)).await?;
            equal(&state(server, id).await?["status"], &json!("running"))?;
            equal(&call!(direct.health()).await?["status"], &json!("healthy"))
        })
        .await;
    checks
        .check("restart_formation", async {
            let before = state(server, id).await?;
            call!(server.restart_formation(id)).await?;
            let after = state(server, id).await?;
            equal((&after["status"], &after["port"]), (&json!("running"), &before["port"]))?;
            ensure!(after["pid"] != before["pid"], "the process is the same: {after}");
            Ok(())
        })
        .await;
    checks
        .check("get_session_messages after stop, start and restart", async {
            let kept = call!(proxied.get_session_messages("kept", "lifecycle")).await?;
            equal(&kept["count"], &json!(2))?;
            equal(&kept["messages"][0]["text"], &json!("greet me"))
        })
        .await;
    checks
        .check("delete_formation", async {
            call!(server.delete_formation(id)).await?;
            refused(call!(server.get_formation(id)).await, Kind::NotFound, 404)?;
            equal(&call!(server.list_formations()).await?["data"]["formations"], &json!([]))
        })
        .await;
    checks
        .check("delete_formation of a deleted one: NotFound", async {
            refused(call!(server.delete_formation(id)).await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
    checks
        .check("health direct of a deleted formation: Request", async {
            refused(call!(direct.health()).await, Kind::Request, 0)?;
            Ok(())
        })
        .await;
}

async fn state(server: &ServerClient, id: &str) -> anyhow::Result<Value> {
    Ok(call!(server.get_formation(id)).await?["data"].take())
}
