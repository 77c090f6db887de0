//! What models used and cost is told, and a budget that is used up ends further calls.

use muxi_testkit::fake_llm::{FakeLlm, Outcome};
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Frames, Runtime, manifest};

const REPLY: &str = "Hello";

async fn used(runtime: &Runtime, user: Option<&str>, query: &str) -> Value {
    let mut request = runtime.get(&format!("/v1/usage?{query}"));
    request = match user {
        Some(user) => {
            request.header("X-Muxi-Client-Key", CLIENT_KEY).header("X-Muxi-User-ID", user)
        }
        None => request.header("X-Muxi-Admin-Key", ADMIN_KEY),
    };
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.unwrap();
    body["data"].clone()
}

fn priced(budgets: &str) -> Bundle {
    let prices = "prices: {fake/model-1: {input: 10, output: 100}}";
    Bundle::new(&manifest(&format!("usage: {{currency: EUR, {prices}, budgets: {budgets}}}\n")))
}

async fn model() -> FakeLlm {
    let llm = FakeLlm::start().await;
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 2});
    llm.script(json!([{"reply": {"text": REPLY, "usage": usage}}]));
    llm
}

#[tokio::test]
async fn tokens_and_money_are_told_by_user_and_model() {
    let (llm, bundle) = (model().await, priced("{}"));
    let runtime = bundle.start(&llm);
    runtime.say("one").await;
    runtime.say("two").await;
    let alice = used(&runtime, Some("alice"), "").await;
    assert_eq!((&alice["currency"], &alice["total"]["total_tokens"]), (&json!("EUR"), &json!(18)));
    assert_eq!(alice["total"]["cost"], json!(0.000_54));
    assert_eq!(alice["groups"][0]["model"], "fake/model-1");
    assert_eq!(used(&runtime, Some("bob"), "").await["total"]["calls"], 0);
    runtime.kill9();
    let runtime = bundle.start(&llm);
    let all = used(&runtime, None, "group_by=user").await;
    assert_eq!(
        (&all["groups"][0]["user"], &all["groups"][0]["calls"]),
        (&json!("alice"), &json!(2))
    );
    assert_eq!(used(&runtime, None, "to=2020-01-01T00:00:00Z").await["total"]["calls"], 0);
}

#[tokio::test]
async fn a_budget_that_is_used_up_asks_no_model() {
    let (llm, bundle) = (model().await, priced("{user: {per: month, tokens: 9}}"));
    let runtime = bundle.start(&llm);
    runtime.say("one").await;
    let refused = runtime.chat(&json!({"message": "two"})).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "BUDGET_EXCEEDED");
    // Somebody else has a budget of his own.
    let bob = json!({"message": "hi", "user_id": "bob"});
    let bob = runtime.post("/v1/chat").header("X-Muxi-Client-Key", CLIENT_KEY).json(&bob);
    assert_eq!(bob.send().await.unwrap().status(), 200);
    assert_eq!(llm.journal().len(), 2);
    let later = json!({"message": "later", "mode": "async", "request_id": "r-1"});
    assert_eq!(runtime.chat(&later).send().await.unwrap().status(), 202);
    let told = used(&runtime, Some("alice"), "").await;
    assert_eq!(
        (&told["budgets"][0]["used_tokens"], &told["budgets"][0]["tokens"]),
        (&json!(9), &json!(9))
    );
}

#[tokio::test]
async fn whoever_leaves_early_is_counted_by_an_estimate() {
    let (llm, bundle) = (FakeLlm::start().await, priced("{user: {per: month, tokens: 20}}"));
    llm.script(
        json!([{"reply": {"chunks": ["one ", "two"], "gate": "never", "gate_after_chunks": 1}}]),
    );
    let runtime = bundle.start(&llm);
    let body = json!({"message": "x".repeat(100), "stream": true});
    let mut frames = Frames::of(runtime.chat(&body).send().await.unwrap());
    while frames.next().await.unwrap().1["token"]["content"] != "one " {}
    drop(frames);
    llm.wait_for(1, Some(Outcome::ClientGone)).await;
    let told = loop {
        let told = used(&runtime, Some("alice"), "").await;
        if told["total"]["calls"] == 1 {
            break told;
        }
        tokio::task::yield_now().await;
    };
    // A hundred bytes were asked, and four were said.
    let total = &told["total"];
    assert!(total["prompt_tokens"].as_u64().unwrap() >= 25, "{told}");
    assert_eq!((&total["completion_tokens"], &total["estimated_calls"]), (&json!(1), &json!(1)));
    assert!(total["cost"].as_f64().unwrap() > 0.0);
    let refused = runtime.chat(&json!({"message": "again"})).send().await.unwrap();
    assert_eq!(refused.status(), 429);
}

#[tokio::test]
async fn a_budget_of_money_without_a_price_is_refused_by_name() {
    let llm = FakeLlm::start().await;
    let budget = "usage: {budgets: {formation: {per: day, money: 5}}}\n";
    let bundle = Bundle::new(&manifest(budget));
    let output = bundle.command(&llm).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the price of `fake/model-1`"), "{said}");
    assert!(!output.status.success());
}
