//! A job's runs are begun once, and what came of them is counted.

use super::*;

promises![
    a_due_job_is_begun_once_and_its_outcome_is_counted,
    a_job_pauses_when_it_fails_too_often_in_a_row,
    jobs_are_bounded_and_changed_and_deleted_with_their_history,
    only_so_many_runs_are_open_at_once,
];

fn job(id: &str, times: JobTimes, next_ms: i64) -> NewJob {
    NewJob {
        id: id.to_owned(),
        title: "A title".to_owned(),
        prompt: "what to ask".to_owned(),
        times,
        timezone: "UTC".to_owned(),
        next_ms,
        at_ms: 1,
    }
}

fn hourly() -> JobTimes {
    JobTimes::Recurring { cron: "0 * * * *".to_owned() }
}

fn run_of(job: &str, due_ms: i64, next_ms: Option<i64>) -> (NewRun, NewRequest) {
    let request = NewRequest {
        id: RequestId::generate(),
        session: session("sched"),
        kind: RequestKind::Job,
        work: "{}".to_owned(),
        webhook_url: None,
        at_ms: due_ms + 1,
    };
    (NewRun { job: job.to_owned(), due_ms, next_ms, open_max: 2 }, request)
}

async fn end(store: &UserStore, seq: RequestSeq, outcome: Outcome, at_ms: i64) {
    assert!(store.end_request(seq, outcome, None, at_ms).await.unwrap());
}

async fn a_due_job_is_begun_once_and_its_outcome_is_counted(database: &Database) {
    let (first, second) = (database.open(), database.open());
    let alice = first.for_user(&user("alice"));
    assert!(alice.create_job(job("job_1", hourly(), 100), 10).await.unwrap());
    let once = JobTimes::Once { at_ms: 150 };
    assert!(alice.create_job(job("job_2", once, 150), 10).await.unwrap());
    assert_eq!(first.next_job().await.unwrap(), (Some(100), 0));
    assert!(first.due_jobs(99, 10).await.unwrap().is_empty());

    // Both processes see it; one gets it, and nobody else's request can be made of it.
    assert_eq!(second.due_jobs(100, 10).await.unwrap().len(), 1);
    let (run, request) = run_of("job_1", 100, Some(200));
    let bob = second.for_user(&user("bob"));
    assert_eq!(bob.start_run(run.clone(), request.clone()).await.unwrap(), None);
    let started = alice.start_run(run.clone(), request.clone()).await.unwrap().unwrap();
    let other = second.for_user(&user("alice"));
    assert_eq!(other.start_run(run, run_of("job_1", 100, None).1).await.unwrap(), None);
    // Its next time has come, but the last run is still open.
    let (overlap, anew) = run_of("job_1", 200, Some(300));
    assert_eq!(alice.start_run(overlap, anew).await.unwrap(), None);
    let due = first.due_jobs(250, 10).await.unwrap();
    assert_eq!(due.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["job_2"]);

    assert!(first.settle_runs(3, 210).await.unwrap().is_empty());
    end(&alice, started, Outcome::Completed, 220).await;
    // A request that has ended stays until its job has noted it.
    assert_eq!(first.forget_requests(1_000).await.unwrap(), 0);
    let settled = second.settle_runs(3, 230).await.unwrap();
    assert_eq!((settled.len(), settled[0].status.as_str()), (1, "completed"));
    assert!(first.settle_runs(3, 230).await.unwrap().is_empty());
    assert_eq!(first.forget_requests(1_000).await.unwrap(), 1);
    let (job, runs) = first.job("job_1").await.unwrap().unwrap();
    assert_eq!((job.runs, job.failures, job.next_ms), (1, 0, Some(200)));
    assert_eq!((job.last_run_ms, job.last_status.as_deref()), (Some(101), Some("completed")));
    assert_eq!((runs.len(), runs[0].due_ms, runs[0].ended_ms), (1, 100, Some(220)));
    assert_eq!(runs[0].request_id, request.id);

    let (run, request) = run_of("job_2", 150, None);
    let started = alice.start_run(run, request).await.unwrap().unwrap();
    end(&alice, started, Outcome::Cancelled, 300).await;
    first.settle_runs(3, 310).await.unwrap();
    let (job, _) = first.job("job_2").await.unwrap().unwrap();
    assert_eq!((job.status, job.runs, job.failures), (JobStatus::Cancelled, 1, 0));
}

