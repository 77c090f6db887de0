use muxi_contract::formation::usage::GroupBy;
use muxi_contract::{RequestId, SessionId, UserId};
use rusqlite::Connection;

use super::*;
use crate::sql::values;

/// One of the two databases, empty.
enum Database {
    File(tempfile::TempDir),
    Server { url: String, schema: String },
}

impl Database {
    fn open(&self) -> Store {
        match self {
            Self::File(folder) => on_disk(folder),
            Self::Server { url, schema } => {
                let (url, schema) = (url.clone().into(), schema.clone());
                Store::open(&Location::Postgres { url, schema }).unwrap()
            }
        }
    }
}

/// Each promise is kept by the file and by the server.
macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod in_a_file {
            $(
                #[tokio::test]
                async fn $promise() {
                    super::$promise(&super::Database::File(tempfile::tempdir().unwrap())).await;
                }
            )*
        }

        #[tokio::test]
        async fn a_server_keeps_the_same_promises() {
            let server = muxi_testkit::postgres::Postgres::start();
            $(
                let (url, schema) = (server.url(), stringify!($promise).to_owned());
                $promise(&Database::Server { url, schema }).await;
            )*
        }
    };
}

mod artifacts;
mod credentials;
mod isolation;
mod jobs;
mod memories;
mod pending;
mod people;
mod progress;
mod requests;
mod tasks;

promises![
    what_was_said_is_there_after_a_restart,
    users_never_see_each_other_even_under_the_same_session_id,
    turns_of_one_session_never_interleave,
    a_broken_turn_keeps_the_text_that_there_was_and_its_first_end,
    pages_run_from_the_newest_to_the_oldest,
    turns_of_a_dead_process_are_interrupted_and_those_of_a_living_one_run_on,
    two_processes_may_write_at_once,
    what_was_used_is_summed_up_by_whom_and_what,
    recent_durations_are_those_of_answers_that_were_given_here,
    what_is_known_of_files_stays_with_their_question,
    words_of_others_stay_known_for_as_long_as_something_goes_on_from_them,
    what_was_said_goes_by_its_age_and_what_runs_stays,
    acts_of_operators_are_remembered_with_what_came_of_them,
];

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn session(name: &str) -> SessionId {
    name.parse().unwrap()
}

fn question(session_name: &str, text: &str, at_ms: i64) -> NewTurn {
    NewTurn {
        session: session(session_name),
        request_id: RequestId::generate(),
        agent: "helper".to_owned(),
        text: text.to_owned(),
        files: None,
        is_tainted: false,
        kind: RequestKind::Chat,
        mode: RequestMode::Sync,
        accepted: None,
        at_ms,
    }
}

fn answer(outcome: Outcome, text: &str, at_ms: i64) -> TurnEnd {
    TurnEnd {
        outcome,
        text: text.to_owned(),
        prompt_tokens: 3,
        completion_tokens: 2,
        usage: vec![ModelCall {
            agent: "expert".to_owned(),
            model: "fake/model".to_owned(),
            prompt_tokens: 3,
            completion_tokens: 2,
            cost_nano: Some(7),
            is_estimated: false,
            at_ms,
        }],
        warnings: None,
        delivery: None,
        original_delivery: None,
        agent: None,
        is_tainted: false,
        decisions: Vec::new(),
        at_ms,
    }
}

async fn say(store: &UserStore, session: &str, text: &str, reply: &str, at_ms: i64) {
    let turn = store.begin_turn(question(session, text, at_ms), 10).await.unwrap();
    store.end_turn(turn.id, answer(Outcome::Completed, reply, at_ms + 1)).await.unwrap();
}

fn failed(error: &str) -> Outcome {
    Outcome::Failed { error: error.to_owned(), code: ErrorCode::LlmError }
}

fn texts(page: &Page) -> Vec<&str> {
    page.messages.iter().map(|message| message.text.as_str()).collect()
}

fn on_disk(folder: &tempfile::TempDir) -> Store {
    Store::open(&Location::Folder(folder.path().to_owned())).unwrap()
}

