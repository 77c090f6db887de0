//! Sessions, requests, memory, usage and why an answer came out as it did.

use serde_json::json;

use crate::harness::with_names;
use crate::running::Running;

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_requests_are_listed_shown_explained_and_deleted() {
    let team = Running::start().await;
    team.shows("sessions_list_empty", &["sessions", "list"]);
    team.shows("requests_list_empty", &["requests", "list"]);
    team.shows("usage_empty", &["usage"]);
    // The call begins before the tool ends by a time that can be told.
    team.llm.script(json!([
        {"match": {"has_tool_result": true}, "reply": {"text": "It says hi."}},
        {"match": {"contains": "Use it"},
         "reply": {"head_delay_ms": 5, "tool_calls": [{"name": "fake__echo", "arguments": {"text": "hi"}}]}},
        {"reply": {"text": "Hello,\nAlice!"}},
    ]));
    team.say("r-1", "Good day").await;
    team.say("r-2", "Use it").await;
    team.shows("sessions_list", &["sessions", "list"]);
    team.shows("sessions_list_of_another", &["sessions", "list", "--user", "bob"]);
    team.shows("sessions_show", &["sessions", "show", "s"]);
    team.shows("sessions_show_unknown", &["sessions", "show", "nothing"]);
    team.shows("sessions_messages", &["sessions", "messages", "s"]);
    team.shows("sessions_messages_newest", &["sessions", "messages", "s", "--limit", "1"]);
    team.shows("requests_list", &["requests", "list"]);
    team.shows("requests_show", &["requests", "show", "r-2"]);
    team.shows("requests_show_unknown", &["requests", "show", "r-9"]);
    team.shows("requests_cancel_too_late", &["requests", "cancel", "r-2"]);
    team.shows("explain", &["explain", "r-2"]);
    team.shows("explain_unknown", &["explain", "r-9"]);
    team.shows("usage", &["usage"]);
    team.shows("usage_by_user", &["usage", "--by", "user", "--from", "2026-01-01"]);
    team.shows("usage_wrong_time", &["usage", "--from", "yesterday"]);
    assert_eq!(team.json(&["sessions", "list"])["sessions"][0]["session_id"], "s");
    assert_eq!(team.json(&["requests", "list", "-u", "bob"])["count"], 0);
    assert_eq!(team.json(&["requests", "show", "r-1"])["result"], "Hello,\nAlice!");
    assert_eq!(team.json(&["explain", "r-2"])["tools_called"][0]["tool"], "fake__echo");
    assert_eq!(team.json(&["explain"])["request_id"], "r-2");
    team.shows("explain_nothing", &["explain", "-u", "bob"]);
    assert_eq!(team.json(&["usage", "-u", "alice"])["user_id"], "alice");

    team.shows("sessions_delete_unasked", &["sessions", "delete", "s"]);
    team.shows("sessions_delete", &["sessions", "delete", "s", "--yes"]);
    team.shows("sessions_delete_unknown", &["sessions", "delete", "s", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_is_added_found_and_forgotten() {
    let team = Running::start().await;
    team.shows("memory_status", &["memory", "status"]);
    team.shows("memory_list_empty", &["memory", "list"]);
    team.shows("memory_add", &["memory", "add", "Likes tea", "--type", "preference"]);
    team.shows(
        "memory_add_for_all",
        &["memory", "add", "--detail", "Open at 9", "--scope", "formation"],
    );
    team.shows("memory_add_nothing", &["memory", "add"]);
    team.shows("memory_list", &["memory", "list"]);
    team.shows("memory_list_found", &["memory", "list", "--query", "TEA", "--scope", "user"]);
    let listed = team.json(&["memory", "list", "--scope", "user"]);
    let id = listed["memories"][0]["id"].as_str().expect("an id");
    team.shows("memory_delete_unasked", &["memory", "delete", "x"]);
    team.shows("memory_delete", &["memory", "delete", id, "--yes"]);
    team.shows("memory_delete_unknown", &["memory", "delete", "nothing", "--yes"]);
    team.llm.script(json!([{"reply": {"text": "Hello!"}}]));
    team.say("r-1", "Good day").await;
    team.shows("memory_buffer", &["memory", "buffer"]);
    team.shows("memory_buffer_stats", &["memory", "buffer", "--stats"]);
    team.shows("memory_buffer_clear_session", &["memory", "buffer", "--clear", "-s", "s", "--yes"]);
    team.shows("memory_buffer_clear_all", &["memory", "buffer", "--clear", "--all", "--yes"]);
    team.shows("memory_rebuild", &["memory", "rebuild"]);
    assert_eq!(team.json(&["memory", "status"])["stats"]["total_entries"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_key_or_a_wrong_one_is_told_how_to_get_one() {
    let team = Running::start().await;
    let user = team.stranger();
    let shown = |name: &str, arguments: &[&str]| {
        let ran = user.run(arguments);
        with_names(&user, || insta::assert_snapshot!(name, ran.shown()));
    };
    shown("running_wrong_client_key", &["sessions", "list", "-f", "team"]);
    shown("running_wrong_admin_key", &["usage", "-f", "team"]);
    shown("running_not_deployed", &["sessions", "list", "-f", "nobody"]);
    shown("running_which_one", &["sessions", "list"]);
    let user = crate::harness::User::of(&team.daemon);
    let ran = user.run(&["memory", "status", "--formation", "team"]);
    with_names(&user, || insta::assert_snapshot!("running_no_key", ran.shown()));
    let ran = user.run(&["agents", "list", "--formation", "team", "--json"]);
    assert_eq!((ran.code, &ran.json()["error"]["code"]), (4, &json!("NoKey")), "{ran:?}");
    let ran = team.operator().run(&["sessions", "list", "--formation", "team", "--json"]);
    assert_eq!((ran.code, &ran.json()["count"]), (0, &json!(0)), "{ran:?}");
}
