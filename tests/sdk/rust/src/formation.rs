//! A formation: what it shows, what it answers, what it remembers, whom it refuses.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{Stream, StreamExt as _};
use muxi_rust::{FormationClient, SseEvent};
use serde_json::{Value, json};

use crate::Settings;
use crate::checks::{Checks, Kind, equal, refused};

const GREETING: &str = "Hello from the model.";
/// As in script.json; the SDK decodes each network chunk by itself, so it must not be cut in one.
const UNICODE: &str = "grün 日本語 🦀\u{2028}next\u{2029}line\u{85}end\nof \"it\"";
const USER: Option<&str> = Some("ada");

pub(crate) async fn check(
    checks: &mut Checks,
    settings: &Settings,
    way: &str,
    client: &FormationClient,
) {
    check_admin(checks, settings, way, client).await;
    check_chat(checks, way, client).await;
    check_streams(checks, settings, way, client).await;
    check_sessions(checks, way, client).await;
}

/// With keys that must not do.
pub(crate) async fn check_keys(
    checks: &mut Checks,
    way: &str,
    kind: &str,
    client: &FormationClient,
) {
    let message = || json!({"message": "greet me"});
    let answers = [
        ("chat", client.chat(message(), USER).await),
        ("get_sessions", client.get_sessions("ada", None).await),
        ("get_session_messages", client.get_session_messages("any", "ada").await),
        ("get_status", client.get_status().await),
        ("get_agents", client.get_agents().await),
        ("get_formation_info", client.get_formation_info().await),
    ];
    for (name, answer) in answers {
        checks
            .check(&format!("{way} {name}, {kind}: Authentication"), async {
                refused(answer, Kind::Authentication, 401)?;
                Ok(())
            })
            .await;
    }
    checks
        .check(&format!("{way} chat_stream, {kind}: Authentication"), async {
            let first = pin!(client.chat_stream(message(), USER)).next().await;
            refused(first.context("the stream is empty")?, Kind::Authentication, 401)?;
            Ok(())
        })
        .await;
}

async fn check_admin(
    checks: &mut Checks,
    settings: &Settings,
    way: &str,
    client: &FormationClient,
) {
    let id = settings.formation_id.as_str();
    checks
        .check(&format!("{way} health"), async {
            let health = client.health().await?;
            equal((&health["status"], &health["version"]), (&json!("healthy"), &json!("1.2.3")))
        })
        .await;
    checks
        .check(&format!("{way} get_status"), async {
            let status = client.get_status().await?;
            equal(&status["formation"]["id"], &json!(id))?;
            ensure!(status["request_id"].is_string(), "no request id: {status}");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} get_agents"), async {
            let agents = client.get_agents().await?;
            equal(&agents["count"], &json!(1))?;
            equal(&agents["agents"][0]["id"], &json!("parrot"))
        })
        .await;
    checks
        .check(&format!("{way} get_agent"), async {
            equal(&client.get_agent("parrot").await?["name"], &json!("Parrot"))?;
            refused(client.get_agent("no-such-agent").await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} get_formation_info"), async {
            let shown = client.get_formation_info().await?;
            equal(&shown["id"], &json!(id))?;
            let text = shown.to_string();
            for key in [&settings.admin_key, &settings.client_key] {
                ensure!(!text.contains(key.as_str()), "shows a key");
            }
            Ok(())
        })
        .await;
}

async fn check_chat(checks: &mut Checks, way: &str, client: &FormationClient) {
    checks
        .check(&format!("{way} chat"), async {
            let session = format!("{way}-chat");
            let message = json!({"message": "greet me", "session_id": session});
            let said = client.chat(message, USER).await?;
            equal(&said["message"]["content"], &json!(GREETING))?;
            equal(&said["response"], &json!([{"type": "text", "text": GREETING}]))?;
            equal((&said["session_id"], &said["user_id"]), (&json!(session), &json!("ada")))?;
            ensure!(said["request_id"].is_string(), "no request id: {said}");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} chat, unicode"), async {
            let said = client.chat(json!({"message": "unicode"}), USER).await?;
            equal(&said["message"]["content"], &json!(UNICODE))
        })
        .await;
    checks
        .check(&format!("{way} chat without a message: Validation"), async {
            refused(client.chat(json!({}), USER).await, Kind::Validation, 422)?;
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} chat, the model fails: Server 502"), async {
            let answer = client.chat(json!({"message": "fail at once"}), USER).await;
            refused(answer, Kind::Server, 502)?;
            Ok(())
        })
        .await;
}

