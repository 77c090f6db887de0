//! The formation as an agent of the A2A protocol, called with bare HTTP and by our own tool.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use muxi_contract::{RequestId, SessionId, UserId};
use muxi_service::TaskGroup;
use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use muxi_tools::a2a::{Credentials, Remote, RemoteAgent};
use muxi_tools::{Call, Tool as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::approving::{asked_for, decide, deletes};
use crate::document::{Walk, call};
use crate::harness::{Bundle, CLIENT_KEY, Frames, Runtime, manifest};
use crate::later::{ask as api, ended};
use crate::tools::{heard, published, serving};
use crate::turns::{ask, decision, routes, team};

const OPEN: &str = "a2a: {inbound: {auth: {type: none}}}\n";
const KEYED: &str = "a2a: {inbound: {auth: {type: bearer, token: open-sesame}}}\n";

async fn rpc(runtime: &Runtime, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": "1", "method": method, "params": params});
    let response = runtime.post("/a2a").json(&body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!("1")));
    answer
}

fn said(text: &str) -> Value {
    json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}], "contextId": "c"}})
}

fn asker(runtime: &Runtime, credentials: Credentials) -> RemoteAgent {
    let remote = Remote {
        id: "other".to_owned(),
        name: "Other".to_owned(),
        description: "Another formation.".to_owned(),
        url: runtime.url.parse().unwrap(),
        timeout: Duration::from_secs(10),
        retries: 0,
        credentials,
    };
    RemoteAgent::new(remote, TaskGroup::new(CancellationToken::new())).unwrap()
}

fn question(text: &str, context: Option<&str>) -> Call {
    let mut arguments = serde_json::Map::from_iter([("message".to_owned(), json!(text))]);
    arguments.extend(context.map(|it| ("context_id".to_owned(), json!(it))));
    Call {
        arguments,
        user: UserId::anonymous(),
        session: SessionId::generate(),
        request: RequestId::generate(),
        agent: "helper".to_owned(),
        depth: 0,
        time_left: Duration::from_secs(20),
        cancelled: CancellationToken::new(),
    }
}

#[tokio::test]
async fn a_formation_that_lets_nobody_in_says_how_to() {
    let llm = FakeLlm::start().await;
    for inbound in
        ["", "a2a: {inbound: {enabled: false}}\n", "a2a: {enabled: false, inbound: {}}\n"]
    {
        let runtime = Bundle::new(&manifest(inbound)).start(&llm);
        for request in
            [runtime.get("/.well-known/agent-card.json"), runtime.post("/a2a").json(&json!({}))]
        {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::NOT_FOUND);
            assert!(response.text().await.unwrap().contains("a2a.inbound"));
        }
    }
}

#[tokio::test]
async fn a_message_is_a_task_that_both_versions_read() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest(OPEN)).start(&llm);
    llm.script(json!([{"reply": {"text": "All is well."}}]));
    let new = rpc(&runtime, "SendMessage", said("How are you?")).await["result"]["task"].take();
    assert_eq!(new["status"]["state"], "TASK_STATE_COMPLETED", "{new}");
    assert_eq!(new["artifacts"][0]["parts"], json!([{"text": "All is well."}]));
    assert_eq!(new["contextId"], "c");
    let message = json!({"message": {"kind": "message", "messageId": "m", "role": "user",
        "parts": [{"kind": "text", "text": "And now?"}], "contextId": "c"}});
    let old = rpc(&runtime, "message/send", message).await["result"].take();
    assert_eq!((&old["kind"], &old["status"]["state"]), (&json!("task"), &json!("completed")));
    assert_eq!(old["artifacts"][0]["parts"], json!([{"kind": "text", "text": "All is well."}]));
    // The second one knew the first one's words, since both are in one context.
    let asked = llm.journal()[1].body.to_string();
    assert!(asked.contains("How are you?") && asked.contains("And now?"), "{asked}");
    for (method, task) in [("GetTask", &new), ("tasks/get", &old)] {
        let found = rpc(&runtime, method, json!({"id": task["id"]})).await;
        assert_eq!(found["result"]["artifacts"], task["artifacts"], "{found}");
    }
    // What agents say is not among what people said.
    let request = runtime.get("/v1/sessions?user_id=0").header("X-Muxi-Client-Key", CLIENT_KEY);
    let listed: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["data"]["count"], 0);
    let request =
        runtime.get(&format!("/v1/requests/{}?user_id=a2a:anonymous", new["id"].as_str().unwrap()));
    let found = request.header("X-Muxi-Client-Key", CLIENT_KEY).send().await.unwrap();
    assert_eq!(found.json::<Value>().await.unwrap()["data"]["kind"], "a2a");
}

