//! Whatever users do, in whatever order and under whatever names they share, nothing of one is ever
//! in an answer to another.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

const NAMES: [&str; 3] = ["ann", "ben", "cat"];

/// What one of the users does with a name that the others use, too.
#[derive(Debug, Clone, Copy)]
enum Act {
    Say,
    Accept,
    Restore,
    Remember,
    Ingest,
    KeepCredential,
    MakeArtifact,
    DeleteSession,
    /// Of everything that anybody has.
    DeleteAllThatIsNamed,
}

fn acts() -> impl Strategy<Value = Vec<(usize, u8, Act)>> {
    let act = prop_oneof![
        4 => Just(Act::Say),
        1 => Just(Act::Accept),
        1 => Just(Act::Restore),
        2 => Just(Act::Remember),
        2 => Just(Act::Ingest),
        2 => Just(Act::KeepCredential),
        2 => Just(Act::MakeArtifact),
        1 => Just(Act::DeleteSession),
        1 => Just(Act::DeleteAllThatIsNamed),
    ];
    proptest::collection::vec((0..NAMES.len(), 0..3u8, act), 1..24)
}

/// Ids that a user knows of others, as if they had leaked.
#[derive(Debug, Default)]
struct Leaked {
    memories: Vec<(usize, String)>,
    credentials: Vec<(usize, String)>,
    artifacts: Vec<(usize, String)>,
}

async fn perform(
    store: &Store,
    (who, name, act): (usize, u8, Act),
    leaked: &mut Leaked,
    at_ms: i64,
) {
    let own = store.for_user(&user(NAMES[who]));
    let (id, text) = (format!("s{name}"), format!("<{}>", NAMES[who]));
    let request_id: RequestId = format!("r{name}").parse().unwrap();
    match act {
        Act::Say => {
            let asked = NewTurn { request_id, ..question(&id, &text, at_ms) };
            let turn = own.begin_turn(asked, 10).await.unwrap();
            let read = format!("{:?}", turn.history);
            assert_only_own(who, &read);
            own.end_turn(turn.id, answer(Outcome::Completed, &text, at_ms)).await.unwrap();
        }
        Act::Accept => {
            let (session, kind, work) = (session(&id), RequestKind::Chat, text);
            let new = NewRequest { id: request_id, session, kind, work, webhook_url: None, at_ms };
            own.accept_request(new).await.unwrap();
        }
        Act::Restore => {
            let agent = "helper".to_owned();
            let message = RestoredMessage { role: Role::User, text, agent, at_ms };
            own.restore_session(&session(&id), vec![message]).await.unwrap().ok();
        }
        Act::Remember | Act::Ingest => {
            let memory = muxi_contract::ids::nanoid();
            let brought = matches!(act, Act::Ingest).then(|| format!("i{name}"));
            let new = NewMemory {
                event_id: format!("evt_{memory}"),
                id: memory.clone(),
                scope: Scope::User,
                kind: "fact".to_owned(),
                content: text,
                metadata: "{}".to_owned(),
                source: brought.is_some().then(|| "crm".to_owned()),
                source_id: brought,
                subject: Some("Acme".to_owned()),
                happened_ms: None,
                at_ms,
            };
            own.remember(vec![new], 1_000, |_| None).await.unwrap().unwrap();
            leaked.memories.push((who, memory));
        }
        Act::KeepCredential => {
            let credential = format!("cred_{}", muxi_contract::ids::nanoid());
            let new = SealedCredential {
                id: credential.clone(),
                service: text,
                name: format!("c{name}"),
                sealed: vec![name],
                sealed_by: "k".to_owned(),
                created_ms: at_ms,
                updated_ms: at_ms,
            };
            if own.keep_credential(new, 1_000).await.unwrap().is_ok() {
                leaked.credentials.push((who, credential));
            }
        }
        Act::MakeArtifact => {
            let asked = NewTurn { request_id, ..question(&id, &text, at_ms) };
            let turn = own.begin_turn(asked, 10).await.unwrap();
            let artifact = format!("art_{}", muxi_contract::ids::nanoid());
            let new = NewArtifact {
                id: artifact.clone(),
                name: format!("a{name}"),
                content_type: "image/png".to_owned(),
                size_bytes: 1,
                sha256: text,
                sealed_by: None,
                agent: "helper".to_owned(),
                session: session(&id),
                turn: turn.id,
                at_ms,
            };
            let kept = own.keep_artifact(new, 1_000).await.unwrap().unwrap();
            assert_only_own(who, &format!("{kept:?}"));
            let made = own.artifacts_of(turn.request).await.unwrap();
            assert_eq!(made.len(), 1);
            leaked.artifacts.push((who, artifact));
        }
        Act::DeleteSession => {
            own.delete_session(&session(&id)).await.unwrap();
        }
        Act::DeleteAllThatIsNamed => {
            for (whose, memory) in &leaked.memories {
                assert!(!own.delete_memory(memory, false).await.unwrap() || *whose == who);
            }
            for (whose, credential) in &leaked.credentials {
                assert!(!own.delete_credential(credential).await.unwrap() || *whose == who);
            }
            for (whose, artifact) in &leaked.artifacts {
                own.artifact_was_read(artifact, at_ms).await.unwrap();
                let deleted = own.delete_artifact(artifact).await.unwrap();
                assert!(deleted.is_empty() || *whose == who);
            }
        }
    }
}

