//! Requests that wait for their user: over restarts, until somebody answers, cancels or forgets them.

use muxi_contract::ErrorCode;
use muxi_memory::{
    Decision, ModelCall, NewPending, NewRequest, NewTask, NewTurn, OpenMax, Outcome, PendingKind,
    RequestKind, RequestMode, Store, TaskKind, TurnEnd,
};
use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, manifest};
use crate::later::{RECEIVERS_HERE, Receiver, Reply, ask};

/// A request that an earlier process left waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting<'a> {
    pub(crate) user: &'a str,
    pub(crate) kind: PendingKind,
    pub(crate) text: &'a str,
    pub(crate) webhook: Option<&'a str>,
    pub(crate) expires_ms: i64,
}

pub(crate) const WAITING: Waiting = Waiting {
    user: "alice",
    kind: PendingKind::Approval,
    text: "May I delete it?",
    webhook: None,
    expires_ms: i64::MAX,
};

/// Lets the request `r-USER` wait for `apv_USER`.
pub(crate) async fn waits(store: &Store, waiting: &Waiting<'_>) {
    let own = store.for_user(&waiting.user.parse().unwrap());
    let request_id: muxi_contract::RequestId = format!("r-{}", waiting.user).parse().unwrap();
    let (session, at_ms): (muxi_contract::SessionId, _) = ("s".parse().unwrap(), 1_769_860_800_000);
    let accepted = NewRequest {
        id: request_id.clone(),
        session: session.clone(),
        kind: RequestKind::Chat,
        work: "{}".to_owned(),
        webhook_url: waiting.webhook.map(str::to_owned),
        at_ms,
    };
    let accepted = own.accept_request(accepted).await.unwrap();
    let turn = NewTurn {
        session,
        request_id,
        agent: "helper".to_owned(),
        text: "Delete it.".to_owned(),
        files: None,
        is_tainted: false,
        kind: RequestKind::Chat,
        mode: RequestMode::Async,
        accepted: Some(accepted),
        at_ms,
    };
    let turn = own.begin_turn(turn, 10).await.unwrap();
    let decision = |step: &str, choice: &str, detail: Value| Decision {
        step: step.to_owned(),
        choice: choice.to_owned(),
        reason: "it fits".to_owned(),
        detail_json: Some(detail.to_string()),
        at_ms,
    };
    let end = TurnEnd {
        outcome: Outcome::Waiting,
        text: waiting.text.to_owned(),
        prompt_tokens: 3,
        completion_tokens: 2,
        usage: vec![ModelCall {
            agent: "helper".to_owned(),
            model: "fake/model-1".to_owned(),
            prompt_tokens: 3,
            completion_tokens: 2,
            cost_nano: Some(1_500_000_000),
            is_estimated: false,
            at_ms,
        }],
        warnings: None,
        delivery: None,
        original_delivery: None,
        agent: None,
        is_tainted: false,
        decisions: vec![
            decision("agent", "helper", json!({"scores": {"helper": 3}})),
            decision("tool", "files__list", json!({"agent": "helper", "took_ms": 5})),
        ],
        at_ms,
    };
    let pending = NewPending {
        id: format!("apv_{}", waiting.user),
        kind: waiting.kind,
        question: waiting.text.to_owned(),
        detail_json: json!({"calls": [{"tool": "files__delete", "arguments": {"path": "a"}}]})
            .to_string(),
        // A plan that nobody has begun: without it nothing is called.
        state_json: json!({"message": "Delete it.", "work": {"proposed": {"running": {
            "tasks": [], "complexity": 1, "synthesises": false,
        }}}})
        .to_string(),
        expires_ms: waiting.expires_ms,
    };
    own.end_turn_waiting(turn.id, end, pending).await.unwrap();
}

/// Leaves the job `code_USER` with a line in its log.
pub(crate) async fn works(store: &Store, user: &str, text: &str) {
    let task = NewTask {
        id: format!("code_{user}"),
        kind: TaskKind::Code,
        session: "s".parse().unwrap(),
        request_id: format!("r-{user}").parse().unwrap(),
        label: text.to_owned(),
        spec_json: "{}".to_owned(),
        // Nobody works on it here.
        next_ms: i64::MAX,
        at_ms: 1_769_860_800_000,
    };
    assert!(
        store
            .for_user(&user.parse().unwrap())
            .create_task(task, OpenMax::OfUser(10))
            .await
            .unwrap()
    );
    let lines = vec![text.to_owned(), "second line".to_owned()];
    store.note_task_lines(&format!("code_{user}"), lines, 1_769_860_801_000).await.unwrap();
}

