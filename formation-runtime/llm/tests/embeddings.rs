//! Embeddings over real connections to the scripted fake model.

use std::time::Duration;

use muxi_llm::{Endpoint, HttpClients, Llm, LlmErrorKind, RetryPolicy, Target, Usage, connect};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;

fn llm(name: &str, fake: &FakeLlm) -> Llm {
    let target = |model: &str| {
        let endpoint = Endpoint::at(fake.base_url());
        let provider = connect(name, endpoint, &HttpClients::default()).expect("a usable endpoint");
        Target { provider, model: model.to_owned() }
    };
    let retry = RetryPolicy { first_delay: Duration::from_millis(1), ..RetryPolicy::default() };
    Llm::new(target("vectors"), Some(target("other-vectors")), retry)
}

#[tokio::test]
async fn texts_become_vectors_in_batches_that_are_tried_again() {
    let fake = FakeLlm::start().await;
    fake.script(json!({ "embedding_rules": [
        {"match": {"nth": 2, "model": "vectors"}, "reply": {"status": 503}},
    ]}));
    let mut texts: Vec<String> = (0..200).map(|number| format!("text {number}")).collect();
    texts[199] = "text 0".to_owned();
    let (embeddings, served) = llm("acme", &fake).embed(&texts).await.unwrap();
    assert_eq!(embeddings.vectors.len(), 200);
    assert_eq!(embeddings.vectors[0], embeddings.vectors[199]);
    assert_ne!(embeddings.vectors[0], embeddings.vectors[1]);
    assert_eq!(embeddings.usage, Some(Usage { prompt_tokens: 400, completion_tokens: 0 }));
    assert_eq!((served.model.as_str(), served.attempts), ("acme/vectors", 4));
    let asked = fake.embeddings();
    let sizes: Vec<_> =
        asked.iter().map(|entry| entry.body["input"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [96, 96, 96, 8]);
    assert!(fake.journal().is_empty(), "embeddings are counted apart");
}

#[tokio::test]
async fn no_texts_ask_nobody() {
    let fake = FakeLlm::start().await;
    assert!(llm("acme", &fake).embed(&[]).await.unwrap().0.vectors.is_empty());
    assert!(fake.embeddings().is_empty());
}

#[tokio::test]
async fn a_refusal_is_final_and_no_other_model_is_asked() {
    let fake = FakeLlm::start().await;
    let error = llm("acme", &fake).embed(&[String::new()]).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::BadRequest);
    fake.script(json!({ "api_key": "another" }));
    let error = llm("acme", &fake).embed(&["hi".to_owned()]).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::Auth);
    assert!(fake.embeddings().iter().all(|entry| entry.body["model"] == "vectors"));

    let error = llm("anthropic", &fake).embed(&["hi".to_owned()]).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::BadRequest);
    assert!(error.to_string().contains("makes no embeddings"), "{error}");
}
