//! Bundles that come and go, and the logs that tell of it.

use anyhow::{Context as _, ensure};
use muxi_rust::ServerClient;
use serde_json::{Value, json};

use crate::Settings;
use crate::calls::call;
use crate::checks::{Checks, Kind, equal, refused};
use crate::follow::{all, eventually};

const SECOND_ID: &str = "sdk-second";

pub(crate) async fn check(checks: &mut Checks, settings: &Settings, server: &ServerClient) {
    let id = settings.formation_id.as_str();
    let bundle = |name: &str| json!({"bundle_path": format!("{}/{name}.tar.gz", settings.bundles)});
    let version = async || {
        let found = call!(server.get_formation(id)).await?;
        anyhow::Ok(found["data"]["version"]["semantic"].clone())
    };
    checks
        .check("update_formation, then rollback_formation", async {
            call!(server.update_formation(id, bundle("next"))).await?;
            equal(version().await?, json!("1.3.0"))?;
            call!(server.rollback_formation(id)).await?;
            equal(version().await?, json!("1.2.3"))
        })
        .await;
    checks
        .check("cancel_update: the update fails, the version stays", async {
            // This one waits for a database that says nothing.
            let update = call!(server.update_formation(id, bundle("stuck")));
            let cancel = async || match call!(server.cancel_update(id)).await {
                // There is none yet.
                Err(muxi_rust::MuxiError::Unknown { status: 400, .. }) => Ok(Value::Null),
                other => other,
            };
            let cancelled = eventually(cancel, |answer| !answer.is_null());
            let (update, cancelled) = tokio::join!(update, cancelled);
            equal(&cancelled?["formation_id"], &json!(id))?;
            ensure!(update.is_err(), "it went on: {update:?}");
            equal(version().await?, json!("1.2.3"))?;
            refused(call!(server.cancel_update(id)).await, Kind::Unknown, 400)?;
            Ok(())
        })
        .await;
    checks
        .check("get_formation_logs with a limit", async {
            let logs = call!(server.get_formation_logs(id, Some(2))).await?;
            let lines = logs["data"]["logs"]["stderr"].as_array().context("no lines")?;
            ensure!((1..=2).contains(&lines.len()), "{logs}");
            Ok(())
        })
        .await;
    checks
        .check("get_server_logs with a limit", async {
            let logs = call!(server.get_server_logs(Some(3))).await?;
            let lines = logs["data"]["lines"].as_array().context("no lines")?;
            equal(lines.len(), 3)?;
            ensure!(lines.iter().all(|it| it.as_str().is_some_and(|it| it.contains("path="))));
            Ok(())
        })
        .await;
    check_second(checks, server, bundle(SECOND_ID), bundle("no-such")).await;
}

async fn check_second(checks: &mut Checks, server: &ServerClient, bundle: Value, missing: Value) {
    let total = async || anyhow::Ok(call!(server.list_formations()).await?["data"]["total"].take());
    checks
        .check("deploy_formation, once", async {
            refused(
                call!(server.deploy_formation(SECOND_ID, missing)).await,
                Kind::Validation,
                422,
            )?;
            call!(server.deploy_formation(SECOND_ID, bundle.clone())).await?;
            equal(total().await?, json!(2))?;
            let again = call!(server.deploy_formation(SECOND_ID, bundle.clone())).await;
            refused(again, Kind::Conflict, 409)?;
            Ok(())
        })
        .await;
    checks
        .check("stream_formation_logs up to the deletion of its formation", async {
            // The SDK hands nothing out before the end.
            let stream = all(call!(server.stream_formation_logs(SECOND_ID)));
            let delete = call!(server.delete_formation(SECOND_ID));
            let (frames, deleted) = tokio::join!(stream, delete);
            deleted?;
            let frames = frames?;
            let names: Vec<_> = frames.iter().map(|it| it.event.as_str()).collect();
            equal((names.first(), names.last()), (Some(&"connected"), Some(&"end")))?;
            ensure!(names.contains(&"log"), "{frames:?}");
            equal(total().await?, json!(1))
        })
        .await;
    checks
        .check("deploy_formation_stream", async {
            let frames = all(call!(server.deploy_formation_stream(SECOND_ID, bundle))).await?;
            equal(frames.last().context("no frame")?.event.as_str(), "complete")?;
            equal(total().await?, json!(2))?;
            call!(server.delete_formation(SECOND_ID)).await?;
            Ok(())
        })
        .await;
}
