//! Whatever users do, in whatever order and under whatever names they share, nothing of one is ever
//! in an answer to another, nor in what a model reads: over every operation of the document that takes a
//! user, on both databases.

use std::collections::BTreeSet;

use muxi_memory::PendingKind;
use muxi_testkit::postgres::Postgres;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::artifacts::{drawing, image};
use crate::audio::{hearing, voice};
use crate::document::{Call, DOCUMENT, Walk, call};
use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames};
use crate::waiting::{WAITING, Waiting, waits, works};

const USERS: [&str; 3] = ["ann", "ben", "cat"];
const MARKS: [&str; 3] = ["mark-of-ann", "mark-of-ben", "mark-of-cat"];
const USER_HEADER: &str = "X-Muxi-User-ID";

/// One of the users calls one of the operations under one of the names that all of them use.
#[derive(Debug, Clone, Copy)]
struct Act {
    who: usize,
    name: u8,
    operation: usize,
    /// Which of the ids that anybody has.
    id: usize,
}

/// What a call is made from.
struct Scene<'a> {
    act: Act,
    leaked: &'a Leaked,
}

/// Ids that users know of each other, as if they had leaked.
#[derive(Debug, Default)]
struct Leaked {
    memories: Vec<String>,
    events: Vec<String>,
    ingestions: Vec<String>,
    credentials: Vec<String>,
    artifacts: Vec<String>,
}

type Made = fn(&Scene) -> Call;

/// Every operation that takes a user and answers with JSON.
const OPERATIONS: &[Made] = &[
    |s| {
        call("chat").body(
            json!({"message": s.mark(), "session_id": s.session(), "request_id": s.request()}),
        )
    },
    |s| call("chat").body(json!({"message": s.mark(), "session_id": s.session(), "mode": "async"})),
    |s| {
        let text = format!("draw {}", s.mark());
        call("chat").body(json!({"message": text, "session_id": s.session()}))
    },
    |s| {
        let (text, files) = (s.mark(), [voice("v.ogg")]);
        call("audio_chat").body(json!({"message": text, "session_id": s.session(), "files": files}))
    },
    |_| call("list_artifacts"),
    |s| call("get_artifact").path(s.leaked(&s.leaked.artifacts)),
    |s| call("list_artifact_versions").path(s.leaked(&s.leaked.artifacts)),
    |s| call("get_artifact_content").path(s.leaked(&s.leaked.artifacts)),
    |s| call("delete_artifact").path(s.leaked(&s.leaked.artifacts)),
    |_| call("list_sessions"),
    |s| call("get_session").path(&s.session()),
    |s| call("list_session_messages").path(&s.session()),
    |s| call("delete_session").path(&s.session()),
    |s| {
        let message = json!({"role": "user", "content": s.mark(), "timestamp": 1});
        call("restore_session").path(&s.session()).body(json!({"messages": [message]}))
    },
    |_| call("list_requests"),
    |s| call("get_request").path(&s.request()),
    |s| call("cancel_request").path(&s.request()),
    |s| call("explain_request").path(&s.request()),
    |_| call("list_approvals").query("status=all"),
    |s| call("get_approval").path(&format!("apv_{}", USERS[s.act.id % USERS.len()])),
    |s| {
        let path = format!("apv_{}", USERS[s.act.id % USERS.len()]);
        call("decide_approval").path(&path).body(json!({"decision": "deny", "note": s.mark()}))
    },
    |_| call("begin_mcp_grant").path("none").body(json!({"redirect_uri": "http://127.0.0.1/"})),
    |s| call("finish_mcp_grant").body(json!({"state": s.mark(), "code": "c"})),
    |_| call("list_background_jobs"),
    |s| call("get_background_job").path(&format!("code_{}", USERS[s.act.id % USERS.len()])),
    |s| call("cancel_background_job").path(&format!("code_{}", USERS[s.act.id % USERS.len()])),
    |s| call("get_background_job_log").path(&format!("code_{}", USERS[s.act.id % USERS.len()])),
    |_| call("get_buffer"),
    |_| call("clear_buffer"),
    |s| call("clear_session_buffer").path(&s.session()),
    |s| call("create_memory").body(json!({"content": s.mark(), "type": "fact"})),
    |s| {
        let (source, source_id) = ("crm", s.session());
        call("create_memory").body(json!({
            "content": s.mark(), "source": source, "source_id": source_id, "subject": "Acme",
        }))
    },
    |s| call("create_memories").body(json!({"items": [{"content": s.mark(), "source": "crm"}]})),
    |_| call("list_memories").query("limit=100&scopes=user,group,formation"),
    |s| call("get_ingestion").path(s.leaked(&s.leaked.ingestions)),
    |s| call("get_provenance").query(&format!("event_id={}", s.leaked(&s.leaked.events))),
    |_| call("get_provenance").query("entity=Acme"),
    |s| call("delete_memory").path(s.leaked(&s.leaked.memories)),
    |_| call("get_history").query("limit=100&include_sources=true"),
    |s| {
        let token = json!({"token": format!("{} and more of it", s.mark())});
        call("create_credential")
            .body(json!({"service": "github", "name": s.mark(), "credential": token}))
    },
    |_| call("list_credentials"),
    |s| call("get_credential").path(s.leaked(&s.leaked.credentials)),
    |s| call("delete_credential").path(s.leaked(&s.leaked.credentials)),
    |_| call("get_usage").query("group_by=user"),
    |_| call("list_jobs"),
    |s| {
        let body = json!({"type": "recurring", "schedule": "0 0 1 1 *", "message": s.mark()});
        call("create_job").body(body)
    },
    |s| {
        call("fire_trigger")
            .path("say")
            .body(json!({"data": {"text": s.mark()}, "use_async": false}))
    },
];

