//! Files of messages: how they reach the model, and what is remembered of them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::harness::{Bundle, CLIENT_KEY, Runtime, manifest};
use crate::tools::{calling, serving};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n of a cat";
const PDF: &[u8] = b"%PDF-1.7 of a report";

fn file(name: &str, content_type: &str, bytes: &[u8]) -> Value {
    json!({
        "filename": name,
        "content_type": content_type,
        "content": BASE64_STANDARD.encode(bytes),
        "size": bytes.len(),
    })
}

/// A formation with these entries of `llm.models`.
fn with_models(models: &str) -> Bundle {
    let usual = "models: [{text: fake/model-1}]";
    let manifest = manifest("").replace(usual, &format!("models: {models}"));
    assert!(manifest.contains(models));
    Bundle::new(&manifest)
}

async fn ask(runtime: &Runtime, body: &Value) -> (u16, Value) {
    let response = runtime.chat(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn last_content(entry: &muxi_testkit::fake_llm::Entry) -> &Value {
    &entry.body["messages"].as_array().unwrap().last().unwrap()["content"]
}

#[tokio::test]
async fn texts_are_read_by_name_and_later_turns_still_know_them() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let notes = json!({"filename": "notes.md", "content": "The code is 4711."});
    let table = file("t.csv", "text/csv", "näme;5\n".as_bytes());
    let body = json!({"message": "Read this", "files": [notes, table]});
    let (status, answer) = ask(&runtime, &body).await;
    assert_eq!(status, 200, "{answer}");
    let journal = llm.journal();
    let read = last_content(&journal[0]).as_str().unwrap();
    // The mark is another one each time.
    let without_mark = |text: &str| {
        let mark = text.split("id=\"").nth(1).and_then(|it| it.split('"').next()).unwrap();
        assert_eq!(mark.len(), 32, "{text}");
        text.replace(mark, "M")
    };
    let (open, close) = ("<untrusted-data id=\"M\" source", "</untrusted-data id=\"M\">");
    let expected = format!(
        "Read this\n\nFile \"notes.md\" (text/markdown, 17 bytes):\n{open}=\"notes.md\">\nThe code is 4711.\n\
         {close}\n\nFile \"t.csv\" (text/csv, 8 bytes):\n{open}=\"t.csv\">\nnäme;5\n\n{close}"
    );
    assert_eq!(without_mark(read), expected);

    // What was sent is in the session, after a crash, too, and shown by name.
    runtime.kill9();
    let runtime = bundle.start(&llm);
    runtime.say("What is the code?").await;
    let journal = llm.journal();
    let recalled = journal[1].body["messages"][1]["content"].as_str().unwrap();
    assert_eq!(without_mark(recalled), expected);
    assert!(!recalled.contains(read), "the same mark twice");
    let request = runtime.get("/v1/sessions/s/messages?user_id=alice");
    let response = request.header("X-Muxi-Client-Key", CLIENT_KEY).send().await.unwrap();
    let page: Value = response.json().await.unwrap();
    let first = &page["data"]["messages"][0];
    assert_eq!(first["text"], "Read this");
    let shown = &first["metadata"]["files"];
    let expected = json!({"filename": "notes.md", "content_type": "text/markdown", "size": 17});
    assert_eq!((&shown[0], shown.as_array().unwrap().len()), (&expected, 2));
    // Nothing of it is in the session of the same name of somebody else.
    let bob = json!({"message": "hi", "session_id": "s", "user_id": "bob"});
    let bob = runtime.post("/v1/chat").header("X-Muxi-Client-Key", CLIENT_KEY).json(&bob);
    assert_eq!(bob.send().await.unwrap().status(), 200);
    assert!(!llm.journal()[2].body.to_string().contains("4711"));
}

#[tokio::test]
async fn images_and_documents_go_to_the_models_that_take_them() {
    let llm = FakeLlm::start().await;
    let bundle = with_models("[{text: fake/reads}, {vision: fake/sees}, {documents: fake/leafs}]");
    let runtime = bundle.start(&llm);
    let (png, pdf) = (file("cat.png", "image/png", PNG), file("a.pdf", "application/pdf", PDF));
    for (files, model) in [
        (json!([png]), "sees"),
        (json!([pdf]), "leafs"),
        (json!([pdf, png]), "sees"),
        (json!([]), "reads"),
    ] {
        let (status, answer) = ask(&runtime, &json!({"message": "hi", "files": files})).await;
        assert_eq!(status, 200, "{answer}");
        let metadata = &answer["data"]["message"]["metadata"];
        assert_eq!(metadata["model"], format!("fake/{model}"));
    }
    let journal = llm.journal();
    let models: Vec<_> = journal.iter().map(|it| it.body["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["sees", "leafs", "sees", "reads"]);
    let image = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(PNG));
    let image = json!({"type": "image_url", "image_url": {"url": image}});
    let document = format!("data:application/pdf;base64,{}", BASE64_STANDARD.encode(PDF));
    let document = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": document}});
    assert_eq!(last_content(&journal[0])[0], image);
    let text = "hi\n\nFile \"cat.png\" (image/png, 17 bytes): it is attached.";
    assert_eq!(last_content(&journal[0])[1], json!({"type": "text", "text": text}));
    assert_eq!(last_content(&journal[1])[0], document);
    assert_eq!((&last_content(&journal[2])[0], &last_content(&journal[2])[1]), (&document, &image));
    // A later turn knows that they were there, and is not sent them again.
    let past = journal[3].body["messages"].to_string();
    assert!(past.contains("cat.png") && past.contains("is not kept"), "{past}");
    assert!(!past.contains("base64"), "{past}");
}

#[tokio::test]
async fn the_other_wire_has_its_own_form_of_them() {
    let llm = FakeLlm::start().await;
    let bundle = with_models("[{text: anthropic/model-1}]");
    let mut command = bundle.command(&llm);
    command.env("ANTHROPIC_BASE_URL", llm.base_url()).env("ANTHROPIC_API_KEY", "sk-x");
    let runtime = Runtime::start(command);
    let files = [file("cat.png", "image/png", PNG), file("a.pdf", "application/pdf", PDF)];
    let (status, answer) = ask(&runtime, &json!({"message": "hi", "files": files})).await;
    assert_eq!(status, 200, "{answer}");
    let journal = llm.journal();
    let source = |media_type: &str, bytes: &[u8]| json!({"type": "base64", "media_type": media_type, "data": BASE64_STANDARD.encode(bytes)});
    let content = last_content(&journal[0]);
    assert_eq!(content[0], json!({"type": "image", "source": source("image/png", PNG)}));
    let document = json!({
        "type": "document", "source": source("application/pdf", PDF), "title": "a.pdf",
    });
    assert_eq!(content[1], document);
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_by_name_all_at_once() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(
        &manifest("input_limits: {max_file_size_bytes: 30}\n")
            .replace("fake/model-1", "local/smollm2-135m-instruct"),
    );
    let runtime = bundle.start(&llm);
    let files = json!([
        file("cat.png", "image/png", PNG),
        file("a.pdf", "application/pdf", PDF),
        file("a.mp4", "video/mp4", b"x"),
        {"filename": "long.txt", "content": "x".repeat(31)},
        {"filename": "b.txt", "content": "eA==", "size": 7},
    ]);
    let (status, answer) = ask(&runtime, &json!({"message": "", "files": files})).await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("VALIDATION_ERROR")), "{answer}");
    let data = &answer["error"]["data"];
    let faults = data["validation_errors"].as_array().unwrap();
    let fields: Vec<_> = faults.iter().map(|it| it["field"].as_str().unwrap()).collect();
    assert_eq!(
        fields,
        [
            "message",
            "files.0.content_type",
            "files.1.content_type",
            "files.2.content_type",
            "files.3.content",
            "files.4.size"
        ]
    );
    let told = faults[1]["message"].as_str().unwrap();
    assert!(told.contains("`cat.png`") && told.contains("`vision`"), "{told}");
    assert_eq!(data["field"], "files");
    assert!(llm.journal().is_empty());
}