#[tokio::test]
async fn a_stream_tells_the_answer_as_it_comes() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest(OPEN)).start(&llm);
    llm.script(json!([{"reply": {"chunks": ["Once ", "upon ", "a time"], "gate": "go", "gate_after_chunks": 2}}]));
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "SendStreamingMessage", "params": said("Tell")});
    let response = runtime.post("/a2a").json(&body).send().await.unwrap();
    let mut frames = Frames::of(response);
    let mut next = async || {
        frames.next().await.map(|(_, it)| {
            assert_eq!(it["id"], 7);
            it["result"].clone()
        })
    };
    let task = next().await.unwrap()["task"].take();
    assert_eq!(task["status"]["state"], "TASK_STATE_WORKING");
    let first = next().await.unwrap();
    assert_eq!(first["artifactUpdate"]["artifact"]["parts"][0]["text"], "Once ");
    assert_eq!(first["artifactUpdate"]["append"], false);
    // Who comes later reads it from its beginning.
    let again = json!({"jsonrpc": "2.0", "id": 8, "method": "SubscribeToTask", "params": {"id": task["id"]}});
    let mut followed = Frames::of(runtime.post("/a2a").json(&again).send().await.unwrap());
    llm.open_gate("go");
    let mut text = "Once ".to_owned();
    let last = loop {
        let frame = next().await.unwrap();
        match frame["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str() {
            Some(piece) => text.push_str(piece),
            None => break frame,
        }
    };
    assert_eq!(text, "Once upon a time");
    assert_eq!(last["statusUpdate"]["status"]["state"], "TASK_STATE_COMPLETED");
    assert!(next().await.is_none());
    let mut heard = String::new();
    while let Some((_, frame)) = followed.next().await {
        let piece = &frame["result"]["artifactUpdate"]["artifact"]["parts"][0]["text"];
        heard.push_str(piece.as_str().unwrap_or_default());
    }
    assert_eq!(heard, "Once upon a time");
    let over = rpc(&runtime, "SubscribeToTask", json!({"id": task["id"]})).await;
    assert_eq!(over["error"]["code"], -32004);
}

#[tokio::test]
async fn a_task_goes_on_without_its_caller_until_it_is_cancelled() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest(OPEN)).start(&llm);
    llm.script(json!([{"reply": {"text": "never", "gate": "never"}}]));
    let mut params = said("Take your time");
    params["configuration"] = json!({"returnImmediately": true});
    let task = rpc(&runtime, "SendMessage", params).await["result"]["task"].take();
    assert_eq!(task["status"]["state"], "TASK_STATE_WORKING");
    llm.wait_for(1, None).await;
    let gone = rpc(&runtime, "CancelTask", json!({"id": task["id"]})).await;
    assert_eq!(gone["result"]["status"]["state"], "TASK_STATE_CANCELED", "{gone}");
    llm.wait_for(1, Some(Outcome::ClientGone)).await;
    let again = rpc(&runtime, "CancelTask", json!({"id": task["id"]})).await;
    assert_eq!(again["error"]["code"], -32002);
}

