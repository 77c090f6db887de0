//! A task is worked on by one process at a time, and what came of it is known to its user.

use super::*;

promises![
    a_due_task_is_claimed_once_and_put_back_and_settled,
    a_task_of_a_dead_process_is_due_again,
    a_cancelled_task_is_told_to_who_works_on_it,
    tasks_are_bounded_and_their_lines_are_kept_for_their_user,
    the_bound_is_of_a_kind_and_of_a_user_or_of_all,
    a_session_is_told_of_an_end_exactly_once,
];

fn task(id: &str, next_ms: i64) -> NewTask {
    NewTask {
        id: id.to_owned(),
        kind: if id.starts_with("watch") { TaskKind::Watch } else { TaskKind::Code },
        session: session("s"),
        request_id: "r1".parse().unwrap(),
        label: "the build".to_owned(),
        spec_json: "{}".to_owned(),
        next_ms,
        at_ms: 1,
    }
}

async fn claimed(store: &Store, kind: TaskKind, now_ms: i64) -> Vec<String> {
    let claimed = store.claim_tasks(kind, now_ms, 10).await.unwrap();
    claimed.into_iter().map(|it| it.id).collect()
}

async fn a_due_task_is_claimed_once_and_put_back_and_settled(database: &Database) {
    let (first, second) = (database.open(), database.open());
    let alice = first.for_user(&user("a"));
    for (id, next_ms) in [("watch_1", 100), ("watch_2", 200), ("code_1", 100)] {
        assert!(alice.create_task(task(id, next_ms), OpenMax::OfUser(10)).await.unwrap());
    }
    assert_eq!(first.next_task_ms(TaskKind::Watch).await.unwrap(), Some(100));
    assert!(claimed(&first, TaskKind::Watch, 99).await.is_empty());
    assert_eq!(claimed(&first, TaskKind::Watch, 100).await, ["watch_1"]);
    assert!(claimed(&second, TaskKind::Watch, 100).await.is_empty());
    assert_eq!(second.next_task_ms(TaskKind::Watch).await.unwrap(), Some(200));
    let running = alice.task("watch_1").await.unwrap().unwrap();
    assert_eq!((running.state, running.failures), (TaskState::Running, 0));
    assert!(first.put_task_back("watch_1", 150, 2, 110).await.unwrap());
    // Who has not claimed it cannot say what came of it.
    assert!(!first.settle_task("watch_1", TaskEnd::Failed, None, 120).await.unwrap());
    let again = second.claim_tasks(TaskKind::Watch, 150, 10).await.unwrap();
    assert_eq!((again.len(), again[0].failures), (1, 2));
    let result = Some("green".to_owned());
    assert!(second.settle_task("watch_1", TaskEnd::Completed, result, 160).await.unwrap());
    let ended = alice.task("watch_1").await.unwrap().unwrap();
    assert_eq!((ended.state, ended.ended_ms), (TaskState::Completed, Some(160)));
    assert_eq!(ended.result.as_deref(), Some("green"));
    assert!(!alice.cancel_task("watch_1", 170).await.unwrap());
    assert_eq!(claimed(&first, TaskKind::Code, 100).await, ["code_1"]);
}

async fn a_task_of_a_dead_process_is_due_again(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    alice.create_task(task("code_1", 1), OpenMax::OfUser(10)).await.unwrap();
    assert_eq!(claimed(&store, TaskKind::Code, 1).await, ["code_1"]);
    assert_eq!(store.free_tasks(2).await.unwrap(), 0);
    let dies = |transaction: &mut crate::sql::Transaction<'_>| {
        transaction.execute("UPDATE tasks SET owner = '1:1:another boot'", &[])
    };
    store.write(dies).await.unwrap();
    let next = database.open();
    assert_eq!(next.free_tasks(3).await.unwrap(), 1);
    assert_eq!(claimed(&next, TaskKind::Code, 3).await, ["code_1"]);
}

async fn a_cancelled_task_is_told_to_who_works_on_it(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    alice.create_task(task("code_1", 1), OpenMax::OfUser(10)).await.unwrap();
    claimed(&store, TaskKind::Code, 1).await;
    assert!(!bob.cancel_task("code_1", 2).await.unwrap());
    assert!(store.cancelled_tasks().await.unwrap().is_empty());
    assert!(alice.cancel_task("code_1", 2).await.unwrap());
    assert!(!alice.cancel_task("code_1", 3).await.unwrap());
    assert_eq!(store.cancelled_tasks().await.unwrap(), ["code_1"]);
    assert!(!store.settle_task("code_1", TaskEnd::Completed, None, 4).await.unwrap());
    assert!(store.cancelled_tasks().await.unwrap().is_empty());
    let task = alice.task("code_1").await.unwrap().unwrap();
    assert_eq!((task.state, task.ended_ms), (TaskState::Cancelled, Some(2)));
    assert!(claimed(&store, TaskKind::Code, 100).await.is_empty());
}

