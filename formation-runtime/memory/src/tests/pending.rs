//! What a session waits for is resolved once, and every request that waits gets an end.

use super::*;

promises![
    a_question_is_an_end_of_its_turn_and_not_of_its_request,
    exactly_one_of_many_resolves_it,
    an_answer_in_a_turn_ends_all_requests_that_waited,
    a_second_question_is_of_the_request_that_asked_first,
    an_approval_has_the_same_request_done_again,
    a_request_that_waits_is_no_orphan,
    what_died_while_it_went_on_is_left_to_who_looks_after_it,
    the_latest_question_takes_the_place_of_one_of_its_group,
    what_nobody_answers_in_time_is_overdue_and_can_only_expire,
    requests_end_with_the_session_that_would_have_answered,
    what_users_wait_for_is_their_own,
    a_job_that_waits_leaves_room_for_others,
];

const LATER: i64 = 1_000;

fn asks(id: &str, kind: PendingKind) -> NewPending {
    NewPending {
        id: id.to_owned(),
        kind,
        question: "May I?".to_owned(),
        detail_json: r#"{"tool":"files/delete"}"#.to_owned(),
        state_json: r#"{"step":3}"#.to_owned(),
        expires_ms: LATER,
    }
}

fn resolution(resolution: Resolution, then: Then, at_ms: i64) -> NewResolution {
    NewResolution { resolution, note: Some("noted".to_owned()), then, at_ms }
}

fn cancelled() -> Then {
    Then::Ends { outcome: Outcome::Cancelled, delivery: None }
}

fn told(id: &str) -> NewDelivery {
    let url = "https://example.com".to_owned();
    NewDelivery { id: id.to_owned(), url, body: "{}".to_owned() }
}

async fn begin(store: &UserStore, request: &str, at_ms: i64) -> BegunTurn {
    let request_id = request.parse().unwrap();
    store.begin_turn(NewTurn { request_id, ..question("s", "hi", at_ms) }, 10).await.unwrap()
}

/// A turn that ends with a question.
async fn ask(store: &UserStore, request: &str, pending: NewPending, at_ms: i64) -> BegunTurn {
    let turn = begin(store, request, at_ms).await;
    store.end_turn_waiting(turn.id, answer(Outcome::Waiting, "", at_ms), pending).await.unwrap();
    turn
}

async fn status(store: &UserStore, request: &str) -> RequestStatus {
    store.request(&request.parse().unwrap()).await.unwrap().unwrap().status
}

async fn webhooks(store: &Store) -> Vec<String> {
    let mut due: Vec<_> = store.claim_deliveries(LATER, LATER, 10).await.unwrap();
    due.sort_by(|one, other| one.id.cmp(&other.id));
    due.into_iter().map(|it| it.id).collect()
}

