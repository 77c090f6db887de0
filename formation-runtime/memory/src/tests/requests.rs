//! A request is found with what is to be done until that begins, and with what it took afterwards.

use super::*;

promises![
    what_is_to_be_done_is_kept_until_it_begins,
    what_is_left_of_a_dead_process_is_taken_over_with_what_is_needed,
    a_request_tells_its_times_its_agent_and_what_it_used,
    a_request_has_one_end_and_its_user_gives_it,
];

fn accepted(id: &str, at_ms: i64) -> NewRequest {
    NewRequest {
        id: id.parse().unwrap(),
        session: session("s"),
        kind: RequestKind::Chat,
        work: format!("the work of {id}"),
        webhook_url: Some(format!("https://example.com/{id}")),
        at_ms,
    }
}

async fn begin(store: &UserStore, id: &str, seq: RequestSeq, at_ms: i64) -> BegunTurn {
    let asked = question("s", "hi", at_ms);
    let request_id = id.parse().unwrap();
    store.begin_turn(NewTurn { request_id, accepted: Some(seq), ..asked }, 10).await.unwrap()
}

async fn works(store: &Store) -> u64 {
    let count = "SELECT count(*) FROM request_work";
    store.read(move |transaction| transaction.one(count, &[], |row| row.get(0))).await.unwrap()
}

async fn what_is_to_be_done_is_kept_until_it_begins(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    let begun = alice.accept_request(accepted("begun", 1)).await.unwrap();
    let ended = alice.accept_request(accepted("ended", 1)).await.unwrap();
    let waits = alice.accept_request(accepted("waits", 1)).await.unwrap();
    assert_eq!(works(&store).await, 3);
    begin(&alice, "begun", begun, 2).await;
    assert_eq!(works(&store).await, 2);
    assert!(alice.end_request(ended, Outcome::Cancelled, None, 3).await.unwrap());
    assert_eq!(works(&store).await, 1);
    // Nor does a request leave its work behind, however it goes.
    let forget = move |transaction: &mut crate::sql::Transaction<'_>| {
        transaction.execute("DELETE FROM requests WHERE seq = ?1", values![waits.number()])
    };
    store.write(forget).await.unwrap();
    assert_eq!(works(&store).await, 0);
}

async fn what_is_left_of_a_dead_process_is_taken_over_with_what_is_needed(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    let cut = alice.accept_request(accepted("cut", 1)).await.unwrap();
    let waits = alice.accept_request(accepted("waits", 1)).await.unwrap();
    begin(&alice, "cut", cut, 2).await;
    assert!(store.ask_to_cancel(waits, 2).await.unwrap());
    assert!(store.take_abandoned().await.unwrap().is_empty());
    let dies = |transaction: &mut crate::sql::Transaction<'_>| {
        transaction.execute("UPDATE requests SET owner = '1:1:another boot'", &[])?;
        transaction.execute("UPDATE turns SET owner = '1:1:another boot'", &[])
    };
    store.write(dies).await.unwrap();

    let mut left = database.open().take_abandoned().await.unwrap();
    left.sort_by_key(|it| it.request.seq);
    assert_eq!(left.iter().map(|it| it.is_cancelled).collect::<Vec<_>>(), [false, true]);
    let left: Vec<_> = left
        .iter()
        .map(|it| (it.request.id.as_str(), it.work.as_deref(), it.webhook_url.as_deref()))
        .collect();
    let waits = ("waits", Some("the work of waits"), Some("https://example.com/waits"));
    assert_eq!(left, [("cut", None, Some("https://example.com/cut")), waits]);
    assert!(alice.end_request(cut, Outcome::Interrupted, None, 3).await.unwrap());
    let cut = alice.request(&"cut".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        (cut.status, cut.error_code),
        (RequestStatus::Failed, Some(ErrorCode::ServiceUnavailable))
    );
    // Nobody knows what its model had used by then.
    assert_eq!((cut.agent.as_deref(), cut.tokens), (Some("helper"), None));
}

async fn a_request_tells_its_times_its_agent_and_what_it_used(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    let told = async || store.all_requests(1).await.unwrap().remove(0);
    let seq = alice.accept_request(accepted("r", 1)).await.unwrap();
    let pending = told().await;
    assert_eq!((pending.started_ms, pending.agent, pending.tokens), (None, None, None));
    let turn = begin(&alice, "r", seq, 5).await;
    let running = told().await;
    assert_eq!((running.started_ms, running.tokens), (Some(5), None));
    assert_eq!(running.agent.as_deref(), Some("helper"));
    alice.end_turn(turn.id, answer(failed("HTTP 500"), "", 9)).await.unwrap();
    let ended = told().await;
    let times = (ended.created_ms, ended.started_ms, ended.ended_ms);
    assert_eq!(times, (1, Some(5), Some(9)));
    assert_eq!(ended.tokens, Some(Tokens { prompt: 3, completion: 2 }));
    let error = (ended.error.as_deref(), ended.error_code);
    assert_eq!(error, (Some("HTTP 500"), Some(ErrorCode::LlmError)));
    say(&alice, "s", "hi", "hello", 10).await;
    let completed = told().await;
    assert_eq!((completed.started_ms, completed.error_code), (Some(10), None));
    // What was said is gone, and with it who said it.
    alice.delete_session(&session("s")).await.unwrap();
    let forgotten = told().await;
    assert_eq!((forgotten.started_ms, forgotten.agent, forgotten.tokens), (Some(10), None, None));
}

async fn a_request_has_one_end_and_its_user_gives_it(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    let seq = alice.accept_request(accepted("r", 1)).await.unwrap();
    assert!(!bob.end_request(seq, Outcome::Cancelled, None, 2).await.unwrap());
    assert!(alice.end_request(seq, failed("too late"), None, 3).await.unwrap());
    assert!(!alice.end_request(seq, Outcome::Cancelled, None, 4).await.unwrap());
    let ended = alice.request(&"r".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.ended_ms), (RequestStatus::Failed, Some(3)));
}

/// The file has one thread, where nothing may look at each row there is.
#[tokio::test]
async fn what_is_asked_for_each_message_has_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = on_disk(&folder);
    let plan = async |sql: &'static str, values: usize| {
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        let steps = store.read(move |transaction| {
            transaction.all(&sql, &vec![crate::sql::Value::Null; values], |row| row.get(3))
        });
        let steps: Vec<String> = steps.await.unwrap();
        steps.join("; ")
    };
    let recent = plan(crate::transcript::RECENT_DURATIONS, 3).await;
    assert_eq!(recent, "SEARCH turns USING INDEX turns_completed (agent=?)");
    let keys = plan(crate::artifacts::KEYS, 0).await;
    assert_eq!(keys.matches("SEARCH artifacts USING COVERING INDEX artifacts_by_key").count(), 2);
}