#[tokio::test]
async fn a_request_waits_over_restarts_and_ends_when_its_caller_cancels_it() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(RECEIVERS_HERE)));
    let mut receiver = Receiver::start(vec![Reply::Status(200)]).await;
    waits(&bundle.store(), &Waiting { webhook: Some(&receiver.url), ..WAITING }).await;
    bundle.start(&llm).kill9();
    let runtime = bundle.start(&llm);
    let (_, answer) = ask(&runtime, Method::GET, "/v1/requests/r-alice", "alice").await;
    let request = &answer["data"];
    assert_eq!(request["status"], "awaiting_clarification", "{request}");
    let waits_for = &request["waits_for"];
    assert_eq!((&waits_for["id"], &waits_for["kind"]), (&json!("apv_alice"), &json!("approval")));
    assert_eq!(waits_for["question"], "May I delete it?");
    assert_eq!((&request["completed_at"], &request["error"]), (&Value::Null, &Value::Null));
    // Who is not told what it waits for cannot cancel it either.
    let (status, _) = ask(&runtime, Method::DELETE, "/v1/requests/r-alice", "bob").await;
    assert_eq!(status, 403);

    let (status, answer) = ask(&runtime, Method::DELETE, "/v1/requests/r-alice", "alice").await;
    assert_eq!((status, &answer["data"]["cancellation"]), (200, &json!("immediate")));
    let (_, told) = receiver.next().await;
    assert_eq!((&told["id"], &told["status"]), (&json!("r-alice"), &json!("cancelled")));
    let (_, answer) = ask(&runtime, Method::GET, "/v1/requests/r-alice", "alice").await;
    assert_eq!(answer["data"]["status"], "cancelled");
    let (_, answer) = ask(&runtime, Method::GET, "/v1/approvals/apv_alice", "alice").await;
    assert_eq!(answer["data"]["status"], "cancelled");
    let (status, _) = ask(&runtime, Method::DELETE, "/v1/requests/r-alice", "alice").await;
    assert_eq!(status, 400);
    assert!(llm.journal().is_empty());
}

#[tokio::test]
async fn what_nobody_answers_in_time_fails_and_is_told() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest(RECEIVERS_HERE)));
    let mut receiver = Receiver::start(vec![Reply::Status(200)]).await;
    let (webhook, expires_ms) = (Some(receiver.url.as_str()), 1_769_860_900_000);
    waits(&bundle.store(), &Waiting { webhook, expires_ms, ..WAITING }).await;
    let runtime = bundle.start(&llm);
    let (_, told) = receiver.next().await;
    assert_eq!((&told["id"], &told["status"]), (&json!("r-alice"), &json!("failed")));
    assert_eq!(told["error"]["error_code"], json!(ErrorCode::Timeout));
    let (_, answer) = ask(&runtime, Method::GET, "/v1/requests/r-alice", "alice").await;
    assert_eq!(answer["data"]["error_code"], "TIMEOUT");
    let (_, answer) = ask(&runtime, Method::GET, "/v1/approvals", "alice").await;
    assert_eq!(answer["data"]["count"], 0);
    let (_, answer) = ask(&runtime, Method::GET, "/v1/approvals?status=expired", "alice").await;
    assert_eq!(answer["data"]["approvals"][0]["id"], "apv_alice");
}

#[tokio::test]
async fn a_follower_of_a_request_that_waits_reads_its_question() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    waits(&bundle.store(), &WAITING).await;
    let runtime = bundle.start(&llm);
    let request = runtime
        .get("/v1/events/s/r-alice")
        .header("X-Muxi-Client-Key", crate::harness::CLIENT_KEY)
        .header("X-Muxi-User-ID", "alice");
    let frames = crate::harness::Frames::of(request.send().await.unwrap()).rest().await;
    let told = format!("{frames:?}");
    assert!(told.contains("May I delete it?") && !told.contains("failed"), "{told}");
}

#[tokio::test]
async fn what_waits_goes_with_the_session_that_would_have_answered() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    waits(&bundle.store(), &WAITING).await;
    works(&bundle.store(), "alice", "the build").await;
    let runtime = bundle.start(&llm);
    let operator = runtime.get("/v1/requests/r-alice/explanation");
    let explained = operator.header("X-Muxi-Admin-Key", ADMIN_KEY).send().await.unwrap();
    let explained: Value = explained.json().await.unwrap();
    assert_eq!(explained["data"]["tools_called"][0]["tool"], "files__list", "{explained}");
    let (status, _) = ask(&runtime, Method::GET, "/v1/requests/r-alice/explanation", "bob").await;
    assert_eq!(status, 403);
    let (status, _) = ask(&runtime, Method::DELETE, "/v1/sessions/s", "alice").await;
    assert_eq!(status, 200);
    let (_, answer) = ask(&runtime, Method::GET, "/v1/requests/r-alice", "alice").await;
    assert_eq!(answer["data"]["status"], "cancelled");
    let (status, _) = ask(&runtime, Method::GET, "/v1/approvals/apv_alice", "alice").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn what_waits_for_words_is_no_approval() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let kind = PendingKind::Clarification;
    waits(&bundle.store(), &Waiting { kind, text: "Which one?", ..WAITING }).await;
    let runtime = bundle.start(&llm);
    let (_, answer) = ask(&runtime, Method::GET, "/v1/approvals?status=all", "alice").await;
    assert_eq!(answer["data"]["count"], 0);
    let (status, _) = ask(&runtime, Method::GET, "/v1/approvals/apv_alice", "alice").await;
    assert_eq!(status, 404);
    let approve = json!({"decision": "approve"});
    let (status, _) = crate::approving::decide(&runtime, "apv_alice", "alice", &approve).await;
    assert_eq!(status, 404);
}