#[tokio::test]
async fn what_is_wrong_is_told_by_the_protocols_numbers() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest(OPEN)).start(&llm);
    for (method, params, code) in [
        ("Sing", json!({}), -32601),
        ("GetTask", json!({"id": "req_none"}), -32001),
        ("SendMessage", json!({}), -32602),
        ("SendMessage", json!({"message": {"parts": [{"text": " "}]}}), -32602),
        ("SendMessage", json!({"message": {"parts": [{"raw": "!", "filename": "a.txt"}]}}), -32602),
        (
            "SendMessage",
            json!({"message": {"taskId": "req_none", "parts": [{"text": "x"}]}}),
            -32001,
        ),
        ("ListTasks", json!({}), -32004),
    ] {
        let answer = rpc(&runtime, method, params.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{method} {params}: {answer}");
    }
    let send = |headers: &'static [(&str, &str)], body: String| {
        let request = runtime.post("/a2a").header("Content-Type", "application/json").body(body);
        let request = headers.iter().fold(request, |it, (name, value)| it.header(*name, *value));
        async {
            request.send().await.unwrap().json::<Value>().await.unwrap()["error"]["code"].clone()
        }
    };
    let good = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": said("x")})
        .to_string();
    assert_eq!(send(&[], "{".to_owned()).await, -32700);
    assert_eq!(send(&[], "[]".to_owned()).await, -32600);
    assert_eq!(send(&[("A2A-Version", "7.0")], good.clone()).await, -32009);
    // Formations that ask each other in a circle stop.
    assert_eq!(send(&[("X-Muxi-Depth", "6")], good.clone()).await, -32602);
    assert_eq!(send(&[("X-Muxi-Depth", "many")], good).await, -32602);
    assert!(llm.journal().is_empty());
}

#[tokio::test]
async fn one_formation_asks_another() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest(KEYED)).start(&llm);
    llm.script(json!([{"reply": {"chunks": ["Forty-", "two."]}}]));
    let token = || secrecy::SecretString::from("open-sesame".to_owned());
    let other = asker(&runtime, Credentials::Bearer { token: token() });
    let first = other.call(question("What is the answer?", None)).await;
    assert_eq!(
        (first.text().as_str(), first.is_error, first.is_trusted),
        ("Forty-two.", false, false)
    );
    let context = first.structured.unwrap()["context_id"].as_str().unwrap().to_owned();
    let second = other.call(question("Are you sure?", Some(&context))).await;
    assert_eq!(second.text(), "Forty-two.");
    assert!(llm.journal()[1].body.to_string().contains("What is the answer?"));
    let nobody = asker(&runtime, Credentials::None).call(question("x", None)).await;
    assert!(nobody.is_error && nobody.text().contains("status 401"), "{}", nobody.text());
    // A failure there is a failure here.
    llm.script(json!([{"reply": {"status": 500}}]));
    let failed = other.call(question("x", None)).await;
    assert!(failed.is_error && failed.text().contains("failed"), "{}", failed.text());
}

#[tokio::test]
async fn an_agent_of_one_formation_asks_another_formation() {
    let (llm, other_llm) = (FakeLlm::start().await, FakeLlm::start().await);
    let other = Bundle::new(&manifest(KEYED)).start(&other_llm);
    other_llm.script(json!([{"reply": {"text": "It is forty-two."}}]));
    let service = format!(
        "a2a: {{outbound: {{services: [{{id: deep, name: Deep, description: Knows answers, url: '{}', \
         auth: {{type: bearer, token: open-sesame}}}}]}}}}\n",
        other.url
    );
    let runtime = Bundle::new(&manifest(&service)).start(&llm);
    let asks = json!({"name": "ask_deep", "arguments": {"message": "What is the answer?"}});
    llm.script(json!([
        {"match": {"nth": 1}, "reply": {"tool_calls": [asks]}},
        {"reply": {"text": "They say forty-two."}},
    ]));
    let said = runtime.say("Ask the others").await;
    assert_eq!(said["data"]["message"]["content"], "They say forty-two.", "{said}");
    assert!(other_llm.journal()[0].body.to_string().contains("What is the answer?"));
    // What came back is read as the words of somebody elsewhere.
    let read = llm.journal()[1].body["messages"].to_string();
    assert!(read.contains("It is forty-two."), "{read}");
}

