//! Jobs: begun when their times come, once, over restarts.

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use muxi_memory::{JobTimes, Location, NewJob, Store};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, Runtime, manifest};

const ON: &str = "scheduler: {timezone: Europe/Berlin, max_failures_before_pause: 2}";

async fn operator(runtime: &Runtime, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = runtime.request(method, path).header("X-Muxi-Admin-Key", ADMIN_KEY);
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn create(runtime: &Runtime, body: Value) -> String {
    let (status, answer) = operator(runtime, Method::POST, "/v1/scheduler/jobs", body).await;
    assert_eq!(status, 201, "{answer}");
    answer["data"]["id"].as_str().unwrap().to_owned()
}

fn soon(ms: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_millis(ms)).to_string()
}

fn one_time(ms: i64) -> Value {
    json!({"type": "one_time", "schedule": soon(ms), "message": "Look", "user_id": "alice"})
}

fn every_second() -> Value {
    json!({"type": "recurring", "schedule": "* * * * * *", "message": "Look", "user_id": "alice"})
}

/// The job once it is as it should be.
async fn job(runtime: &Runtime, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/scheduler/jobs/{id}");
    for _ in 0..1_000 {
        let (status, body) = operator(runtime, Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{body}");
        if is_so(&body["data"]) {
            return body["data"].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the job never was as it should be");
}

fn runs(job: &Value) -> usize {
    usize::try_from(job["total_runs"].as_u64().unwrap()).unwrap()
}

#[tokio::test]
async fn a_job_runs_when_its_time_comes_as_a_request_of_its_owner() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(ON)));
    let runtime = bundle.start(&llm);
    let (_, settings) = operator(&runtime, Method::GET, "/v1/scheduler", Value::Null).await;
    assert_eq!(settings["object"], "scheduler");
    assert_eq!(
        settings["data"],
        json!({
            "enabled": true, "timezone": "Europe/Berlin", "check_interval_minutes": 1,
            "max_concurrent_jobs": 10, "max_failures_before_pause": 2, "max_jobs_per_user": 100,
            "missed_runs": "once", "default_time": "09:00",
        })
    );
    let id = create(&runtime, one_time(300)).await;
    let job = job(&runtime, &id, |job| job["status"] == "COMPLETED").await;
    assert_eq!((runs(&job), &job["total_failures"]), (1, &json!(0)));
    assert_eq!(
        (&job["user_id"], &job["last_run_status"], &job["next_run_at"]),
        (&json!("alice"), &json!("completed"), &Value::Null)
    );
    let run = &job["history"][0];
    assert_eq!(
        (&run["status"], &run["scheduled_for"]),
        (&json!("completed"), &job["scheduled_for"])
    );
    let path = format!("/v1/requests/{}", run["request_id"].as_str().unwrap());
    let asked = runtime.get(&path).header("X-Muxi-Client-Key", CLIENT_KEY);
    let request: Value =
        asked.header("X-Muxi-User-ID", "alice").send().await.unwrap().json().await.unwrap();
    let data = &request["data"];
    assert_eq!((&data["kind"], &data["result"]), (&json!("job"), &json!("fake model: Look")));
    assert_eq!(data["session_id"], format!("sched_{id}"));
    assert_eq!(llm.journal().len(), 1);
}

#[tokio::test]
async fn a_run_that_waits_when_the_process_is_killed_is_neither_lost_nor_made_twice() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(ON)));
    llm.script(json!([{"reply": {"chunks": ["a", "b"], "gate": "never", "gate_after_chunks": 1}}]));
    let runtime = bundle.start(&llm);
    let id = create(&runtime, one_time(600)).await;
    // Its session is busy, so that the run cannot begin.
    let busy = json!({"message": "hi", "mode": "async", "session_id": format!("sched_{id}")});
    assert_eq!(runtime.chat(&busy).send().await.unwrap().status(), 202);
    let waiting = job(&runtime, &id, |job| job["last_run_status"] == "running").await;
    assert_eq!(waiting["total_runs"], 0);
    llm.wait_for(1, None).await;
    runtime.kill9();

    llm.script(json!([{"reply": {"text": "at last"}}]));
    let runtime = bundle.start(&llm);
    let done = job(&runtime, &id, |job| job["status"] == "COMPLETED").await;
    assert_eq!((runs(&done), done["history"].as_array().unwrap().len()), (1, 1));
    assert_eq!(done["history"][0]["request_id"], waiting["history"][0]["request_id"]);
    assert_eq!(llm.journal().len(), 2);
}