#[tokio::test]
async fn a_body_may_be_as_long_as_its_files() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    llm.script(json!([{"reply": {"text": "Dull."}}]));
    let runtime = bundle.start(&llm);
    let long = "All work and no play. ".repeat(200_000);
    let body = json!({"message": "hi", "files": [file("long.txt", "text/plain", long.as_bytes())]});
    let (status, answer) = ask(&runtime, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(last_content(&llm.journal()[0]).as_str().unwrap().contains(&long));
}

#[tokio::test]
async fn what_was_accepted_keeps_its_files_through_a_crash() {
    let llm = FakeLlm::start().await;
    llm.script(json!([{"match": {"contains": "first"}, "reply": {"gate": "never", "text": "x"}}]));
    let bundle = with_models("[{text: fake/reads}, {vision: fake/sees}]");
    let runtime = bundle.start(&llm);
    let first = json!({"message": "first", "mode": "async", "request_id": "r-1"});
    assert_eq!(ask(&runtime, &first).await.0, 202);
    llm.wait_for(1, None).await;
    // It waits behind the first one, and so has not begun when the process dies.
    let body = json!({
        "message": "look", "mode": "async", "request_id": "r-2",
        "files": [file("cat.png", "image/png", PNG), {"filename": "a.txt", "content": "4711"}],
    });
    assert_eq!(ask(&runtime, &body).await.0, 202);
    runtime.kill9();
    let runtime = bundle.start(&llm);
    let journal = llm.wait_for(2, None).await;
    assert_eq!(journal[1].body["model"], "sees");
    let content = last_content(&journal[1]).to_string();
    assert!(
        content.contains(&BASE64_STANDARD.encode(PNG)) && content.contains("4711"),
        "{content}"
    );
    drop(runtime);
}

#[tokio::test]
async fn an_image_is_still_there_when_a_call_was_approved() {
    let (llm, bundle) = (FakeLlm::start().await, serving("normal", "delete", ""));
    let path = bundle.path().join("formation.afs");
    let text = std::fs::read_to_string(&path).unwrap();
    let seeing = "models: [{text: fake/model-1}, {vision: fake/sees}]";
    std::fs::write(&path, text.replace("models: [{text: fake/model-1}]", seeing)).unwrap();
    llm.script(json!([
        {"match": {"has_tool_result": true}, "reply": {"text": "It is gone."}},
        {"reply": calling("fake__delete", &json!({"text": "cat"}))},
    ]));
    let runtime = bundle.start(&llm);
    let body = json!({"message": "Delete this", "files": [file("cat.png", "image/png", PNG)]});
    ask(&runtime, &body).await;
    let (_, answer) = ask(&runtime, &json!({"message": "yes"})).await;
    assert_eq!(answer["data"]["message"]["content"], "It is gone.", "{answer}");
    for call in llm.journal() {
        assert_eq!(call.body["model"], "sees");
        assert!(call.body["messages"].to_string().contains("image_url"), "{}", call.body);
    }
}
