//! What a running formation consists of: agents, servers of tools, procedures, skills, triggers, jobs.

use std::process::Stdio;

use muxi_testkit::daemon::{PATIENCE, wait_until};
use serde_json::json;

use crate::harness::Ran;
use crate::running::Running;

#[tokio::test(flavor = "multi_thread")]
async fn agents_tools_procedures_and_skills_are_shown() {
    let team = Running::start().await;
    team.shows("agents_list", &["agents", "list"]);
    team.shows("agents_show", &["agents", "show", "helper"]);
    team.shows("agents_show_unknown", &["agents", "show", "nobody"]);
    team.shows("mcp_list", &["mcp", "list"]);
    team.shows("mcp_show", &["mcp", "show", "fake"]);
    team.shows("mcp_show_unknown", &["mcp", "show", "nothing"]);
    team.shows("mcp_tools", &["mcp", "tools", "fake"]);
    team.shows("sops_list", &["sops", "list"]);
    team.shows("sops_show", &["sops", "show", "refund"]);
    team.shows("sops_show_unknown", &["sops", "show", "nothing"]);
    team.shows("skills_list", &["skills", "list"]);
    team.shows("skills_list_of_nobody", &["skills", "list", "--agent", "nobody"]);
    team.shows("skills_show", &["skills", "show", "letters"]);
    team.shows("skills_show_unknown", &["skills", "show", "nothing"]);
    team.shows("info", &["info"]);
    assert!(team.run(&["info", "--full"]).out.contains("id: helper"));
    assert_eq!(team.json(&["agents", "list"])["count"], 1);
    assert_eq!(team.json(&["mcp", "tools", "fake"])["count"], 2);
    assert_eq!(team.json(&["skills", "list", "--agent", "helper"])["agent_id"], "helper");
    assert_eq!(team.json(&["info", "--full"])["status"]["formation"]["id"], "team");
    // What this version does not have is said by the server.
    team.shows("knowledge_rebuild", &["knowledge", "rebuild", "--agent", "helper"]);
    team.shows("tuning_show", &["tuning", "show"]);
    for act in ["pending", "apply", "dismiss"] {
        assert_eq!(team.run(&["tuning", act]).code, 7, "{act}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_are_fired_with_data_from_anywhere() {
    let team = Running::start().await;
    team.llm.script(json!([
        {"match": {"contains": "broken"}, "reply": {"text": "Mend it."}},
        {"reply": {"text": "Fine."}},
    ]));
    team.shows("triggers_list", &["triggers", "list"]);
    team.shows("triggers_show", &["triggers", "show", "alert"]);
    team.shows("triggers_show_unknown", &["triggers", "show", "nothing"]);
    let data = r#"{"service": "shop", "state": "broken"}"#;
    team.shows("triggers_run", &["triggers", "run", "alert", "--data", data]);
    team.user.write("team/event.json", data);
    let told = team.json(&["triggers", "run", "alert", "--data", "@event.json", "--sync"]);
    assert_eq!(told["content"], "Mend it.", "{told}");
    let mut command = team.user.command("team", &["triggers", "run", "alert", "--data", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), data.as_bytes())
        .expect("it reads");
    let ran = Ran::of(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, ran.out.as_str()), (0, "Mend it.\n"), "{ran:?}");
    team.shows("triggers_run_async", &["triggers", "run", "alert", "--data", data, "--async"]);
    team.shows("triggers_run_lacking", &["triggers", "run", "alert"]);
    team.shows("triggers_run_no_json", &["triggers", "run", "alert", "--data", "{oops"]);
    team.shows("triggers_run_no_object", &["triggers", "run", "alert", "--data", "[1]"]);
    team.shows("triggers_run_no_file", &["triggers", "run", "alert", "--data", "@nothing.json"]);
    team.shows("triggers_run_unknown", &["triggers", "run", "nothing", "--data", data]);
}

fn add<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["scheduler", "add"], more].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_made_paused_resumed_and_deleted() {
    let team = Running::start().await;
    team.shows("scheduler_status", &["scheduler", "status"]);
    team.shows("scheduler_list_empty", &["scheduler", "list"]);
    let once = add(&["once", "2099-01-31T09:00", "Wish a good year", "--title", "New year"]);
    team.shows("scheduler_add_once", &once);
    team.shows("scheduler_add_recurring", &add(&["recurring", "0 9 * * 1-5", "What is new?"]));
    let documented = add(&["--schedule", "0 8 * * *", "--message", "Good morning", "-u", "bob"]);
    assert_eq!(team.json(&documented)["user_id"], "bob");
    team.shows("scheduler_add_past", &add(&["once", "2020-01-31T09:00", "Too late"]));
    team.shows("scheduler_add_wrong", &add(&["recurring", "every day", "What is new?"]));
    team.shows("scheduler_add_nothing", &add(&["recurring"]));
    team.shows("scheduler_list", &["scheduler", "list"]);
    team.shows("scheduler_list_of_user", &["scheduler", "list", "-u", "alice"]);
    let listed = team.json(&["scheduler", "list", "-u", "alice"]);
    let id = listed["jobs"][0]["id"].as_str().expect("an id");
    team.shows("scheduler_show", &["scheduler", "show", id]);
    team.shows("scheduler_show_unknown", &["scheduler", "show", "job_nothing"]);
    team.shows("scheduler_pause", &["scheduler", "pause", id]);
    team.shows("scheduler_pause_again", &["scheduler", "pause", id]);
    team.shows("scheduler_resume", &["scheduler", "resume", id]);
    team.shows("scheduler_remove_unasked", &["scheduler", "remove", id]);
    team.shows("scheduler_remove", &["scheduler", "delete", id, "--yes"]);

    let ran = team.stranger().run(&["scheduler", "list", "-f", "team"]);
    team.told("scheduler_wrong_key", &ran);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_in_the_background_is_shown_and_cancelled() {
    let team = Running::start().await;
    team.shows("jobs_list_empty", &["jobs", "list"]);
    let watch = json!({"tool": "fake__echo", "args": {"text": "running"}, "label": "the nightly build",
        "done_when": {"path": "text", "in": ["passed"]}});
    team.llm.script(json!([
        {"match": {"has_tool_result": true}, "reply": {"text": "It is watched."}},
        {"match": {"contains": "Watch"},
         "reply": {"tool_calls": [{"name": "watch_job", "arguments": watch}]}},
        {"reply": {"text": "I was told."}},
    ]));
    team.say("r-1", "Watch it").await;
    let listed = team.json(&["jobs", "list"]);
    let id = listed["jobs"][0]["id"].as_str().expect("an id");
    wait_until(PATIENCE, "it was looked at once", async || {
        (team.json(&["jobs", "logs", id])["count"] == 1).then_some(())
    })
    .await;
    team.shows("jobs_list", &["jobs", "list"]);
    team.shows("jobs_show", &["jobs", "show", id]);
    team.shows("jobs_logs", &["jobs", "logs", id]);
    team.shows("jobs_cancel", &["jobs", "cancel", id]);
    team.shows("jobs_cancel_again", &["jobs", "cancel", id]);
    team.shows("jobs_show_unknown", &["jobs", "show", "watch_nothing"]);
    team.shows("jobs_logs_unknown", &["jobs", "logs", "watch_nothing"]);
    team.shows("jobs_cancel_unknown", &["jobs", "cancel", "watch_nothing"]);
    assert_eq!(team.json(&["jobs", "list", "-u", "bob"])["count"], 0);
}