#[tokio::test]
async fn a_run_that_is_cut_off_failed_and_a_time_that_passed_meanwhile_is_made_up_for() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(ON)));
    llm.script(json!([{"reply": {"chunks": ["a", "b"], "gate": "never", "gate_after_chunks": 1}}]));
    let runtime = bundle.start(&llm);
    let cut = create(&runtime, one_time(200)).await;
    let late = create(&runtime, one_time(2_500)).await;
    llm.wait_for(1, None).await;
    runtime.kill9();

    llm.script(json!([{"reply": {"text": "at last"}}]));
    let runtime = bundle.start(&llm);
    let cut = job(&runtime, &cut, |job| job["status"] != "ACTIVE").await;
    assert_eq!((&cut["status"], &cut["total_failures"]), (&json!("FAILED"), &json!(1)));
    assert!(cut["last_run_failure_message"].as_str().unwrap().contains("stopped"), "{cut}");
    let late = job(&runtime, &late, |job| job["status"] == "COMPLETED").await;
    assert_eq!(runs(&late), 1);
    assert_eq!(llm.journal().len(), 2);
}

#[tokio::test]
async fn times_that_were_missed_are_one_run() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(ON)));
    let runtime = bundle.start(&llm);
    let id = create(&runtime, every_second()).await;
    job(&runtime, &id, |job| runs(job) >= 1).await;
    runtime.kill9();
    let killed = jiff::Timestamp::now();
    // Several of its times must pass.
    while jiff::Timestamp::now().duration_since(killed).as_secs() < 4 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let restarted = jiff::Timestamp::now();
    let runtime = bundle.start(&llm);
    let after = job(&runtime, &id, |job| {
        let newest = job["history"][0]["scheduled_for"].as_str().unwrap();
        newest.parse::<jiff::Timestamp>().unwrap() > restarted
    })
    .await;
    let missed = after["history"].as_array().unwrap().iter().filter(|run| {
        let due: jiff::Timestamp = run["scheduled_for"].as_str().unwrap().parse().unwrap();
        let begun: jiff::Timestamp = run["started_at"].as_str().unwrap().parse().unwrap();
        due < restarted && begun > restarted
    });
    assert_eq!(missed.count(), 1, "{after}");
}

#[tokio::test]
async fn times_that_were_missed_are_left_out_where_that_is_wanted() {
    for (policy, expected_runs) in [("skip", 0), ("once", 1)] {
        let more = format!("scheduler: {{missed_runs: {policy}}}");
        let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(&more)));
        // As a process would have left it that stopped two hours ago.
        std::fs::create_dir_all(bundle.data_dir()).unwrap();
        let store = Store::open(&Location::Folder(bundle.data_dir())).unwrap();
        let before_ms = jiff::Timestamp::now().as_millisecond() - 7_200_000;
        let missed = NewJob {
            id: "job_missed".to_owned(),
            title: "Look".to_owned(),
            prompt: "Look".to_owned(),
            times: JobTimes::Recurring { cron: "0 0 1 1 *".to_owned() },
            timezone: "UTC".to_owned(),
            next_ms: before_ms,
            at_ms: before_ms,
        };
        let alice = store.for_user(&"alice".parse().unwrap());
        assert!(alice.create_job(missed, 1).await.unwrap());
        drop((alice, store));
        let runtime = bundle.start(&llm);
        let now = jiff::Timestamp::now();
        let job = job(&runtime, "job_missed", |job| {
            let next = job["next_run_at"].as_str().unwrap();
            next.parse::<jiff::Timestamp>().unwrap() > now
                && (expected_runs == 0 || job["last_run_status"] == "completed")
        })
        .await;
        assert_eq!(runs(&job), expected_runs, "{job}");
        assert_eq!(llm.journal().len(), expected_runs);
        let logs = runtime.get("/v1/logs?event_type=job.*").header("Last-Event-ID", "1");
        let logs = logs.header("X-Muxi-Admin-Key", ADMIN_KEY).send().await.unwrap();
        let mut logs = Frames::of(logs);
        let log = loop {
            let (name, log) = logs.next().await.unwrap();
            if name == "log" {
                break log;
            }
        };
        let event = if expected_runs == 0 { "job.skipped" } else { "job.started" };
        assert_eq!(
            (&log["event_type"], &log["data"]["job_id"]),
            (&json!(event), &json!("job_missed"))
        );
    }
}