/// The published SDK, as tests/a2a/peer.py uses it.
fn peer(arguments: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/a2a/peer.py");
    let mut command = Command::new(published("a2a/bin/python"));
    command.arg(script).args(arguments).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_published_client_asks_a_formation() {
    let llm = FakeLlm::start().await;
    let runtime = Bundle::new(&manifest(OPEN)).start(&llm);
    llm.script(json!([{"reply": {"chunks": ["Forty-", "two."]}}]));
    let asked = peer(&["ask", &runtime.url, "What is the answer?"]).output().await.unwrap();
    assert!(asked.status.success());
    let told = String::from_utf8(asked.stdout).unwrap();
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for told in &told {
        assert_eq!(
            (&told["text"], &told["state"]),
            (&json!("Forty-two."), &json!("TASK_STATE_COMPLETED"))
        );
    }
    assert!(told[1]["events"].to_string().contains("artifact_update"), "{told:?}");
}

#[tokio::test]
async fn a_formation_asks_the_published_server() {
    let mut parrot = peer(&["serve"]).spawn().unwrap();
    let mut lines = BufReader::new(parrot.stdout.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().unwrap();
    let llm = FakeLlm::start().await;
    let service = format!(
        "a2a: {{outbound: {{services: [{{id: parrot, name: Parrot, description: Says it back, url: '{url}'}}]}}}}\n"
    );
    let runtime = Bundle::new(&manifest(&service)).start(&llm);
    let asks = json!({"name": "ask_parrot", "arguments": {"message": "Good morning"}});
    llm.script(json!([
        {"match": {"nth": 1}, "reply": {"tool_calls": [asks]}},
        {"reply": {"text": "It said so."}},
    ]));
    runtime.say("Ask the parrot").await;
    let read = llm.journal()[1].body["messages"].to_string();
    assert!(read.contains("You said: Good morning"), "{read}");
}

#[tokio::test]
async fn cards_and_calls_are_documented() {
    let walk = Walk::with(&manifest(OPEN)).await;
    let host = |it: crate::document::Call| it.header("Host", "formation.test");
    walk.take(host(call("get_agent_card"))).await;
    walk.take(host(call("get_older_agent_card"))).await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "none"}});
    walk.take_text(call("call_agent").body(body)).await;
}