async fn a_question_is_an_end_of_its_turn_and_not_of_its_request(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    let turn = begin(&alice, "r1", 1).await;
    assert_eq!((turn.last_agent, turn.pending), (None, None));
    let end = TurnEnd {
        agent: Some("expert".to_owned()),
        delivery: Some(told("d1")),
        ..answer(Outcome::Waiting, "Well. May I?", 2)
    };
    alice.end_turn_waiting(turn.id, end, asks("apv_1", PendingKind::Approval)).await.unwrap();
    drop(alice);
    drop(store);

    let store = database.open();
    let alice = store.for_user(&user("a"));
    let request = alice.request(&"r1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(request.status, RequestStatus::AwaitingClarification);
    assert_eq!((request.result.as_deref(), request.ended_ms), (Some("Well. May I?"), None));
    assert_eq!((request.error, request.agent.as_deref()), (None, Some("expert")));
    assert!(!request.status.is_open());
    let page = alice.messages(&session("s"), 10, None).await.unwrap();
    assert_eq!(texts(&page), ["hi", "Well. May I?"]);
    assert_eq!(webhooks(&store).await, ["d1"]);
    let next = begin(&alice, "r2", 3).await;
    assert_eq!(next.last_agent.as_deref(), Some("expert"));
    let pending = next.pending.unwrap();
    assert_eq!((pending.id.as_str(), pending.request_id.as_str()), ("apv_1", "r1"));
    assert_eq!((pending.detail_json.as_str(), pending.state_json.as_str()), {
        (r#"{"tool":"files/delete"}"#, r#"{"step":3}"#)
    });
    assert_eq!(pending.resolved, None);
    assert_eq!(alice.pending_of(request.seq).await.unwrap(), Some(pending));
    assert_eq!(alice.pending_of(next.request).await.unwrap(), None);
    // Nobody works on it, so nobody is asked to stop, and it does not end without a resolution.
    assert!(!store.ask_to_cancel(request.seq, 4).await.unwrap());
    assert!(!alice.end_request(request.seq, Outcome::Cancelled, None, 4).await.unwrap());
}

async fn exactly_one_of_many_resolves_it(database: &Database) {
    let stores = [database.open(), database.open()];
    let alice = stores[0].for_user(&user("a"));
    ask(&alice, "r1", asks("apv_1", PendingKind::Approval), 1).await;
    let changed = alice.update_pending("apv_1", "{}".to_owned(), "[]".to_owned()).await.unwrap();
    assert!(changed);
    let callers = (0..12).map(|caller: usize| {
        let store = stores[caller % 2].for_user(&user("a"));
        async move {
            let said = [Resolution::Approved, Resolution::Denied][caller % 2];
            store.resolve_pending("apv_1", resolution(said, cancelled(), 2)).await.unwrap()
        }
    });
    let got = futures_util::future::join_all(callers).await;
    let got: Vec<_> = got.into_iter().flatten().collect();
    assert_eq!(got.len(), 1);
    assert_eq!((got[0].detail_json.as_str(), got[0].state_json.as_str()), ("{}", "[]"));
    let kept = alice.pending("apv_1").await.unwrap().unwrap();
    assert_eq!(kept.resolved, got[0].resolved);
    assert_eq!(kept.resolved.unwrap().note.as_deref(), Some("noted"));
    assert!(!alice.update_pending("apv_1", "{}".to_owned(), "{}".to_owned()).await.unwrap());
}

async fn an_answer_in_a_turn_ends_all_requests_that_waited(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    ask(&alice, "r1", asks("clr_1", PendingKind::Clarification), 1).await;
    let turn = begin(&alice, "r2", 2).await;
    let answered = resolution(Resolution::Answered, Then::InTurn(turn.id), 3);
    assert!(alice.resolve_pending("clr_1", answered).await.unwrap().is_some());
    assert_eq!(status(&alice, "r1").await, RequestStatus::AwaitingClarification);
    let end = TurnEnd {
        delivery: Some(told("d2")),
        original_delivery: Some(told("d1")),
        ..answer(Outcome::Completed, "done", 4)
    };
    alice.end_turn(turn.id, end).await.unwrap();
    for request in ["r1", "r2"] {
        let request = alice.request(&request.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(request.status, RequestStatus::Completed);
        assert_eq!((request.result.as_deref(), request.ended_ms), (Some("done"), Some(4)));
    }
    assert_eq!(webhooks(&store).await, ["d1", "d2"]);
    let first = alice.request(&"r1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(alice.went_on_in(first.seq).await.unwrap(), ["r2".parse().unwrap()]);
    assert_eq!(alice.open_pending(&session("s"), 5).await.unwrap(), None);
}

async fn a_second_question_is_of_the_request_that_asked_first(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    ask(&alice, "r1", asks("clr_1", PendingKind::Clarification), 1).await;
    for (round, (earlier, later)) in [("clr_1", "clr_2"), ("clr_2", "clr_3")].iter().enumerate() {
        let turn = begin(&alice, &format!("r{}", round + 2), 2).await;
        let answered = resolution(Resolution::Answered, Then::InTurn(turn.id), 3);
        assert!(alice.resolve_pending(earlier, answered).await.unwrap().is_some());
        let (end, again) =
            (answer(Outcome::Waiting, "", 4), asks(later, PendingKind::Clarification));
        alice.end_turn_waiting(turn.id, end, again).await.unwrap();
    }
    let open = alice.open_pending(&session("s"), 5).await.unwrap().unwrap();
    assert_eq!((open.id.as_str(), open.request_id.as_str()), ("clr_3", "r1"));
    for request in ["r1", "r2", "r3"] {
        assert_eq!(status(&alice, request).await, RequestStatus::AwaitingClarification);
    }
    let turn = begin(&alice, "r4", 6).await;
    let answered = resolution(Resolution::Answered, Then::InTurn(turn.id), 6);
    alice.resolve_pending("clr_3", answered).await.unwrap().unwrap();
    alice.end_turn(turn.id, answer(failed("HTTP 500"), "", 7)).await.unwrap();
    for request in ["r1", "r2", "r3", "r4"] {
        assert_eq!(status(&alice, request).await, RequestStatus::Failed, "{request}");
    }
}

async fn an_approval_has_the_same_request_done_again(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    ask(&alice, "r1", asks("apv_1", PendingKind::Approval), 1).await;
    let again = Then::Again { work: "the rest".to_owned() };
    let found =
        alice.resolve_pending("apv_1", resolution(Resolution::Approved, again, 2)).await.unwrap();
    let found = found.unwrap();
    assert_eq!(status(&alice, "r1").await, RequestStatus::Pending);
    // Its process dies before it begins: the next one finds what is to be done.
    let dies = |transaction: &mut crate::sql::Transaction<'_>| {
        transaction.execute("UPDATE requests SET owner = '1:1:another boot'", &[])
    };
    store.write(dies).await.unwrap();
    let left = store.take_abandoned().await.unwrap();
    assert_eq!((left.len(), left[0].work.as_deref()), (1, Some("the rest")));
    assert_eq!(left[0].deaths, 0);

    let asked = question("s", "Approved.", 3);
    let request_id = "r1".parse().unwrap();
    let turn = NewTurn { request_id, accepted: Some(found.request), ..asked };
    let turn = alice.begin_turn(turn, 10).await.unwrap();
    assert_eq!(status(&alice, "r1").await, RequestStatus::Processing);
    // It asks once more, and is still the same request.
    let (end, next) = (answer(Outcome::Waiting, "", 4), asks("apv_2", PendingKind::Approval));
    alice.end_turn_waiting(turn.id, end, next).await.unwrap();
    // What it took is the sum of its turns.
    let request = alice.request(&"r1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(request.tokens, Some(Tokens { prompt: 6, completion: 4 }));
    let open = alice.open_pending(&session("s"), 5).await.unwrap().unwrap();
    assert_eq!((open.request, open.request_id.as_str()), (found.request, "r1"));
    assert_eq!(open.request_mode, RequestMode::Sync);
    let no = Then::Ends { outcome: failed("refused"), delivery: Some(told("d1")) };
    alice.resolve_pending("apv_2", resolution(Resolution::Denied, no, 6)).await.unwrap().unwrap();
    assert_eq!(status(&alice, "r1").await, RequestStatus::Failed);
    assert_eq!(webhooks(&store).await, ["d1"]);
    assert_eq!(alice.requests(10).await.unwrap().len(), 1);
}

async fn a_request_that_waits_is_no_orphan(database: &Database) {
    let alice = database.open().for_user(&user("a"));
    ask(&alice, "r1", asks("apv_1", PendingKind::Approval), 1).await;
    drop(alice);
    let store = database.open();
    assert!(store.take_abandoned().await.unwrap().is_empty());
    store.forget_requests(i64::MAX).await.unwrap();
    let alice = store.for_user(&user("a"));
    assert_eq!(status(&alice, "r1").await, RequestStatus::AwaitingClarification);
    assert!(alice.open_pending(&session("s"), 2).await.unwrap().is_some());
}

async fn what_died_while_it_went_on_is_left_to_who_looks_after_it(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    ask(&alice, "r1", asks("apv_1", PendingKind::Approval), 1).await;
    let turn = begin(&alice, "r2", 2).await;
    let approved = resolution(Resolution::Approved, Then::InTurn(turn.id), 3);
    alice.resolve_pending("apv_1", approved).await.unwrap().unwrap();
    let dies = |transaction: &mut crate::sql::Transaction<'_>| {
        let dead = "SET owner = '1:1:another boot' WHERE owner IS NOT NULL";
        transaction.execute(&format!("UPDATE requests {dead}"), &[])?;
        transaction.execute(&format!("UPDATE turns {dead}"), &[])
    };
    store.write(dies).await.unwrap();
    let mut ended = Vec::new();
    for _ in 0..2 {
        for left in store.take_abandoned().await.unwrap() {
            let seq = left.request.seq;
            assert!(alice.end_request(seq, Outcome::Interrupted, None, 4).await.unwrap());
            ended.push(left.request.id.to_string());
        }
    }
    assert_eq!(ended, ["r2", "r1"]);
    assert_eq!(status(&alice, "r1").await, RequestStatus::Failed);
}

async fn the_latest_question_takes_the_place_of_one_of_its_group(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    ask(&alice, "r1", asks("apv_1", PendingKind::Approval), 1).await;
    ask(&alice, "r2", asks("clr_1", PendingKind::Clarification), 2).await;
    ask(&alice, "r3", asks("pln_1", PendingKind::Plan), 3).await;
    assert_eq!(status(&alice, "r1").await, RequestStatus::Cancelled);
    assert_eq!(status(&alice, "r2").await, RequestStatus::AwaitingClarification);
    assert_eq!(status(&alice, "r3").await, RequestStatus::AwaitingClarification);
    let open = alice.open_pending(&session("s"), 4).await.unwrap().unwrap();
    assert_eq!(open.id, "pln_1");
    let ids = async |filter| {
        let found = alice.list_pending(filter, 10).await.unwrap();
        found.into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    let consent = Some(PendingGroup::Consent);
    let of = |status| PendingFilter { group: consent, status };
    assert_eq!(ids(of(None)).await, ["pln_1", "apv_1"]);
    assert_eq!(ids(of(Some(PendingStatus::Open))).await, ["pln_1"]);
    let cancelled = PendingStatus::Resolved(Resolution::Cancelled);
    assert_eq!(ids(of(Some(cancelled))).await, ["apv_1"]);
    assert_eq!(ids(PendingFilter::default()).await, ["pln_1", "clr_1", "apv_1"]);
    assert_eq!(store.open_pending_count(PendingGroup::Question).await.unwrap(), 1);
}

async fn what_nobody_answers_in_time_is_overdue_and_can_only_expire(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    for (request, at_ms) in [("r1", 1), ("r2", 2)] {
        let turn = NewTurn { request_id: request.parse().unwrap(), ..question(request, "", at_ms) };
        let turn = alice.begin_turn(turn, 10).await.unwrap();
        let pending = NewPending {
            expires_ms: LATER + at_ms,
            ..asks(&format!("apv_{request}"), PendingKind::Approval)
        };
        let end = answer(Outcome::Waiting, "", at_ms);
        alice.end_turn_waiting(turn.id, end, pending).await.unwrap();
    }
    assert!(store.overdue_pending(LATER, 10).await.unwrap().is_empty());
    let late = LATER + 10;
    let overdue = store.overdue_pending(late, 1).await.unwrap();
    assert_eq!((overdue.len(), overdue[0].id.as_str()), (1, "apv_r1"));
    assert_eq!(alice.open_pending(&session("r1"), late).await.unwrap(), None);
    let approved = resolution(Resolution::Approved, cancelled(), late);
    assert_eq!(alice.resolve_pending("apv_r1", approved).await.unwrap(), None);
    let expired = Then::Ends { outcome: failed("nobody answered"), delivery: None };
    let expired = resolution(Resolution::Expired, expired, late);
    assert!(alice.resolve_pending("apv_r1", expired).await.unwrap().is_some());
    assert_eq!(status(&alice, "r1").await, RequestStatus::Failed);
    assert_eq!(store.overdue_pending(late, 10).await.unwrap().len(), 1);
    // What came of it is forgotten with the requests of its time.
    store.forget_requests(late + 1).await.unwrap();
    assert_eq!(alice.pending("apv_r1").await.unwrap(), None);
    assert!(alice.pending("apv_r2").await.unwrap().is_some());
}

async fn requests_end_with_the_session_that_would_have_answered(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    ask(&alice, "r1", asks("apv_1", PendingKind::Approval), 1).await;
    alice.delete_session(&session("s")).await.unwrap().unwrap();
    assert_eq!(alice.pending("apv_1").await.unwrap(), None);
    assert_eq!(status(&alice, "r1").await, RequestStatus::Cancelled);

    // What goes on already ends by itself, also when its conversation is forgotten.
    ask(&alice, "r2", asks("apv_2", PendingKind::Approval), 2).await;
    let turn = begin(&alice, "r3", 3).await;
    let approved = resolution(Resolution::Approved, Then::InTurn(turn.id), 3);
    alice.resolve_pending("apv_2", approved).await.unwrap().unwrap();
    store.clear_all_sessions().await.unwrap();
    assert_eq!(status(&alice, "r2").await, RequestStatus::AwaitingClarification);
    alice.end_turn(turn.id, answer(Outcome::Completed, "done", 4)).await.unwrap();
    assert_eq!(status(&alice, "r2").await, RequestStatus::Completed);
}

async fn what_users_wait_for_is_their_own(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    ask(&alice, "r1", asks("apv_1", PendingKind::Approval), 1).await;
    assert_eq!(begin(&bob, "r1", 2).await.pending, None);
    assert_eq!(bob.pending("apv_1").await.unwrap(), None);
    assert_eq!(bob.open_pending(&session("s"), 2).await.unwrap(), None);
    assert!(bob.list_pending(PendingFilter::default(), 10).await.unwrap().is_empty());
    let approved = resolution(Resolution::Approved, cancelled(), 2);
    assert_eq!(bob.resolve_pending("apv_1", approved).await.unwrap(), None);
    assert!(!bob.update_pending("apv_1", "1".to_owned(), "1".to_owned()).await.unwrap());
    assert_eq!(alice.pending("apv_1").await.unwrap().unwrap().resolved, None);
}

async fn a_job_that_waits_leaves_room_for_others(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    let start = async |id: &str| {
        let times = JobTimes::Once { at_ms: 5 };
        let (title, prompt) = ("A title".to_owned(), "ask".to_owned());
        let timezone = "UTC".to_owned();
        let job =
            NewJob { id: id.to_owned(), title, prompt, times, timezone, next_ms: 5, at_ms: 1 };
        alice.create_job(job, 10).await.unwrap();
        let request = NewRequest {
            id: format!("r_{id}").parse().unwrap(),
            session: session("s"),
            kind: RequestKind::Job,
            work: "{}".to_owned(),
            webhook_url: None,
            at_ms: 5,
        };
        let run = NewRun { job: id.to_owned(), due_ms: 5, next_ms: None, open_max: 1 };
        alice.start_run(run, request).await.unwrap()
    };
    let first = start("job_1").await.unwrap();
    assert_eq!(start("job_2").await, None);
    let asked = NewTurn { accepted: Some(first), ..question("s", "ask", 6) };
    let turn = alice.begin_turn(asked, 10).await.unwrap();
    let (end, pending) = (answer(Outcome::Waiting, "", 6), asks("apv_1", PendingKind::Approval));
    alice.end_turn_waiting(turn.id, end, pending).await.unwrap();
    assert!(store.settle_runs(3, 7).await.unwrap().is_empty());
    assert_eq!(store.next_job().await.unwrap(), (Some(5), 0));
    assert!(start("job_3").await.is_some());
}