/// Reads everything that a user can ask for, under every name and id that anybody used.
async fn everything(store: &Store, who: usize, leaked: &Leaked) -> String {
    let own = store.for_user(&user(NAMES[who]));
    let mut read = String::new();
    let mut add = |answer: String| read.push_str(&answer);
    add(format!("{:?}", own.sessions(100, None).await.unwrap()));
    for name in 0..3 {
        let id = session(&format!("s{name}"));
        add(format!("{:?}", own.session(&id).await.unwrap()));
        add(format!("{:?}", own.messages(&id, 100, None).await.unwrap()));
        let id: RequestId = format!("r{name}").parse().unwrap();
        let request = own.request(&id).await.unwrap();
        assert!(request.is_none_or(|it| it.user == user(NAMES[who])));
    }
    for request in own.requests(1_000).await.unwrap() {
        assert_eq!(request.user, user(NAMES[who]));
        add(format!("{request:?}"));
    }
    let all =
        MemoryFilter { of_user: true, of_formation: true, limit: 1_000, ..Default::default() };
    add(format!("{:?}", own.memories(all).await.unwrap()));
    add(format!("{:?}", own.memories_about("acme").await.unwrap()));
    for (_, memory) in &leaked.memories {
        let event = format!("evt_{memory}");
        add(format!("{:?}", own.memories_of_event(&event).await.unwrap()));
    }
    add(format!("{:?}", own.past(1_000, None, None).await.unwrap()));
    add(format!("{:?}", own.credentials().await.unwrap()));
    for (_, credential) in &leaked.credentials {
        add(format!("{:?}", own.credential(credential).await.unwrap()));
    }
    add(format!("{:?}", own.artifacts(1_000).await.unwrap().0));
    for (_, artifact) in &leaked.artifacts {
        add(format!("{:?}", own.artifact(artifact).await.unwrap()));
        add(format!("{:?}", own.artifact_versions(artifact).await.unwrap()));
    }
    for request in store.all_requests(1_000).await.unwrap() {
        add(format!("{:?}", own.artifacts_of(request.seq).await.unwrap()));
    }
    read
}

fn assert_only_own(who: usize, read: &str) {
    for (other, name) in NAMES.iter().enumerate() {
        assert!(other == who || !read.contains(&format!("<{name}>")), "{name} in {read}");
    }
}

fn holds_in(database: &Database, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = database.open();
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let holds = runner.run(&acts(), |acts| {
        runtime.block_on(async {
            let mut leaked = Leaked::default();
            for (at_ms, act) in (1..).zip(acts) {
                perform(&store, act, &mut leaked, at_ms).await;
            }
            for who in 0..NAMES.len() {
                assert_only_own(who, &everything(&store, who, &leaked).await);
            }
        });
        Ok(())
    });
    holds.unwrap();
}

#[test]
fn users_are_apart_in_a_file() {
    holds_in(&Database::File(tempfile::tempdir().unwrap()), 24);
}

#[test]
fn users_are_apart_on_a_server() {
    let server = muxi_testkit::postgres::Postgres::start();
    let (url, schema) = (server.url(), "isolation".to_owned());
    holds_in(&Database::Server { url, schema }, 24);
}
