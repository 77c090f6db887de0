//! How the formation is set up, what it is doing, and what its operator does to it.

use serde_json::json;

use crate::document::{Walk, call};
use crate::harness::manifest;

const MORE: &str = "async: {webhook_retries: 2}
memory: {buffer: {size: 20}}
overlord: {soul: Be kind.}
usage:
  currency: EUR
  prices: {fake/model-1: {input: 10, output: 100}}
  budgets: {formation: {per: day, tokens: 1000}}
scheduler: {timezone: Europe/Berlin}
logging:
  system: {destination: logs/system.jsonl}
  conversation: {streams: [{transport: file, destination: logs/chats.txt, format: text, events: ['chat.*']}]}
";

#[tokio::test]
async fn how_it_is_set_up() {
    let walk = Walk::with(&manifest(MORE)).await;
    for operation in [
        "get_status",
        "list_agents",
        "get_formation",
        "get_config",
        "get_overlord",
        "get_soul",
        "get_llm_settings",
        "get_async",
        "get_a2a",
        "get_memory",
        "get_logging",
        "list_logging_destinations",
        "get_mcp",
        "list_mcp_servers",
        "list_mcp_tools",
        "get_scheduler",
    ] {
        walk.take(call(operation).admin()).await;
    }
    walk.take(call("get_agent").admin().path("helper")).await;
    for operation in ["list_sops", "list_skills"] {
        walk.take(call(operation).client()).await;
    }
    walk.take(call("list_agent_skills").client().path("helper")).await;
    walk.take(call("get_sop").client().path("x").fails_with("SOP_NOT_FOUND")).await;
    walk.refuse(call("get_skill").client().path("x")).await;
    walk.take(call("get_agent").admin().path("x").fails_with("AGENT_NOT_FOUND")).await;
    let server = call("get_mcp_server").admin().path("x");
    walk.take(server.fails_with("MCP_SERVER_NOT_FOUND")).await;
}

#[tokio::test]
async fn usage() {
    let walk = Walk::with(&manifest(MORE)).await;
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 2});
    walk.llm.script(json!([{"reply": {"text": "Hello", "usage": usage}}]));
    walk.runtime.say("hi").await;
    for group in ["request", "user", "session", "agent", "model"] {
        let grouped = call("get_usage").admin().query(&format!("group_by={group}"));
        let sums = walk.pass(grouped).await;
        assert!(sums["data"]["groups"][0][group].is_string(), "{sums}");
    }
    walk.take(call("get_usage").admin().query("from=2026-01-31T12:00:00Z")).await;
}

#[tokio::test]
async fn jobs() {
    let walk = Walk::with(&manifest(MORE)).await;
    let job = json!({
        "type": "recurring", "schedule": "0 9 * * 1-5", "message": "What is new?", "user_id": "alice",
    });
    let created = walk.take(call("create_job").admin().body(job)).await;
    let id = created["data"]["id"].as_str().unwrap();
    walk.take(call("list_jobs").client()).await;
    walk.take(call("get_job").admin().path(id)).await;
    let change = json!({"title": "News", "timezone": "UTC"});
    walk.take(call("update_job").admin().path(id).body(change)).await;
    walk.take(call("pause_job").admin().path(id)).await;
    walk.take(call("resume_job").admin().path(id)).await;
    walk.take(call("delete_job").admin().path(id)).await;
    walk.refuse(call("get_job").admin().path(id)).await;
}

#[tokio::test]
async fn a_job_that_has_run() {
    let walk = Walk::with(&manifest(MORE)).await;
    let job = json!({"type": "recurring", "schedule": "* * * * * *", "message": "What is new?"});
    let created = walk.pass(call("create_job").admin().body(job)).await;
    let id = created["data"]["id"].as_str().unwrap();
    loop {
        let job = walk.pass(call("get_job").admin().path(id)).await;
        if job["data"]["history"].as_array().unwrap().iter().any(|run| run["status"] == "completed")
        {
            break;
        }
    }
}

#[tokio::test]
async fn jobs_that_are_off() {
    let walk = Walk::with(&manifest("scheduler: {enabled: false}")).await;
    let job = json!({"type": "recurring", "schedule": "0 9 * * 1-5", "message": "What is new?"});
    let refused = call("create_job").admin().body(job).fails_with("UNPROCESSABLE_ENTITY");
    walk.take(refused).await;
}

#[tokio::test]
async fn secrets_and_the_log_of_what_was_done() {
    let walk = Walk::start().await;
    let secret = json!({"key": "github-token", "value": "ghp_abcdefghijkl1234"});
    walk.take(call("create_secret").admin().body(secret.clone())).await;
    let again = call("create_secret").admin().body(secret);
    walk.take(again.fails_with("SECRET_EXISTS")).await;
    walk.take(call("list_secrets").admin()).await;
    walk.take(call("get_secret").admin().path("GITHUB_TOKEN")).await;
    let value = json!({"value": "ghp_lkjihgfedcba4321"});
    walk.take(call("replace_secret").admin().path("github_token").body(value)).await;
    walk.take(call("reload_secrets").admin()).await;
    walk.take(call("delete_secret").admin().path("github_token")).await;
    let gone = call("get_secret").admin().path("github_token");
    walk.take(gone.fails_with("SECRET_NOT_FOUND")).await;

    walk.take(call("list_audit_log").admin().query("resource_type=secret&since=2026-01-31")).await;
    let since = call("list_audit_log").admin().query("since=yesterday");
    walk.take(since.fails_with("INVALID_PARAMETER")).await;
    walk.take(call("clear_audit_log").admin().query("confirm=clear-audit-log")).await;
}
