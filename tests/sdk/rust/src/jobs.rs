//! Work that begins without a chat: scheduled jobs and triggers.

use anyhow::{Context as _, ensure};
use muxi_rust::FormationClient;
use serde_json::{Value, json};

use crate::calls::call;
use crate::checks::{Checks, Kind, equal, refused};
use crate::follow::eventually;
use crate::formation::GREETING;

pub(crate) async fn check(checks: &mut Checks, way: &str, client: &FormationClient) {
    check_jobs(checks, way, client).await;
    check_triggers(checks, way, client).await;
}

async fn check_jobs(checks: &mut Checks, way: &str, client: &FormationClient) {
    let (user, other) = (&format!("{way}-planner"), &format!("{way}-idler"));
    let listed = async |whom: &str| {
        let found = call!(client.get_scheduler_jobs(whom)).await?;
        let jobs = found["jobs"].as_array().context("no list")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
        anyhow::Ok(jobs.iter().map(|it| (text(&it["id"]), text(&it["status"]))).collect::<Vec<_>>())
    };
    let state = |id: &str, status: &str| [(id.to_lowercase(), status.to_owned())];
    checks
        .check(&format!("{way} get_scheduler_config"), async {
            let config = call!(client.get_scheduler_config()).await?;
            let is = (&config["enabled"], &config["timezone"]);
            equal(is, (&json!(true), &json!("Europe/Berlin")))
        })
        .await;
    let mut id = String::new();
    checks
        .check(&format!("{way} create_scheduler_job, listed for its user only"), async {
            let job =
                call!(client.create_scheduler_job("recurring", "0 9 * * 1", "greet me", user));
            id = job.await?["id"].as_str().context("no id")?.to_owned();
            equal(listed(user).await?, state(&id, "active"))?;
            equal(listed(other).await?.len(), 0)?;
            let faulty =
                call!(client.create_scheduler_job("recurring", "whenever", "greet me", user));
            refused(faulty.await, Kind::Validation, 422)?;
            Ok(())
        })
        .await;
    let id = id.as_str();
    checks
        .check(&format!("{way} update_scheduler_job and get_scheduler_job"), async {
            let updates = json!({"message": "greet her", "schedule": "30 8 * * *"});
            call!(client.update_scheduler_job(id, updates)).await?;
            let found = call!(client.get_scheduler_job(id)).await?;
            equal(&found["original_prompt"], &json!("greet her"))?;
            equal(&found["cron_expression"], &json!("30 8 * * *"))
        })
        .await;
    checks
        .check(&format!("{way} pause_scheduler_job and resume_scheduler_job, then listed"), async {
            call!(client.pause_scheduler_job(id)).await?;
            equal(listed(user).await?, state(id, "paused"))?;
            call!(client.resume_scheduler_job(id)).await?;
            equal(listed(user).await?, state(id, "active"))
        })
        .await;
    checks
        .check(&format!("{way} delete_scheduler_job"), async {
            call!(client.delete_scheduler_job(id)).await?;
            equal(listed(user).await?.len(), 0)?;
            refused(call!(client.get_scheduler_job(id)).await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
}

async fn check_triggers(checks: &mut Checks, way: &str, client: &FormationClient) {
    let (user, data) = (&format!("{way}-issues"), json!({"issue": {"title": "It rains"}}));
    checks
        .check(&format!("{way} get_triggers and get_trigger"), async {
            equal(&call!(client.get_triggers()).await?["triggers"], &json!(["digest"]))?;
            let found = call!(client.get_trigger("digest")).await?;
            let content = found["content"].as_str().unwrap_or_default();
            ensure!(content.contains("${{ data.issue.title }}"), "{found}");
            refused(call!(client.get_trigger("no-such-trigger")).await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} fire_trigger, answered at once"), async {
            let fired = call!(client.fire_trigger("digest", data.clone(), false, Some(user)));
            let fired = fired.await?;
            equal(&fired["content"], &json!(GREETING))?;
            let session = fired["session_id"].as_str().context("no session")?;
            let said = call!(client.get_session_messages(session, user)).await?;
            let asked = said["messages"][0]["text"].as_str().unwrap_or_default();
            // What an event says is fenced off from what the trigger's author wrote.
            ensure!(asked.contains("\nIt rains\n</untrusted-data"), "{said}");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} fire_trigger, answered later"), async {
            let fired = call!(client.fire_trigger("digest", data.clone(), true, Some(user)));
            let fired = fired.await?;
            equal(&fired["status"], &json!("processing"))?;
            let request = fired["request_id"].as_str().context("no request")?;
            let ask = async || call!(client.get_request_status(request, user)).await;
            let ended = eventually(ask, |found| found["status"] == "completed").await?;
            equal(&ended["result"], &json!(GREETING))
        })
        .await;
    checks
        .check(&format!("{way} fire_trigger without its data: Unknown 400"), async {
            let fired = call!(client.fire_trigger("digest", json!({}), false, None));
            refused(fired.await, Kind::Unknown, 400)?;
            Ok(())
        })
        .await;
}
