//! The audit log: complete, durable, and changed by nobody without being found out.

use std::process::Output;

use muxi_testkit::daemon::{Answer, Daemon, KEY, PATIENCE, SECRET, bundle, now_s, wait_until};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

fn verify(daemon: &Daemon) -> (Option<i32>, Value) {
    let command = daemon.command().args(["audit", "verify", "--json"]).output();
    let Output { status, stdout, stderr } = command.expect("the program starts");
    let found = serde_json::from_slice(&stdout);
    (status.code(), found.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr))))
}

/// Newest first; waits for `wanted` of them, since those of reading calls are gathered.
async fn entries(daemon: &Daemon, query: &str, wanted: usize) -> Vec<Value> {
    wait_until(PATIENCE, &format!("{wanted} entries of {query}"), async || {
        let answer = daemon.get(&format!("/rpc/audit?{query}")).await;
        let entries = answer.data()["entries"].as_array().expect("a list").clone();
        (entries.len() >= wanted).then_some(entries)
    })
    .await
}

#[tokio::test]
async fn every_management_call_is_there_also_the_refused_ones() {
    let daemon = Daemon::start().await;
    let id = |name: &str| format!("req_of_{name}");
    let calls = [
        ("list", "GET", "/rpc/formations?x=1", 200, "formations.list", Some(KEY), "success"),
        (
            "start",
            "POST",
            "/rpc/formations/hello/start",
            404,
            "formations.start",
            Some(KEY),
            "failure",
        ),
        ("nothing", "GET", "/rpc/nothing", 404, "unknown", None, "failure"),
        ("method", "PATCH", "/rpc/server/status", 405, "server.status", None, "failure"),
    ];
    for (name, method, path, status, ..) in calls {
        let request = daemon.request(method, path).header("x-request-id", id(name));
        assert_eq!(Answer::of(request).await.status, status, "{name}");
    }
    let stranger = daemon.signed_with("DELETE", "/rpc/formations/hello", KEY, "guess", now_s());
    assert_eq!(Answer::of(stranger.header("x-request-id", id("stranger"))).await.status, 401);
    assert_eq!(daemon.get("/health").await.status, 200);

    let found = entries(&daemon, "limit=50", 5).await;
    let entry = |name: &str| {
        let entry = found.iter().find(|it| it["request_id"] == id(name));
        entry.unwrap_or_else(|| panic!("{name} is missing: {found:?}")).clone()
    };
    for (name, method, path, status, action, actor, outcome) in calls {
        let entry = entry(name);
        assert_eq!(entry["method"], method, "{name}");
        assert_eq!(entry["path"], path, "{name}");
        assert_eq!(entry["status"], status, "{name}");
        assert_eq!(entry["actor"], json!(actor), "{name}");
        assert_eq!(entry["outcome"], outcome, "{name}");
        assert_eq!(entry["remote"], "127.0.0.1", "{name}");
        if name != "method" {
            assert_eq!(entry["action"], action, "{name}");
        }
    }
    assert_eq!(entry("start")["target"], "hello");
    assert_eq!(entry("start")["error"], "NotFound");
    let stranger = entry("stranger");
    assert_eq!((&stranger["actor"], &stranger["claimed_key"]), (&Value::Null, &json!(KEY)));
    assert_eq!(
        (&stranger["outcome"], &stranger["error"]),
        (&json!("refused"), &json!("Unauthorized"))
    );
    assert!(found.iter().all(|it| it["path"] != "/health"), "only management calls");

    let lines = daemon.get("/rpc/server/logs?lines=1000").await;
    assert_eq!(lines.headers["content-type"], "text/plain; charset=utf-8");
    let line = lines.text.lines().find(|it| it.contains("method=DELETE")).expect("a line");
    for part in [
        "time=20",
        " level=warn ",
        " path=/rpc/formations/hello ",
        " auth_key=\"\" ",
        " remote_addr=127.0.0.1 ",
        " status=401 ",
        " duration_ms=",
        " error=Unauthorized",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(daemon.get("/rpc/server/logs?limit=2").await.text.lines().count(), 2);
}

#[tokio::test]
async fn who_leaves_before_the_answer_is_named_all_the_same() {
    let llm = FakeLlm::start().await;
    let daemon = Daemon::builder().switched().start().await;
    daemon.runtime().hold();
    let upload = daemon.upload(bundle("hello", &llm.base_url()));
    // The deploy waits for its instance; its caller does not.
    tokio::select! {
        answer = upload.send() => panic!("there is no instance yet: {answer:?}"),
        () = daemon.runtime().reached() => {}
    }
    let abandoned = entries(&daemon, "outcome=abandoned", 1).await;
    assert_eq!(abandoned[0]["action"], "formations.create", "{abandoned:?}");
    assert_eq!(abandoned[0]["actor"], KEY, "{abandoned:?}");
    daemon.runtime().release();
}

#[tokio::test]
async fn pages_and_filters() {
    let daemon = Daemon::start().await;
    for _ in 0..5 {
        daemon.post("/rpc/formations/hello/start").await;
    }
    daemon.post("/rpc/formations/other/stop").await;
    let starts = entries(&daemon, "action=formations.start&limit=10", 5).await;
    assert_eq!(starts.len(), 5);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = daemon.get(&format!("/rpc/audit?action=formations.start&limit=2{cursor}")).await;
        let entries = page.data()["entries"].as_array().expect("a list").clone();
        seen.extend(entries.iter().map(|it| it["seq"].clone()));
        match page.data()["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all: Vec<Value> = starts.iter().map(|it| it["seq"].clone()).collect();
    assert_eq!(seen, all, "each once, newest first");
    assert_eq!(entries(&daemon, "target=other", 1).await.len(), 1);
    assert_eq!(entries(&daemon, "action=formations&outcome=failure", 6).await.len(), 6);
    assert!(entries(&daemon, "since=2100-01-01T00:00:00Z", 0).await.is_empty());
    for wrong in ["limit=0", "limit=1001", "cursor=x", "since=today", "nonsense=1", "outcome=x"] {
        assert_eq!(daemon.get(&format!("/rpc/audit?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn what_was_answered_is_on_the_disk_and_so_is_the_end_of_an_operation() {
    let llm = FakeLlm::start().await;
    let mut daemon = Daemon::start().await;
    assert_eq!(daemon.deploy(bundle("hello", &llm.base_url())).await.status, 201);
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    daemon.kill9();
    daemon.start_again().await;
    for action in
        ["formations.create", "operations.deploy.ended", "formations.stop", "operations.stop.ended"]
    {
        let found = entries(&daemon, &format!("action={action}"), 1).await;
        assert_eq!(found.len(), 1, "{action}");
        assert_eq!(found[0]["outcome"], "success", "{action}");
    }
    assert_eq!(verify(&daemon).0, Some(0));
}

#[tokio::test]
async fn a_change_of_the_file_is_found() {
    let mut daemon = Daemon::start().await;
    for _ in 0..5 {
        daemon.post("/rpc/formations/hello/start").await;
    }
    let (code, found) = verify(&daemon);
    assert_eq!((code, &found["ok"], &found["seal"]), (Some(0), &json!(true), &json!("valid")));
    daemon.terminate().await;
    let (code, found) = verify(&daemon);
    assert_eq!(code, Some(0), "{found}");
    let last = found["last_seq"].as_u64().expect("a number");
    assert!(last >= 5, "{found}");

    for refused in
        ["UPDATE audit SET entry = '{}' WHERE seq = 2", "DELETE FROM audit WHERE seq = 2"]
    {
        let error = daemon.execute(refused).expect_err("the table is append-only");
        assert!(error.contains("append-only"), "{error}");
    }
    // As somebody who knows SQL, and means it.
    let unlock = "DROP TRIGGER audit_is_never_changed; DROP TRIGGER audit_is_pruned_by_checkpoint;";
    daemon.execute(unlock).expect("SQL");
    let kept = "CREATE TABLE kept AS SELECT * FROM audit";
    daemon.execute(kept).expect("SQL");
    let cases = [
        ("UPDATE audit SET entry = replace(entry, 'hello', 'other') WHERE seq = 3".to_owned(), 3),
        ("DELETE FROM audit WHERE seq = 3".to_owned(), 4),
        (format!("DELETE FROM audit WHERE seq = {last}"), last),
    ];
    for (sql, broken_at) in cases {
        daemon.execute(&sql).expect("SQL");
        let (code, found) = verify(&daemon);
        assert_eq!((code, &found["ok"]), (Some(1), &json!(false)), "{sql}: {found}");
        assert_eq!(found["fault"]["seq"], broken_at, "{sql}: {found}");
        daemon.execute("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept").expect("SQL");
        assert_eq!(verify(&daemon).0, Some(0), "whole again");
    }
    // A manager that starts on it notes what it found.
    daemon.execute(&format!("DELETE FROM audit WHERE seq = {last}")).expect("SQL");
    daemon.start_again().await;
    assert_eq!(entries(&daemon, "action=audit.seal_broken", 1).await.len(), 1);
    assert!(daemon.log().contains("audit log was changed"), "{}", daemon.log());
}

#[tokio::test]
async fn a_flood_of_strangers_is_answered_429_and_fills_nothing() {
    let config = json!({"auth": {"failures_per_minute": 5}});
    let mut daemon = Daemon::builder().config(config).start().await;
    let mut slowed = 0;
    for _ in 0..200 {
        let request = daemon.signed_with("GET", "/rpc/formations", KEY, "guess", now_s());
        let answer = Answer::of(request).await;
        if answer.status == 429 {
            slowed += 1;
            assert_eq!(answer.body["error"], "TooManyRequests");
            let wait = answer.headers["retry-after"].to_str().expect("ASCII");
            assert!(wait.parse::<u32>().is_ok_and(|seconds| (1..=60).contains(&seconds)), "{wait}");
        } else {
            assert_eq!(answer.status, 401, "{answer:?}");
        }
    }
    assert!(slowed >= 190, "{slowed}");
    assert_eq!(daemon.get("/rpc/formations").await.status, 200, "the right secret is let in");
    daemon.restart().await;
    let refused = entries(&daemon, "outcome=refused", 2).await;
    assert!(refused.len() < 15, "{}", refused.len());
    let counted: u64 = refused.iter().map(|it| it["count"].as_u64().expect("a number")).sum();
    assert_eq!(counted, 200, "{refused:?}");
}

#[tokio::test]
async fn nothing_secret_is_in_it() {
    let daemon = Daemon::start().await;
    let request = daemon.request("POST", "/rpc/keys").json(&json!({}));
    let request = request.build().expect("a request");
    let header = request.headers()["authorization"].to_str().expect("ASCII").to_owned();
    let signature = header.rsplit('=').find(|it| it.len() > 20).expect("a signature").to_owned();
    let answer = daemon.http().execute(request).await.expect("an answer");
    let answer = Answer::of_response(answer).await;
    let secret = answer.data()["secret"].as_str().expect("a secret").to_owned();
    let lines = daemon.get("/rpc/server/logs").await.text;
    let json = daemon.get("/rpc/audit").await.text;
    for text in [&lines, &json, &daemon.log()] {
        for hidden in [secret.as_str(), SECRET, signature.as_str()] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}
