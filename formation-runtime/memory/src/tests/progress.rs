//! What a request decided, did and offered is there for those who go on with it.

use super::*;

promises![
    decisions_are_told_in_their_order_and_bounded,
    calls_of_a_request_are_listed,
    parts_that_are_done_are_known_to_the_process_that_takes_over,
    a_widget_is_answered_once_and_not_when_it_is_stale,
    skills_are_active_in_their_session,
    tokens_are_of_a_user_or_of_the_formation,
];

fn decision(step: &str, at_ms: i64) -> Decision {
    Decision {
        step: step.to_owned(),
        choice: "expert".to_owned(),
        reason: "it fits".to_owned(),
        detail_json: Some("{}".to_owned()),
        at_ms,
    }
}

async fn decisions_are_told_in_their_order_and_bounded(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    let turn = alice.begin_turn(question("s", "hi", 1), 10).await.unwrap();
    let long = Decision {
        reason: "ä".repeat(5_000),
        detail_json: Some("x".repeat(9_000)),
        ..decision("tool", 2)
    };
    alice.note_progress(turn.id, vec![decision("routing", 1), long], Vec::new()).await.unwrap();
    bob.note_progress(turn.id, vec![decision("forged", 1)], Vec::new()).await.unwrap();
    let end =
        TurnEnd { decisions: vec![decision("synthesis", 3)], ..answer(Outcome::Completed, "x", 4) };
    alice.end_turn(turn.id, end).await.unwrap();
    let told = alice.decisions(turn.request).await.unwrap();
    let steps: Vec<_> = told.iter().map(|it| it.step.as_str()).collect();
    assert_eq!(steps, ["routing", "tool", "synthesis"]);
    assert_eq!((told[1].reason.chars().count(), &told[1].detail_json), (1_000, &None));
    assert!(bob.decisions(turn.request).await.unwrap().is_empty());

    let many = (0..500).map(|at_ms| decision("tool", at_ms)).collect();
    alice.note_progress(turn.id, many, Vec::new()).await.unwrap();
    assert_eq!(alice.decisions(turn.request).await.unwrap().len(), 200);
    store.forget_requests(i64::MAX).await.unwrap();
    assert!(alice.decisions(turn.request).await.unwrap().is_empty());
}

async fn calls_of_a_request_are_listed(database: &Database) {
    let alice = database.open().for_user(&user("a"));
    let asked = question("s", "hi", 1);
    let id = asked.request_id.clone();
    let turn = alice.begin_turn(asked, 10).await.unwrap();
    alice.end_turn(turn.id, answer(Outcome::Completed, "x", 2)).await.unwrap();
    let calls = alice.calls_of(&id, 1).await.unwrap();
    assert_eq!((calls.len(), calls[0].agent.as_str()), (1, "expert"));
    assert_eq!(calls[0].model, "fake/model");
    assert!(alice.calls_of(&id, 3).await.unwrap().is_empty());
}

fn result(task: &str, status: TaskResultStatus, at_ms: i64) -> TaskResult {
    TaskResult { task: task.to_owned(), status, text: format!("{task} at {at_ms}"), at_ms }
}

async fn parts_that_are_done_are_known_to_the_process_that_takes_over(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    let accepted = NewRequest {
        id: "r1".parse().unwrap(),
        session: session("s"),
        kind: RequestKind::Chat,
        work: "begin".to_owned(),
        webhook_url: None,
        at_ms: 1,
    };
    let seq = alice.accept_request(accepted).await.unwrap();
    let request_id: RequestId = "r1".parse().unwrap();
    let asked = || NewTurn {
        request_id: request_id.clone(),
        accepted: Some(seq),
        ..question("s", "do it", 2)
    };
    alice.begin_turn(asked(), 10).await.unwrap();
    let (done, failed) = (TaskResultStatus::Completed, TaskResultStatus::Failed);
    let plan = |at_ms| TaskResult { text: format!("plan {at_ms}"), ..result("@plan", done, at_ms) };
    alice.keep_plan(seq, "begin".to_owned(), plan(3), Vec::new()).await.unwrap();
    alice.keep_task_result(seq, result("old", done, 3)).await.unwrap();
    alice.keep_task_result(seq, result("b", done, 4)).await.unwrap();
    // Another plan, of which one task is done already.
    alice.keep_plan(seq, "go on".to_owned(), plan(9), vec![result("b", done, 9)]).await.unwrap();
    bob.keep_plan(seq, "forged".to_owned(), plan(10), Vec::new()).await.unwrap();
    alice.keep_task_result(seq, result("a", failed, 3)).await.unwrap();
    alice.keep_task_result(seq, result("a", done, 5)).await.unwrap();
    bob.keep_task_result(seq, result("c", done, 6)).await.unwrap();
    let dies = |transaction: &mut crate::sql::Transaction<'_>| {
        transaction.execute("UPDATE requests SET owner = '1:1:another boot'", &[])?;
        transaction.execute("UPDATE turns SET owner = '1:1:another boot'", &[])
    };
    store.write(dies).await.unwrap();

    let left = store.take_abandoned().await.unwrap();
    assert_eq!((left[0].work.as_deref(), left[0].deaths), (Some("go on"), 1));
    let results = alice.task_results(seq).await.unwrap();
    let b = TaskResult { text: "b at 9".to_owned(), ..result("b", done, 4) };
    assert_eq!(results, [b, result("a", done, 5), plan(9)]);
    assert!(bob.task_results(seq).await.unwrap().is_empty());
    // The question stands once, since nothing had been said to it.
    let turn = alice.begin_turn(asked(), 10).await.unwrap();
    assert!(turn.history.is_empty());
    alice.end_turn(turn.id, answer(Outcome::Completed, "done", 9)).await.unwrap();
    let page = alice.messages(&session("s"), 10, None).await.unwrap();
    assert_eq!(texts(&page), ["do it", "done"]);
    alice.keep_plan(seq, "too late".to_owned(), plan(9), Vec::new()).await.unwrap();
    assert!(store.take_abandoned().await.unwrap().is_empty());
}