async fn check_streams(
    checks: &mut Checks,
    settings: &Settings,
    way: &str,
    client: &FormationClient,
) {
    checks
        .check(&format!("{way} chat_stream"), async {
            let session = format!("{way}-stream");
            let message = json!({"message": "greet me", "session_id": session});
            let frames = all(client.chat_stream(message, USER)).await?;
            let events = tokens(&frames)?;
            let contents = contents(&events);
            equal(contents.concat(), GREETING)?;
            ensure!(contents.len() > 1, "in one piece: {contents:?}");
            let last = events.last().context("no event")?;
            equal((&last["type"], &last["content"]), (&json!("completed"), &json!(GREETING)))?;
            equal(&last["session_id"], &json!(session))?;
            let done = frames.last().context("no frame")?;
            equal(done.event.as_str(), "done")?;
            equal(serde_json::from_str::<Value>(&done.data)?, json!({"finished": true}))
        })
        .await;
    checks
        .check(&format!("{way} chat_stream, unicode"), async {
            let frames = all(client.chat_stream(json!({"message": "unicode"}), USER)).await?;
            equal(contents(&tokens(&frames)?).concat(), UNICODE)
        })
        .await;
    checks
        .check(&format!("{way} chat_stream, words arrive while the model speaks"), async {
            let message = json!({"message": format!("hold {way}")});
            let mut stream = pin!(client.chat_stream(message, USER));
            let mut heard = Vec::new();
            while let Some(frame) = stream.next().await {
                heard.extend(contents(&tokens(&[frame?])?));
                if heard == ["first"] {
                    // The model says nothing more before this.
                    open_gate(&settings.fake_url, way).await?;
                }
            }
            equal(heard.concat(), "first second third")
        })
        .await;
    checks
        .check(&format!("{way} chat_stream, the model fails midway: Unknown"), async {
            let mut stream = pin!(client.chat_stream(json!({"message": "fail midway"}), USER));
            let mut heard = Vec::new();
            let end = loop {
                match stream.next().await.context("no error before the end")? {
                    Ok(frame) => heard.extend(contents(&tokens(&[frame])?)),
                    Err(error) => break error,
                }
            };
            equal(heard.concat(), "half of")?;
            equal(refused::<()>(Err(end), Kind::Unknown, 0)?.as_str(), "LLM_ERROR")
        })
        .await;
    checks
        .check(&format!("{way} chat_stream, the model fails at once: Server 502"), async {
            let message = json!({"message": "fail at once"});
            let first = pin!(client.chat_stream(message, USER)).next().await;
            refused(first.context("the stream is empty")?, Kind::Server, 502)?;
            Ok(())
        })
        .await;
}

/// Reads back what [`check_chat`] and [`check_streams`] said.
async fn check_sessions(checks: &mut Checks, way: &str, client: &FormationClient) {
    let said = [format!("{way}-chat"), format!("{way}-stream")];
    checks
        .check(&format!("{way} get_sessions"), async {
            let found = client.get_sessions("ada", None).await?;
            let sessions = found["sessions"].as_array().context("no list")?;
            for wanted in &said {
                let is_there = sessions.iter().any(|it| it["session_id"] == wanted.as_str());
                ensure!(is_there, "{wanted} is not in {found}");
            }
            equal(&client.get_sessions("ada", Some(1)).await?["count"], &json!(1))
        })
        .await;
    for session in &said {
        checks
            .check(&format!("{way} get_session_messages of {session}"), async {
                let found = client.get_session_messages(session, "ada").await?;
                let messages = found["messages"].as_array().context("no list")?;
                let texts: Vec<_> = messages.iter().map(|it| &it["text"]).collect();
                equal(texts, [&json!("greet me"), &json!(GREETING)])
            })
            .await;
    }
    checks
        .check(&format!("{way} get_session"), async {
            let found = client.get_session(&said[0], "ada").await?;
            equal(&found["message_count"], &json!(2))?;
            refused(client.get_session(&said[0], "eve").await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
}

// === private helpers ===

async fn all(
    stream: impl Stream<Item = muxi_rust::Result<SseEvent>>,
) -> muxi_rust::Result<Vec<SseEvent>> {
    stream.collect::<Vec<_>>().await.into_iter().collect()
}

async fn open_gate(fake_url: &str, name: &str) -> reqwest::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    client.post(format!("{fake_url}/__gate/{name}")).send().await?.error_for_status()?;
    Ok(())
}

/// The events of the frames without a name.
fn tokens(frames: &[SseEvent]) -> anyhow::Result<Vec<Value>> {
    let unnamed = frames.iter().filter(|frame| frame.event == "message");
    unnamed
        .map(|frame| {
            let mut data: Value = serde_json::from_str(&frame.data)?;
            Ok(data["token"].take())
        })
        .collect()
}

fn contents(events: &[Value]) -> Vec<String> {
    let contents = events.iter().filter(|event| event["type"] == "content");
    contents.map(|event| event["content"].as_str().unwrap_or_default().to_owned()).collect()
}