async fn a_job_pauses_when_it_fails_too_often_in_a_row(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("alice"));
    alice.create_job(job("job_1", hourly(), 0), 10).await.unwrap();
    for (due_ms, status, paused) in [
        (0, failed("broken"), false),
        (1, Outcome::Completed, false),
        (2, failed("broken"), false),
        (3, failed("broken"), true),
    ] {
        let (run, request) = run_of("job_1", due_ms, Some(due_ms + 1));
        let started = alice.start_run(run, request).await.unwrap().unwrap();
        end(&alice, started, status, due_ms).await;
        let settled = store.settle_runs(2, due_ms).await.unwrap();
        assert_eq!((settled.len(), settled[0].paused), (1, paused), "{due_ms}");
    }
    let (job, _) = store.job("job_1").await.unwrap().unwrap();
    assert_eq!((job.status, job.runs, job.failures), (JobStatus::Paused, 4, 3));
    assert_eq!(job.last_error.as_deref(), Some("broken"));
    assert!(store.due_jobs(1_000, 10).await.unwrap().is_empty());
    assert!(!store.pause_job("job_1", 5).await.unwrap());
    assert!(store.resume_job("job_1", Some(50), 6).await.unwrap());
    assert!(!store.resume_job("job_1", Some(50), 6).await.unwrap());
    let (job, _) = store.job("job_1").await.unwrap().unwrap();
    assert_eq!((job.status, job.failures_in_a_row, job.next_ms), (JobStatus::Active, 0, Some(50)));
}

async fn jobs_are_bounded_and_changed_and_deleted_with_their_history(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("alice")), store.for_user(&user("bob")));
    assert!(alice.create_job(job("job_1", hourly(), 0), 1).await.unwrap());
    assert!(!alice.create_job(job("job_2", hourly(), 0), 1).await.unwrap());
    assert!(bob.create_job(job("job_3", hourly(), 0), 1).await.unwrap());
    assert_eq!(alice.jobs(10).await.unwrap().len(), 1);
    assert_eq!(store.all_jobs(10).await.unwrap().len(), 2);
    for due_ms in 0..30 {
        let (run, request) = run_of("job_1", due_ms, Some(due_ms + 1));
        let started = alice.start_run(run, request).await.unwrap().unwrap();
        end(&alice, started, Outcome::Completed, due_ms).await;
        store.settle_runs(3, due_ms).await.unwrap();
    }
    let (_, runs) = store.job("job_1").await.unwrap().unwrap();
    assert_eq!((runs.len(), runs[0].due_ms), (20, 29));

    let times = (JobTimes::Once { at_ms: 500 }, "Europe/Berlin".to_owned(), 500);
    let change = JobChange { title: None, prompt: Some("else".to_owned()), times: Some(times) };
    let job = store.change_job("job_1", change, 40).await.unwrap().unwrap();
    assert_eq!((job.title.as_str(), job.prompt.as_str()), ("A title", "else"));
    assert_eq!((job.times, job.next_ms), (JobTimes::Once { at_ms: 500 }, Some(500)));
    assert_eq!(store.change_job("job_9", JobChange::default(), 41).await.unwrap(), None);
    assert!(store.skip_run("job_1", 500, None).await.unwrap());
    assert!(!store.skip_run("job_1", 500, None).await.unwrap());
    assert!(store.delete_job("job_1").await.unwrap());
    assert!(!store.delete_job("job_1").await.unwrap());
    assert_eq!(store.job("job_1").await.unwrap(), None);
}

async fn only_so_many_runs_are_open_at_once(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("alice"));
    let mut begun = Vec::new();
    for id in ["job_1", "job_2", "job_3"] {
        alice.create_job(job(id, hourly(), 0), 10).await.unwrap();
        let (run, request) = run_of(id, 0, Some(1));
        begun.push(alice.start_run(run, request).await.unwrap());
    }
    assert!(begun[0].is_some() && begun[1].is_some() && begun[2].is_none());
    end(&alice, begun[0].unwrap(), Outcome::Completed, 1).await;
    store.settle_runs(3, 1).await.unwrap();
    let (run, request) = run_of("job_3", 0, Some(1));
    assert!(alice.start_run(run, request).await.unwrap().is_some());
}
