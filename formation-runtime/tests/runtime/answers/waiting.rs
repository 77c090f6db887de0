//! What waits for its user, why requests went as they did, and what goes on behind them.

use crate::document::{Walk, call};
use crate::harness::{Bundle, manifest};
use crate::waiting::{WAITING, Waiting, waits, works};

#[tokio::test]
async fn approvals_and_explanations() {
    let bundle = Bundle::new(&manifest(""));
    let waiting = Waiting { expires_ms: 4_102_444_800_000, ..WAITING };
    waits(&bundle.store(), &waiting).await;
    let walk = Walk::of(bundle).await;
    walk.take(call("list_approvals").client()).await;
    walk.take(call("get_approval").client().path("apv_alice")).await;
    walk.take(call("explain_request").client().path("r-alice")).await;
    let decide = |body: &str| call("decide_approval").client().path("apv_alice").body(body);
    walk.refuse(decide(r#"{"decision": "perhaps", "plan": {"tasks": []}}"#)).await;
    walk.refuse(call("decide_approval").client().path("apv_none").body(r#"{"decision": "deny"}"#))
        .await;
    walk.refuse(call("list_approvals").client().query("status=perhaps")).await;
    walk.refuse(call("list_approvals").admin()).await;
    walk.refuse(call("get_approval").client().path("apv_none")).await;
    walk.refuse(call("explain_request").client().path("none")).await;
    walk.take(decide(r#"{"decision": "deny", "note": "It is in use."}"#)).await;
    walk.refuse(decide(r#"{"decision": "approve"}"#)).await;
}

#[tokio::test]
async fn background_jobs() {
    let bundle = Bundle::new(&manifest(""));
    works(&bundle.store(), "alice", "the build").await;
    let walk = Walk::of(bundle).await;
    walk.take(call("list_background_jobs").client()).await;
    walk.take(call("get_background_job").client().path("code_alice")).await;
    let log = walk.take(call("get_background_job_log").client().path("code_alice")).await;
    let rest = format!("after={}", log["data"]["lines"][0]["seq"]);
    let log = call("get_background_job_log").client().path("code_alice").query(&rest);
    assert_eq!(walk.pass(log).await["data"]["lines"][0]["text"], "second line");
    walk.take(call("cancel_background_job").client().path("code_alice")).await;
    walk.refuse(call("cancel_background_job").client().path("code_alice")).await;
    walk.refuse(call("get_background_job").client().path("code_none")).await;
}

const SERVERS: &str = "mcp:
  servers:
    - {schema: '1.0.0', id: clock, description: Tells the time, type: command, command: 'true', tools: {deny: [set_*]}}
";

#[tokio::test]
async fn procedures_skills_and_servers() {
    let bundle = Bundle::new(&manifest(SERVERS));
    let write = |path: &str, text: &str| {
        let path = bundle.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let steps = "1. [agent:helper] Ask for the name\n2. [critical] Greet them\n";
    let head = "---\ntype: sop\nname: Greeting\ndescription: How guests are greeted\ntags: [guests]\n---\n";
    write("sops/greet.md", &format!("{head}## Steps\n\n{steps}"));
    let head = "---\nname: tables\ndescription: Makes tables\nlicense: MIT\n---\n";
    write("skills/tables/SKILL.md", &format!("{head}Make a table.\n"));
    write("skills/tables/references/styles.md", "Plain.\n");
    let walk = Walk::of(bundle).await;
    let listed = walk.pass(call("list_sops").client()).await;
    assert_eq!(listed["data"]["sops"][0]["agents_used"], serde_json::json!(["helper"]));
    walk.take(call("get_sop").client().path("greet")).await;
    assert_eq!(walk.pass(call("list_skills").client()).await["data"]["count"], 1);
    walk.take(call("get_skill").client().path("tables")).await;
    let own = walk.pass(call("list_agent_skills").client().path("helper")).await;
    assert_eq!(own["data"]["skills"][0]["scope"], "formation");
    assert_eq!(walk.pass(call("list_mcp_servers").admin()).await["data"]["count"], 1);
    walk.take(call("get_mcp_server").admin().path("clock")).await;
}

/// Starts no program of ours: the server is an authorization server, too.
#[tokio::test]
async fn grants_at_servers() {
    let hub = crate::hub::Hub::start().await;
    hub.facts().needs_token = true;
    let url = format!("{}/mcp", hub.url);
    let servers = format!(
        "mcp:
  servers:
    - {{schema: '1.0.0', id: hub, description: A server with grants, type: http, endpoint: '{url}', auth: {{type: oauth}}}}
"
    );
    let walk = Walk::of(Bundle::new(&manifest(&servers))).await;
    let back = "http://127.0.0.1:9/granted";
    let wanted = serde_json::json!({"redirect_uri": back});
    let begun = walk.take(call("begin_mcp_grant").client().path("hub").body(wanted)).await;
    let address = begun["data"]["authorization_url"].as_str().unwrap();
    // What a browser would do.
    let returned: serde_json::Value = reqwest::get(address).await.unwrap().json().await.unwrap();
    let returned = serde_json::json!({"state": returned["state"], "code": returned["code"]});
    walk.take(call("finish_mcp_grant").client().body(returned)).await;
    let unknown = serde_json::json!({"state": "s", "code": "c"});
    walk.refuse(call("finish_mcp_grant").client().body(unknown)).await;
    let nowhere = serde_json::json!({"redirect_uri": "nowhere"});
    walk.refuse(call("begin_mcp_grant").client().path("hub").body(nowhere)).await;
}