async fn what_was_said_is_there_after_a_restart(database: &Database) {
    say(&database.open().for_user(&user("a")), "s", "hi", "hello", 10).await;

    let store = database.open().for_user(&user("a"));
    let turn = store.begin_turn(question("s", "again", 20), 10).await.unwrap();
    let history: Vec<_> =
        turn.history.iter().map(|it| (it.role.as_str(), it.text.as_str())).collect();
    assert_eq!(history, [("user", "hi"), ("assistant", "hello")]);
    let sessions = store.sessions(10, None).await.unwrap();
    assert_eq!(sessions[0].message_count, 3);
    assert_eq!((sessions[0].created_ms, sessions[0].last_activity_ms), (10, 20));
}

async fn users_never_see_each_other_even_under_the_same_session_id(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("alice")), store.for_user(&user("bob")));
    say(&alice, "s", "secret", "noted", 10).await;

    assert_eq!(bob.session(&session("s")).await.unwrap(), None);
    assert!(bob.messages(&session("s"), 10, None).await.unwrap().messages.is_empty());
    let turn = bob.begin_turn(question("s", "what did I say?", 20), 10).await.unwrap();
    assert!(turn.history.is_empty());
    // Nor can a turn of one be ended by the other.
    alice.end_turn(turn.id, answer(Outcome::Completed, "forged", 21)).await.unwrap();
    assert_eq!(texts(&bob.messages(&session("s"), 10, None).await.unwrap()), ["what did I say?"]);
    assert_eq!(store.counts().await.unwrap(), Counts { sessions: 2, messages: 3 });
}

async fn turns_of_one_session_never_interleave(database: &Database) {
    let store = database.open().for_user(&user("a"));
    let first = store.begin_turn(question("s", "q1", 1), 10).await.unwrap();
    let second = store.begin_turn(question("s", "q2", 2), 10).await.unwrap();
    store.end_turn(second.id, answer(Outcome::Completed, "a2", 3)).await.unwrap();
    store.end_turn(first.id, answer(Outcome::Completed, "a1", 4)).await.unwrap();
    let page = store.messages(&session("s"), 10, None).await.unwrap();
    assert_eq!(texts(&page), ["q1", "a1", "q2", "a2"]);
}

async fn a_broken_turn_keeps_the_text_that_there_was_and_its_first_end(database: &Database) {
    let store = database.open().for_user(&user("a"));
    let turn = store.begin_turn(question("s", "tell", 1), 10).await.unwrap();
    store.end_turn(turn.id, answer(Outcome::Cancelled, "Once upon", 2)).await.unwrap();
    store.end_turn(turn.id, answer(Outcome::Completed, "too late", 3)).await.unwrap();
    let silent = store.begin_turn(question("s", "more", 4), 10).await.unwrap();
    store.end_turn(silent.id, answer(failed("no provider"), "", 5)).await.unwrap();

    let page = store.messages(&session("s"), 10, None).await.unwrap();
    assert_eq!(texts(&page), ["tell", "Once upon", "more"]);
    let statuses: Vec<_> = page.messages.iter().map(|it| it.status.as_str()).collect();
    assert_eq!(statuses, ["cancelled", "cancelled", "failed"]);
    // The caller of the failed turn will ask again, so the model need not read it twice.
    let next = store.begin_turn(question("s", "more", 6), 10).await.unwrap();
    let texts: Vec<_> = next.history.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(texts, ["tell", "Once upon"]);
}

async fn pages_run_from_the_newest_to_the_oldest(database: &Database) {
    let store = database.open().for_user(&user("a"));
    for turn in 0..3 {
        say(&store, "s", &format!("q{turn}"), &format!("a{turn}"), turn * 10).await;
    }
    let newest = store.messages(&session("s"), 4, None).await.unwrap();
    assert_eq!((texts(&newest), newest.has_more), (vec!["q1", "a1", "q2", "a2"], true));
    let before = Some(Before::Seq(newest.messages[0].seq));
    let oldest = store.messages(&session("s"), 4, before).await.unwrap();
    assert_eq!((texts(&oldest), oldest.has_more), (vec!["q0", "a0"], false));
    let early = store.messages(&session("s"), 4, Some(Before::TimeMs(10))).await.unwrap();
    assert_eq!(texts(&early), ["q0", "a0"]);
}