async fn a_widget_is_answered_once_and_not_when_it_is_stale(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    for store in [&alice, &bob] {
        say(store, "s", "hi", "hello", 1).await;
    }
    let offer = async |id: &str, request: &str, at_ms| {
        let (session, request_id) = (session("s"), request.parse().unwrap());
        let options_json = format!("options of {id}");
        let new = NewWidget { id: id.to_owned(), session, request_id, options_json, at_ms };
        alice.offer_widget(new).await.unwrap();
    };
    let take = async |store: &UserStore, id: &str| {
        let taken = store.take_widget(&session("s"), id, 50).await.unwrap();
        taken.map(|it| it.options_json)
    };
    offer("ui_1", "r1", 10).await;
    offer("ui_2", "r2", 20).await;
    offer("ui_3", "r2", 21).await;
    assert_eq!(take(&bob, "ui_2").await, None);
    assert_eq!(take(&alice, "ui_1").await, None);
    assert_eq!(take(&alice, "ui_2").await.as_deref(), Some("options of ui_2"));
    assert_eq!(take(&alice, "ui_2").await, None);
    assert_eq!(take(&alice, "ui_3").await.as_deref(), Some("options of ui_3"));
    for number in 0..40 {
        offer(&format!("ui_m{number}"), "r3", 30 + number).await;
    }
    assert_eq!(take(&alice, "ui_m7").await, None);
    assert!(take(&alice, "ui_m8").await.is_some());
    alice.delete_session(&session("s")).await.unwrap();
    assert_eq!(take(&alice, "ui_m9").await, None);
}

async fn skills_are_active_in_their_session(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    for store in [&alice, &bob] {
        say(store, "s", "hi", "hello", 1).await;
    }
    assert!(alice.activate_skill(&session("s"), "pdf", 1).await.unwrap());
    assert!(alice.activate_skill(&session("s"), "csv", 2).await.unwrap());
    assert!(!alice.activate_skill(&session("s"), "pdf", 3).await.unwrap());
    assert_eq!(alice.active_skills(&session("s")).await.unwrap(), ["pdf", "csv"]);
    assert!(bob.active_skills(&session("s")).await.unwrap().is_empty());
    alice.delete_session(&session("s")).await.unwrap();
    assert!(alice.active_skills(&session("s")).await.unwrap().is_empty());
}

async fn tokens_are_of_a_user_or_of_the_formation(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    let token = |byte| SealedToken {
        sealed: vec![byte],
        sealed_by: "k".to_owned(),
        updated_ms: byte.into(),
    };
    alice.keep_tool_token("git", token(1)).await.unwrap();
    alice.keep_tool_token("git", token(2)).await.unwrap();
    store.keep_formation_token("git", token(3)).await.unwrap();
    assert_eq!(alice.tool_token("git").await.unwrap(), Some(token(2)));
    assert_eq!(bob.tool_token("git").await.unwrap(), None);
    assert_eq!(store.formation_token("git").await.unwrap(), Some(token(3)));
    assert!(!bob.delete_tool_token("git").await.unwrap());
    assert!(alice.delete_tool_token("git").await.unwrap());
    assert_eq!(store.formation_token("git").await.unwrap(), Some(token(3)));
    assert!(store.delete_formation_token("git").await.unwrap());
    assert_eq!(store.formation_token("git").await.unwrap(), None);
    // Nobody can be who stands for the formation.
    assert!("".parse::<UserId>().is_err() && " ".parse::<UserId>().is_err());
}