#[tokio::test]
async fn a_job_is_paused_by_the_operator_and_by_its_own_failures() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(ON)));
    llm.script(json!([{"reply": {"status": 500, "error_body": {"error": {"message": "broken"}}}}]));
    let runtime = bundle.start(&llm);
    let id = create(&runtime, every_second()).await;
    let path = format!("/v1/scheduler/jobs/{id}");
    let paused = job(&runtime, &id, |job| job["status"] == "PAUSED").await;
    assert_eq!((runs(&paused), &paused["consecutive_failures"]), (2, &json!(2)));
    assert_eq!(paused["last_run_status"], "failed");
    let (status, again) =
        operator(&runtime, Method::POST, &format!("{path}/pause"), Value::Null).await;
    assert_eq!((status, &again["error"]["code"]), (404, &json!("RESOURCE_NOT_FOUND")));

    llm.script(json!([{"reply": {"text": "Yes"}}]));
    let (status, resumed) =
        operator(&runtime, Method::POST, &format!("{path}/resume"), Value::Null).await;
    assert_eq!((status, &resumed["type"]), (200, &json!("scheduler.job.resumed")));
    assert_eq!(
        (&resumed["data"]["id"], &resumed["data"]["status"]),
        (&json!(id), &json!("ACTIVE"))
    );
    let better = job(&runtime, &id, |job| runs(job) >= 3).await;
    assert_eq!(
        (&better["consecutive_failures"], &better["total_failures"]),
        (&json!(0), &json!(2))
    );

    let (status, answer) =
        operator(&runtime, Method::POST, &format!("{path}/pause"), Value::Null).await;
    assert_eq!((status, &answer["type"]), (200, &json!("scheduler.job.paused")));
    let (status, answer) = operator(&runtime, Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &answer["type"]), (200, &json!("scheduler.job.deleted")));
    let (status, gone) = operator(&runtime, Method::GET, &path, Value::Null).await;
    assert_eq!((status, &gone["error"]["code"]), (404, &json!("NOT_FOUND")));

    let audit = "/v1/audit?resource_type=scheduler_job";
    let (_, audit) = operator(&runtime, Method::GET, audit, Value::Null).await;
    let entries = audit["data"]["entries"].as_array().unwrap();
    let mut acts: Vec<_> = entries.iter().map(|it| it["action"].as_str().unwrap()).collect();
    acts.reverse();
    let expected = ["created", "paused", "resumed", "paused", "deleted"];
    assert_eq!(acts, expected.map(|act| format!("scheduler.job.{act}")));
}