async fn turns_of_a_dead_process_are_interrupted_and_those_of_a_living_one_run_on(
    database: &Database,
) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    let mine = alice.begin_turn(question("s", "mine", 1), 10).await.unwrap();
    alice.begin_turn(question("s", "orphan", 2), 10).await.unwrap();
    let orphaned = mine.id.seq();
    store
        .write(move |transaction| {
            transaction.execute(
                "UPDATE turns SET owner = '1:1:another boot' WHERE seq <> ?1",
                values![orphaned],
            )
        })
        .await
        .unwrap();

    let second = database.open().for_user(&user("a"));
    let page = second.messages(&session("s"), 10, None).await.unwrap();
    let statuses: Vec<_> = page.messages.iter().map(|it| it.status.as_str()).collect();
    assert_eq!(statuses, ["running", "interrupted"]);
}

#[tokio::test]
async fn a_foreign_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join(DATABASE_FILE);
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE memories (id)").unwrap();
    let before = std::fs::read(&foreign).unwrap();

    let store = on_disk(&folder);
    say(&store.for_user(&user("a")), "s", "hi", "hello", 1).await;
    let placed = store.placed().unwrap();
    assert_eq!(placed.file, folder.path().join(DATABASE_FILE_BESIDE_FOREIGN));
    assert_eq!(placed.foreign.as_deref(), Some(foreign.as_path()));
    assert_eq!(std::fs::read(&foreign).unwrap(), before);
    let names = std::fs::read_dir(folder.path()).unwrap();
    let beside: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("memory.db"))
        .collect();
    assert_eq!(beside, [DATABASE_FILE]);

    std::fs::write(&foreign, "not a database, but somebody's").unwrap();
    assert!(on_disk(&folder).placed().unwrap().foreign.is_some());
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(on_disk(&folder));
    let path = folder.path().join(DATABASE_FILE);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&Location::Folder(folder.path().to_owned())).unwrap_err();
    assert!(matches!(error, OpenError::Migrate(MigrationError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn a_memory_without_a_disk_is_bounded() {
    let retention = Retention { messages_per_session: 4, sessions: 2, memories: 2 };
    let store = Store::open(&Location::Process(retention)).unwrap();
    assert_eq!(store.placed(), None);
    let alice = store.for_user(&user("a"));
    for turn in 0..5 {
        say(&alice, "s", &format!("q{turn}"), &format!("a{turn}"), turn * 10).await;
    }
    let page = alice.messages(&session("s"), 100, None).await.unwrap();
    assert_eq!(texts(&page), ["q3", "a3", "q4", "a4"]);
    for (at, other) in (100..).zip(["t", "u", "v"]) {
        say(&alice, other, "q", "a", at).await;
    }
    let ids: Vec<_> = alice.sessions(10, None).await.unwrap();
    let ids: Vec<_> = ids.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["v", "u"]);
}

async fn two_processes_may_write_at_once(database: &Database) {
    let stores = [database.open(), database.open()];
    let writers = (0..20).map(|turn: i64| {
        let store = stores[usize::try_from(turn % 2).unwrap()].for_user(&user("a"));
        async move { say(&store, &format!("s{turn}"), "q", "a", turn).await }
    });
    futures_util::future::join_all(writers).await;
    let counts = Counts { sessions: 20, messages: 40 };
    assert_eq!(stores[0].counts().await.unwrap(), counts);
}

#[tokio::test]
async fn a_dead_thread_is_told_and_nobody_waits_for_it() {
    let store = Store::open(&Location::Process(Retention {
        messages_per_session: 1,
        sessions: 1,
        memories: 1,
    }))
    .unwrap();
    let deadly = store.read(|_| -> Result<(), DatabaseError> { panic!("a test kills the thread") });
    assert!(matches!(deadly.await, Err(StoreError::Gone)));
    assert!(matches!(store.ping().await, Err(StoreError::Gone)));
}

async fn what_was_used_is_summed_up_by_whom_and_what(database: &Database) {
    let store = database.open();
    for (name, session, at_ms) in [("a", "s", 10), ("a", "t", 20), ("b", "s", 30)] {
        say(&store.for_user(&user(name)), session, "q", "a", at_ms).await;
    }
    let all = store.spent(UsageFilter::default()).await.unwrap();
    assert_eq!((all.calls, all.prompt_tokens, all.completion_tokens, all.cost_nano), (3, 9, 6, 21));
    let of_a = UsageFilter { user: Some(user("a")), from_ms: Some(15), to_ms: Some(25) };
    assert_eq!(store.spent(of_a).await.unwrap().calls, 1);
    let by_user = store.spent_by(UsageFilter::default(), GroupBy::User, 10).await.unwrap();
    let calls: Vec<_> = by_user.iter().map(|(name, spent)| (name.as_str(), spent.calls)).collect();
    assert_eq!(calls, [("a", 2), ("b", 1)]);
    // What was paid for is known when the conversation is forgotten.
    store.clear_all_sessions().await.unwrap();
    assert_eq!(store.spent(UsageFilter::default()).await.unwrap(), all);
}

async fn acts_of_operators_are_remembered_with_what_came_of_them(database: &Database) {
    let act = |action, resource_type, id: Option<&str>, at_ms| NewAuditEntry {
        action,
        resource_type,
        resource_id: id.map(str::to_owned),
        request_id: RequestId::generate(),
        at_ms,
    };
    let store = database.open();
    let created = act("secret.created", "secret", Some("A"), 10);
    let done = store.begin_audit(created, 100).await.unwrap();
    store.end_audit(done, Ok(())).await.unwrap();
    let again = act("secret.created", "secret", Some("A"), 20);
    let failed = store.begin_audit(again, 100).await.unwrap();
    store.end_audit(failed, Err("SECRET_EXISTS".to_owned())).await.unwrap();
    store.begin_audit(act("memory.cleared", "memory", None, 30), 100).await.unwrap();
    drop(store);

    let store = database.open();
    let all = store.audit(AuditFilter::default(), 2).await.unwrap();
    let outcomes: Vec<_> = all.entries.iter().map(|it| (it.at_ms, it.outcome.as_str())).collect();
    assert_eq!((all.total, outcomes), (3, vec![(30, "pending"), (20, "failed")]));
    assert_eq!(all.entries[1].error.as_deref(), Some("SECRET_EXISTS"));
    let fitting = |action: Option<&str>, resource_type: Option<&str>, since_ms| {
        let (action, resource_type) = (action.map(str::to_owned), resource_type.map(str::to_owned));
        store.audit(AuditFilter { action, resource_type, since_ms }, 100)
    };
    assert_eq!(fitting(Some("secret.created"), None, Some(11)).await.unwrap().total, 1);
    assert_eq!(fitting(None, Some("memory"), None).await.unwrap().total, 1);
    assert_eq!(fitting(Some("secret.created"), Some("memory"), None).await.unwrap().total, 0);

    let cleared = act("audit.cleared", "audit_log", None, 40);
    assert_eq!(store.clear_audit(cleared).await.unwrap(), 3);
    let left = store.audit(AuditFilter::default(), 100).await.unwrap();
    assert_eq!((left.total, left.entries[0].action.as_str()), (1, "audit.cleared"));
    for at_ms in 50..55 {
        store.begin_audit(act("secret.updated", "secret", None, at_ms), 2).await.unwrap();
    }
    assert_eq!(store.audit(AuditFilter::default(), 100).await.unwrap().total, 2);
}

async fn recent_durations_are_those_of_answers_that_were_given_here(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    for (begin, took) in [(10, 5), (20, 7), (30, 9)] {
        let turn = alice.begin_turn(question("s", "hi", begin), 10).await.unwrap();
        alice.end_turn(turn.id, answer(Outcome::Completed, "x", begin + took)).await.unwrap();
    }
    let broken = alice.begin_turn(question("s", "hi", 40), 10).await.unwrap();
    alice.end_turn(broken.id, answer(failed("HTTP 500"), "", 99)).await.unwrap();
    let said = |role, text: &str| RestoredMessage {
        role,
        text: text.to_owned(),
        agent: "helper".to_owned(),
        at_ms: 50,
    };
    let restored = vec![said(Role::User, "hi"), said(Role::Assistant, "x")];
    alice.restore_session(&session("r"), restored).await.unwrap().unwrap();
    assert_eq!(store.recent_durations_ms("helper", 2).await.unwrap(), [9, 7]);
    assert!(store.recent_durations_ms("other", 2).await.unwrap().is_empty());
}

async fn what_is_known_of_files_stays_with_their_question(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    let asked = NewTurn { files: Some("[1]".to_owned()), ..question("s", "", 10) };
    let turn = alice.begin_turn(asked, 10).await.unwrap();
    store.for_user(&user("b")).hear_question(turn.id, "not hers".to_owned()).await.unwrap();
    alice.hear_question(turn.id, "heard".to_owned()).await.unwrap();
    alice.end_turn(turn.id, answer(Outcome::Completed, "x", 11)).await.unwrap();
    let page = alice.messages(&session("s"), 10, None).await.unwrap();
    let read: Vec<_> =
        page.messages.iter().map(|it| (it.text.as_str(), it.files.as_deref())).collect();
    assert_eq!(read, [("heard", Some("[1]")), ("x", None)]);
    let next = alice.begin_turn(question("s", "more", 12), 10).await.unwrap();
    assert_eq!(next.history[0].files.as_deref(), Some("[1]"));
}

async fn words_of_others_stay_known_for_as_long_as_something_goes_on_from_them(
    database: &Database,
) {
    let alice = database.open().for_user(&user("a"));
    // Of its history only the last exchange, so that a taint must go on from turn to turn.
    let turn = async |session: &str, brings: bool, reads: bool, at_ms: i64| {
        let asked = NewTurn { is_tainted: brings, ..question(session, "hi", at_ms) };
        let begun = alice.begin_turn(asked, 2).await.unwrap();
        let end = TurnEnd { is_tainted: reads, ..answer(Outcome::Completed, "x", at_ms + 1) };
        alice.end_turn(begun.id, end).await.unwrap();
        begun.is_tainted
    };
    assert!(!turn("clean", false, false, 1).await && !turn("clean", false, false, 3).await);
    assert!(turn("brought", true, false, 5).await && turn("brought", false, false, 7).await);
    assert!(!turn("read", false, true, 9).await);
    for at_ms in [11, 13, 15] {
        assert!(turn("read", false, false, at_ms).await, "{at_ms}");
    }
    let past = alice.past(10, None, Some(10)).await.unwrap();
    let past: Vec<_> = past
        .iter()
        .filter_map(|it| match it {
            Past::Turn(turn) => Some((turn.session.as_str(), turn.is_tainted)),
            Past::Memory(_) => None,
        })
        .collect();
    let expected =
        [("read", true), ("brought", true), ("brought", true), ("clean", false), ("clean", false)];
    assert_eq!(past, expected);
    // What others kept and put back is not known.
    let said =
        RestoredMessage { role: Role::User, text: "hi".into(), agent: "x".into(), at_ms: 50 };
    alice.restore_session(&session("back"), vec![said]).await.unwrap().unwrap();
    assert!(turn("back", false, false, 60).await);
}

async fn what_was_said_goes_by_its_age_and_what_runs_stays(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("a"));
    for (name, at_ms) in [("old", 10), ("both", 10), ("both", 30)] {
        say(&alice, name, &format!("at {at_ms}"), "a", at_ms).await;
    }
    alice.begin_turn(question("running", "wait", 10), 10).await.unwrap();
    let mut gone = 0;
    loop {
        match store.forget_turns(20, 1).await.unwrap() {
            0 => break,
            turns => gone += turns,
        }
    }
    assert_eq!(gone, 2);
    assert_eq!(alice.session(&session("old")).await.unwrap(), None);
    let left = alice.messages(&session("both"), 10, None).await.unwrap();
    assert_eq!(texts(&left), ["at 30", "a"]);
    let running = alice.messages(&session("running"), 10, None).await.unwrap();
    assert_eq!(texts(&running), ["wait"]);
    // What was paid for is known all the same.
    assert_eq!(store.spent(UsageFilter::default()).await.unwrap().calls, 3);
}