/// Told as streams, and looked at by tests of their own.
const STREAMS: [&str; 3] = ["stream_events", "stream_session_events", "stream_request"];

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (0..USERS.len(), 0..3u8, 0..OPERATIONS.len(), 0..8usize)
        .prop_map(|(who, name, operation, id)| Act { who, name, operation, id });
    proptest::collection::vec(act, 1..40)
}

// === impl Scene ===

impl Scene<'_> {
    fn mark(&self) -> &'static str {
        MARKS[self.act.who]
    }

    fn session(&self) -> String {
        format!("s{}", self.act.name)
    }

    fn request(&self) -> String {
        format!("r{}", self.act.name)
    }

    fn leaked<'a>(&self, ids: &'a [String]) -> &'a str {
        ids.get(self.act.id % ids.len().max(1)).map_or("none", String::as_str)
    }
}

// === impl Leaked ===

impl Leaked {
    fn learn(&mut self, answer: &Value) {
        let data = &answer["data"];
        let learn = |ids: &mut Vec<String>, value: &Value| {
            ids.extend(value.as_str().map(str::to_owned));
        };
        match answer["type"].as_str().unwrap_or_default() {
            "memory.created" => {
                learn(&mut self.memories, &data["id"]);
                learn(&mut self.events, &data["event_id"]);
            }
            "memory.ingestion.accepted" => {
                learn(&mut self.ingestions, &data["processing_id"]);
                learn(&mut self.events, &data["event_id"]);
            }
            "credentials.created" => learn(&mut self.credentials, &data["credential_id"]),
            "chat.completed" => {
                for artifact in data["message"]["artifacts"].as_array().into_iter().flatten() {
                    learn(&mut self.artifacts, &artifact["id"]);
                }
            }
            _ => {}
        }
    }
}

async fn perform(walk: &Walk, act: Act, leaked: &mut Leaked) {
    let made = OPERATIONS[act.operation](&Scene { act, leaked });
    let is_operators = made.is_operators();
    let key = if is_operators {
        ("X-Muxi-Admin-Key", ADMIN_KEY)
    } else {
        ("X-Muxi-Client-Key", CLIENT_KEY)
    };
    let made = made.header(key.0, key.1).header(USER_HEADER, USERS[act.who]);
    if made.operation == "get_artifact_content" {
        assert_only_own(act.who, &walk.read(&made).await);
        return;
    }
    let answer = walk.ask(&made).await;
    assert_only_own(act.who, &answer.to_string());
    leaked.learn(&answer);
}