#[tokio::test]
async fn jobs_are_the_operators_and_everybody_sees_their_own() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(ON)));
    let runtime = bundle.start(&llm);
    let yearly = |user: &str| {
        json!({"type": "recurring", "schedule": "30 2 29 3 *", "message": "Spring\nis here",
               "user_id": user})
    };
    let id = create(&runtime, yearly("alice")).await;
    // The header wins, as everywhere.
    let named = runtime.post("/v1/scheduler/jobs").header("X-Muxi-Admin-Key", ADMIN_KEY);
    let named = named.header("X-Muxi-User-ID", "bob").json(&yearly("alice"));
    assert_eq!(named.send().await.unwrap().status(), 201);
    let list = |header: &'static str, key: &'static str, query: &str| {
        let request = runtime.get(&format!("/v1/scheduler/jobs{query}")).header(header, key);
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        }
    };
    let (_, own) = list("X-Muxi-Client-Key", CLIENT_KEY, "?user_id=alice").await;
    assert_eq!((&own["object"], &own["data"]["count"]), (&json!("scheduled_job_list"), &json!(1)));
    let job = &own["data"]["jobs"][0];
    assert_eq!((&job["id"], &job["title"]), (&json!(id), &json!("Spring")));
    assert_eq!((&job["status"], &job["timezone"]), (&json!("ACTIVE"), &json!("Europe/Berlin")));
    assert_eq!(list("X-Muxi-Admin-Key", ADMIN_KEY, "").await.1["data"]["count"], 2);
    assert_eq!(list("X-Muxi-Client-Key", CLIENT_KEY, "").await.0, 400);
    for (method, path) in [
        (Method::GET, "/v1/scheduler".to_owned()),
        (Method::POST, "/v1/scheduler/jobs".to_owned()),
        (Method::GET, format!("/v1/scheduler/jobs/{id}")),
        (Method::DELETE, format!("/v1/scheduler/jobs/{id}")),
    ] {
        let request = runtime.request(method, &path).header("X-Muxi-Client-Key", CLIENT_KEY);
        assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
    }
    let body = json!({"title": "T", "schedule": "0 12 * * *", "timezone": "UTC"});
    let path = format!("/v1/scheduler/jobs/{id}");
    let (status, updated) = operator(&runtime, Method::PUT, &path, body).await;
    assert_eq!((status, &updated["type"]), (200, &json!("scheduler.job.updated")), "{updated}");
    let data = &updated["data"];
    assert_eq!(
        (&data["title"], &data["original_prompt"]),
        (&json!("T"), &json!("Spring\nis here"))
    );
    assert!(data["next_run_at"].as_str().unwrap().ends_with("T12:00:00Z"), "{data}");
}

#[tokio::test]
async fn a_job_that_cannot_be_is_refused_with_every_reason() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(ON)));
    let runtime = bundle.start(&llm);
    let post = |body: Value| operator(&runtime, Method::POST, "/v1/scheduler/jobs", body);
    let (status, answer) = post(json!({"type": "often", "message": 5, "timezone": "Mars"})).await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("VALIDATION_ERROR")));
    let faults = answer["error"]["data"]["validation_errors"].as_array().unwrap();
    let fields: Vec<_> = faults.iter().map(|it| it["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["type", "schedule", "message", "timezone"]);
    for (kind, schedule) in [
        ("recurring", "every day"),
        ("recurring", "* * * *"),
        ("recurring", "0 0 30 2 *"),
        ("one_time", "2020-01-01T00:00:00Z"),
        ("one_time", "0 9 * * *"),
    ] {
        let (status, answer) =
            post(json!({"type": kind, "schedule": schedule, "message": "m"})).await;
        let data = &answer["error"]["data"];
        assert_eq!((status, &data["field"]), (422, &json!("schedule")), "{answer}");
        assert_eq!(data["value"], schedule);
        assert!(data["expected"].is_string() && data["error"].is_string(), "{answer}");
    }
    drop(runtime);
    for more in ["", "scheduler: {enabled: false}", "scheduler: {}\nmemory: {persistent: false}"] {
        let bundle = Bundle::new(&manifest(more));
        let runtime = bundle.start(&llm);
        let (status, answer) =
            operator(&runtime, Method::POST, "/v1/scheduler/jobs", every_second()).await;
        let code = &answer["error"]["code"];
        assert_eq!((status, code), (422, &json!("UNPROCESSABLE_ENTITY")), "{more}");
    }
}

#[tokio::test]
async fn a_repeat_makes_no_second_job() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(ON)));
    let runtime = bundle.start(&llm);
    let body = json!({"type": "recurring", "schedule": "0 0 1 1 *", "message": "m"});
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = runtime.post("/v1/scheduler/jobs").header("X-Muxi-Admin-Key", ADMIN_KEY);
        let request = request.header("X-Muxi-Idempotency-Key", "k").json(&body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 201);
        answers.push(response.text().await.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
    let (_, listed) = operator(&runtime, Method::GET, "/v1/scheduler/jobs", Value::Null).await;
    assert_eq!(listed["data"]["count"], 1);
}