#[tokio::test]
async fn an_agent_elsewhere_never_allows_what_a_person_must_allow() {
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete", OPEN));
    llm.script(deletes());
    let runtime = bundle.start(&llm);
    let task = rpc(&runtime, "SendMessage", said("Delete it")).await["result"]["task"].take();
    assert_eq!(task["status"]["state"], "TASK_STATE_INPUT_REQUIRED", "{task}");
    let told = task["status"]["message"]["parts"][0]["text"].as_str().unwrap();
    assert!(told.contains("fake__delete") && told.contains("a person must allow it"), "{told}");
    // Neither as an answer to the task, nor in its context, nor in the session of a person.
    let mut yes = said("yes");
    yes["message"]["taskId"] = task["id"].clone();
    let refused = rpc(&runtime, "SendMessage", yes.clone()).await;
    assert_eq!(refused["error"]["code"], -32004, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("a person"), "{refused}");
    let other = rpc(&runtime, "SendMessage", said("yes")).await["result"]["task"].take();
    assert_eq!(other["artifacts"][0]["parts"][0]["text"], "What?", "{other}");
    assert_eq!(heard(&bundle, "tools/call"), 0);
    let of_person = ask(&runtime, &json!({"message": "Delete it", "request_id": "r-1"})).await;
    let mut yes = said("yes");
    yes["message"]["contextId"] = json!("s");
    let other = rpc(&runtime, "SendMessage", yes.clone()).await["result"]["task"].take();
    assert_eq!(other["artifacts"][0]["parts"][0]["text"], "What?", "{other}");
    yes["message"]["taskId"] = json!("r-1");
    assert_eq!(rpc(&runtime, "SendMessage", yes).await["error"]["code"], -32001);
    assert_eq!(heard(&bundle, "tools/call"), 0);

    // Persons allow both, and the task is told as done.
    let (_, listed) = api(&runtime, Method::GET, "/v1/approvals", "a2a:anonymous").await;
    let id = listed["data"]["approvals"][0]["id"].as_str().unwrap();
    let approve = json!({"decision": "approve"});
    assert_eq!(decide(&runtime, id, "alice", &approve).await.0, 404);
    assert_eq!(decide(&runtime, asked_for(&of_person), "alice", &approve).await.0, 202);
    assert_eq!(ended(&runtime, "r-1").await["status"], "completed");
    assert_eq!(heard(&bundle, "tools/call"), 1);
    assert_eq!(decide(&runtime, id, "a2a:anonymous", &approve).await.0, 202);
    let done = loop {
        let found = rpc(&runtime, "GetTask", json!({"id": task["id"]})).await["result"].take();
        if found["status"]["state"] != "TASK_STATE_WORKING"
            && found["status"]["state"] != "TASK_STATE_SUBMITTED"
        {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(done["status"]["state"], "TASK_STATE_COMPLETED", "{done}");
    assert_eq!(done["artifacts"][0]["parts"][0]["text"], "So it is.");
    assert_eq!(heard(&bundle, "tools/call"), 2);
}

#[tokio::test]
async fn an_agent_elsewhere_is_asked_back_and_its_answer_goes_on() {
    let unclear =
        json!({"clarification": {"question": "Which city?", "options": ["Rome", "Paris"]}});
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&team(OPEN)));
    llm.script(json!([
        routes("answered: Rome", &decision("agent", &json!({"agent": "researcher"}))),
        routes("weather", &decision("clarify", &unclear)),
        {"match": {"contains": "answered: Rome"}, "reply": {"text": "Sunny"}},
    ]));
    let runtime = bundle.start(&llm);
    let task = rpc(&runtime, "SendMessage", said("How is the weather there?")).await;
    let task = task["result"]["task"].clone();
    assert_eq!(task["status"]["state"], "TASK_STATE_INPUT_REQUIRED", "{task}");
    assert_eq!(task["status"]["message"]["parts"][0]["text"], "Which city?");
    runtime.kill9();

    let runtime = bundle.start(&llm);
    let mut answer = said("Rome");
    answer["message"]["taskId"] = task["id"].clone();
    let done = rpc(&runtime, "SendMessage", answer.clone()).await["result"]["task"].take();
    assert_eq!(
        (&done["id"], &done["status"]["state"]),
        (&task["id"], &json!("TASK_STATE_COMPLETED"))
    );
    assert_eq!(done["artifacts"][0]["parts"][0]["text"], "Sunny", "{done}");
    assert_eq!(rpc(&runtime, "SendMessage", answer).await["error"]["code"], -32004);
    let mut again = said("How is the weather there?");
    again["message"]["contextId"] = json!("d");
    let waits = rpc(&runtime, "SendMessage", again).await["result"]["task"].take();
    let id = json!({"id": waits["id"]});
    let gone = rpc(&runtime, "CancelTask", id.clone()).await["result"].take();
    assert_eq!(gone["status"]["state"], "TASK_STATE_CANCELED", "{gone}");
    assert_eq!(rpc(&runtime, "CancelTask", id).await["error"]["code"], -32002);
}