fn assert_only_own(who: usize, read: &str) {
    for (other, (user, mark)) in USERS.into_iter().zip(MARKS).enumerate() {
        let is_there = read.contains(mark) || read.contains(&format!("\"{user}\""));
        assert!(other == who || !is_there, "{user} in {read}");
    }
}

/// What agents of an earlier process left behind for each user, under ids that all of them know.
async fn leave(bundle: &Bundle) {
    let store = bundle.store();
    for (user, mark) in USERS.into_iter().zip(MARKS) {
        waits(&store, &Waiting { user, kind: PendingKind::Approval, text: mark, ..WAITING }).await;
        works(&store, user, mark).await;
    }
}

fn holds(more: &str, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bundle = hearing(&format!("scheduler: {{enabled: true}}\n{more}"));
    std::fs::create_dir(bundle.path().join("triggers")).unwrap();
    std::fs::write(bundle.path().join("triggers/say.md"), "${{ data.text }}").unwrap();
    if more.is_empty() {
        runtime.block_on(leave(&bundle));
    }
    let walk = runtime.block_on(Walk::of(bundle));
    let draws = MARKS.map(|mark| {
        let drawn = drawing(&[json!({"content": mark, "images": [image(mark.as_bytes())]})]);
        json!({"match": {"contains": format!("draw {mark}")}, "reply": drawn})
    });
    walk.llm.script(json!(draws));
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&acts(), |acts| {
        runtime.block_on(async {
            let mut leaked = Leaked::default();
            for act in acts {
                perform(&walk, act, &mut leaked).await;
            }
        });
        Ok(())
    });
    result.unwrap();
    // What a model is asked has one user in it.
    let asked = walk.llm.journal();
    assert!(!asked.is_empty(), "nobody said anything");
    for entry in asked {
        let asked = entry.body.to_string();
        assert!(MARKS.iter().filter(|mark| asked.contains(**mark)).count() <= 1, "{asked}");
    }
}

#[test]
fn every_operation_that_takes_a_user_is_tried() {
    let scene_leaked = Leaked::default();
    let act = Act { who: 0, name: 0, operation: 0, id: 0 };
    let scene = Scene { act, leaked: &scene_leaked };
    let mut tried: BTreeSet<&str> = OPERATIONS.iter().map(|made| made(&scene).operation).collect();
    tried.extend(STREAMS);
    let mut takes_user = BTreeSet::new();
    for item in DOCUMENT["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            if parameters.into_iter().any(|it| it["name"] == USER_HEADER) {
                takes_user.insert(operation["operationId"].as_str().unwrap());
            }
        }
    }
    assert_eq!(tried, takes_user);
}

#[test]
fn users_are_apart_in_a_file() {
    holds("", 32);
}

#[test]
fn users_are_apart_on_a_server() {
    let server = Postgres::start();
    let url = server.url();
    holds(&format!("memory: {{persistent: {{connection_string: '{url}'}}}}\n"), 16);
}

#[tokio::test]
async fn streams_tell_their_reader_nothing_of_others() {
    let walk = Walk::start().await;
    let as_ben = |path: &str| {
        let request = walk.runtime.get(path).header("X-Muxi-Client-Key", CLIENT_KEY);
        request.header(USER_HEADER, "ben").header("Last-Event-ID", "0").send()
    };
    let mut streams = Vec::new();
    for path in ["/v1/events", "/v1/events/s"] {
        streams.push(Frames::of(as_ben(path).await.unwrap()));
    }
    for who in [0, 1] {
        let body =
            json!({"message": MARKS[who], "session_id": "s", "request_id": format!("r{who}")});
        let chat = call("chat").header("X-Muxi-Client-Key", CLIENT_KEY);
        walk.pass(chat.header(USER_HEADER, USERS[who]).body(body)).await;
    }
    for mut frames in streams {
        loop {
            let (_, event) = frames.next().await.unwrap();
            assert_only_own(1, &event.to_string());
            if event["type"] == "chat.completed" {
                break;
            }
        }
    }
    assert_eq!(as_ben("/v1/events/s/r0").await.unwrap().status(), 404);
    let own = Frames::of(as_ben("/v1/events/s/r1").await.unwrap()).rest().await;
    assert!(own.iter().any(|(_, event)| event.to_string().contains(MARKS[1])), "{own:?}");
}