async fn tasks_are_bounded_and_their_lines_are_kept_for_their_user(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    assert!(alice.create_task(task("code_1", 1), OpenMax::OfUser(1)).await.unwrap());
    assert!(!alice.create_task(task("code_2", 1), OpenMax::OfUser(1)).await.unwrap());
    assert!(bob.create_task(task("code_3", 1), OpenMax::OfUser(1)).await.unwrap());
    assert_eq!(alice.tasks(10).await.unwrap().len(), 1);
    assert_eq!(bob.task("code_1").await.unwrap(), None);

    let lines = |from: usize, to| (from..to).map(|line| format!("line {line}")).collect();
    store.note_task_lines("code_1", lines(0, 1_500), 2).await.unwrap();
    store.note_task_lines("code_1", lines(1_500, 2_100), 3).await.unwrap();
    store.note_task_lines("code_9", lines(0, 1), 3).await.unwrap();
    let kept = alice.task_lines("code_1", 0, 5_000).await.unwrap();
    assert_eq!((kept.len(), kept[0].text.as_str()), (2_000, "line 100"));
    let next = alice.task_lines("code_1", kept[0].seq, 2).await.unwrap();
    assert_eq!(
        next.iter().map(|it| it.text.as_str()).collect::<Vec<_>>(),
        ["line 101", "line 102"]
    );
    assert!(bob.task_lines("code_1", 0, 10).await.unwrap().is_empty());

    assert!(alice.cancel_task("code_1", 5).await.unwrap());
    // Ended long ago by the clock of the database.
    store.forget_requests(0).await.unwrap();
    assert_eq!(alice.task("code_1").await.unwrap(), None);
    assert!(alice.task_lines("code_1", 0, 10).await.unwrap().is_empty());
    assert!(bob.task("code_3").await.unwrap().is_some());
}

async fn the_bound_is_of_a_kind_and_of_a_user_or_of_all(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("a")), store.for_user(&user("b")));
    let (one, two) = (OpenMax::OfFormation(1), OpenMax::OfFormation(2));
    assert!(alice.create_task(task("code_1", 1), one).await.unwrap());
    assert!(!bob.create_task(task("code_2", 1), one).await.unwrap());
    assert!(bob.create_task(task("code_2", 1), two).await.unwrap());
    // Another kind has a bound of its own.
    assert!(alice.create_task(task("watch_1", 1), OpenMax::OfUser(1)).await.unwrap());
    assert!(alice.cancel_task("code_1", 2).await.unwrap());
    assert!(alice.create_task(task("code_3", 1), two).await.unwrap());
}

async fn a_session_is_told_of_an_end_exactly_once(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    for id in ["code_1", "code_2"] {
        alice.create_task(task(id, 1), OpenMax::OfUser(9)).await.unwrap();
    }
    assert_eq!(claimed(&store, TaskKind::Code, 1).await.len(), 2);
    let request = |id: &str| NewRequest {
        id: id.parse().unwrap(),
        session: session("s"),
        kind: RequestKind::Delegation,
        work: "{}".to_owned(),
        webhook_url: None,
        at_ms: 7,
    };
    let told = |task: &'static str| {
        let result = Some("green".to_owned());
        let request = request(&format!("req_{task}"));
        alice.settle_task_and_tell(task, TaskEnd::Completed, result, request)
    };
    assert!(told("code_1").await.unwrap().is_some());
    assert!(told("code_1").await.unwrap().is_none());
    assert!(alice.cancel_task("code_2", 6).await.unwrap());
    assert!(told("code_2").await.unwrap().is_none(), "nobody hears of what was cancelled");
    let requests = alice.requests(10).await.unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        (requests[0].id.as_str(), requests[0].kind),
        ("req_code_1", RequestKind::Delegation)
    );
    let ended = alice.task("code_1").await.unwrap().unwrap();
    assert_eq!((ended.state, ended.result.as_deref()), (TaskState::Completed, Some("green")));
}
