//! Chats, and the sessions that come of them.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use muxi_rust::{FormationClient, SseEvent, parse_ui_widgets};
use serde_json::{Value, json};

use crate::Settings;
use crate::calls::{call, note};
use crate::checks::{Checks, Kind, equal, refused, strings};
use crate::follow::all;

pub(crate) const GREETING: &str = "Hello from the model.";
/// As in script.json; the SDK decodes each network chunk by itself, so it must not be cut in one.
const UNICODE: &str = "grün 日本語 🦀\u{2028}next\u{2029}line\u{85}end\nof \"it\"";
const USER: Option<&str> = Some("ada");
/// A sound, in base64, and what the fake model hears in each.
const RECORDING: &str = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA==";
const HEARD: &str = "greet me";

pub(crate) async fn check(
    checks: &mut Checks,
    settings: &Settings,
    way: &str,
    client: &FormationClient,
) {
    check_chat(checks, way, client).await;
    check_streams(checks, settings, way, client).await;
    check_sessions(checks, way, client).await;
    check_restore(checks, way, client).await;
    check_audio(checks, way, client).await;
}

async fn check_chat(checks: &mut Checks, way: &str, client: &FormationClient) {
    checks
        .check(&format!("{way} chat"), async {
            let session = format!("{way}-chat");
            let message = json!({"message": "greet me", "session_id": session});
            let said = call!(client.chat(message, USER)).await?;
            equal(&said["message"]["content"], &json!(GREETING))?;
            equal(&said["response"], &json!([{"type": "text", "text": GREETING}]))?;
            equal((&said["session_id"], &said["user_id"]), (&json!(session), &json!("ada")))?;
            ensure!(said["request_id"].is_string(), "no request id: {said}");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} chat, unicode"), async {
            let said = call!(client.chat(json!({"message": "unicode"}), USER)).await?;
            equal(&said["message"]["content"], &json!(UNICODE))
        })
        .await;
    checks
        .check(&format!("{way} chat without a message: Validation"), async {
            refused(call!(client.chat(json!({}), USER)).await, Kind::Validation, 422)?;
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} chat, the model fails: Server 502"), async {
            let answer = call!(client.chat(json!({"message": "fail at once"}), USER)).await;
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
            let frames = all(call!(client.chat_stream(message, USER))).await?;
            let events = tokens(&frames)?;
            let contents = contents(&events);
            equal(contents.concat(), GREETING)?;
            ensure!(contents.len() > 1, "in one piece: {contents:?}");
            let last = events.last().context("no event")?;
            equal((&last["type"], &last["content"]), (&json!("completed"), &json!(GREETING)))?;
            equal(&last["session_id"], &json!(session))?;
            note("muxi.parse_ui_widgets");
            ensure!(frames.iter().all(|frame| parse_ui_widgets(frame).is_empty()));
            let ui =
                SseEvent { event: "ui".into(), data: r#"{"ui": [{"type": "options"}]}"#.into() };
            equal(parse_ui_widgets(&ui).len(), 1)?;
            let done = frames.last().context("no frame")?;
            equal(done.event.as_str(), "done")?;
            equal(serde_json::from_str::<Value>(&done.data)?, json!({"finished": true}))
        })
        .await;
    checks
        .check(&format!("{way} chat_stream, unicode"), async {
            let frames =
                all(call!(client.chat_stream(json!({"message": "unicode"}), USER))).await?;
            equal(contents(&tokens(&frames)?).concat(), UNICODE)
        })
        .await;
    checks
        .check(&format!("{way} chat_stream, words arrive while the model speaks"), async {
            let message = json!({"message": format!("hold {way}")});
            let mut stream = pin!(call!(client.chat_stream(message, USER)));
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
            let mut stream =
                pin!(call!(client.chat_stream(json!({"message": "fail midway"}), USER)));
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
            let first = pin!(call!(client.chat_stream(message, USER))).next().await;
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
            let found = call!(client.get_sessions("ada", None)).await?;
            let sessions = found["sessions"].as_array().context("no list")?;
            for wanted in &said {
                let is_there = sessions.iter().any(|it| it["session_id"] == wanted.as_str());
                ensure!(is_there, "{wanted} is not in {found}");
            }
            equal(&call!(client.get_sessions("ada", Some(1))).await?["count"], &json!(1))
        })
        .await;
    for session in &said {
        checks
            .check(&format!("{way} get_session_messages of {session}"), async {
                let found = call!(client.get_session_messages(session, "ada")).await?;
                let messages = found["messages"].as_array().context("no list")?;
                let texts: Vec<_> = messages.iter().map(|it| &it["text"]).collect();
                equal(texts, [&json!("greet me"), &json!(GREETING)])
            })
            .await;
    }
    checks
        .check(&format!("{way} get_session"), async {
            let found = call!(client.get_session(&said[0], "ada")).await?;
            equal(&found["message_count"], &json!(2))?;
            refused(call!(client.get_session(&said[0], "eve")).await, Kind::NotFound, 404)?;
            Ok(())
        })
        .await;
}

async fn check_audio(checks: &mut Checks, way: &str, client: &FormationClient) {
    let question = |session: &str| {
        let files = json!([{"filename": "note.wav", "content": RECORDING}]);
        json!({"files": files, "session_id": session})
    };
    let asked = async |session: &str| {
        let found = call!(client.get_session_messages(session, "ada")).await?;
        anyhow::Ok(found["messages"][0]["text"].as_str().unwrap_or_default().to_owned())
    };
    checks
        .check(&format!("{way} audio_chat"), async {
            let session = format!("{way}-heard");
            let said = call!(client.audio_chat(question(&session), USER)).await?;
            equal(&said["message"]["content"], &json!(GREETING))?;
            let asked = asked(&session).await?;
            ensure!(asked.contains(HEARD), "{asked}");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} audio_chat_stream"), async {
            let session = format!("{way}-heard-stream");
            let frames = all(call!(client.audio_chat_stream(question(&session), USER))).await?;
            equal(contents(&tokens(&frames)?).concat(), GREETING)?;
            let asked = asked(&session).await?;
            ensure!(asked.contains(HEARD), "{asked}");
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} audio_chat_stream without a recording: Validation"), async {
            let stream = call!(client.audio_chat_stream(json!({"files": []}), USER));
            let first = pin!(stream).next().await;
            refused(first.context("the stream is empty")?, Kind::Validation, 422)?;
            Ok(())
        })
        .await;
}

async fn check_restore(checks: &mut Checks, way: &str, client: &FormationClient) {
    let (session, user) = (&format!("{way}-restored"), &format!("{way}-restorer"));
    let kept = |role: &str| {
        json!([
            {"role": role, "content": "what was it?", "timestamp": "2026-01-01T10:00:00Z"},
            {"role": "assistant", "content": "a heron", "timestamp": "2026-01-01T10:00:01Z"},
        ])
    };
    checks
        .check(&format!("{way} restore_session, then its messages"), async {
            call!(client.restore_session(session, user, kept("user"))).await?;
            let found = call!(client.get_session_messages(session, user)).await?;
            equal(strings(&found["messages"], "text"), ["what was it?", "a heron"])?;
            let faulty = call!(client.restore_session(session, user, kept("narrator"))).await;
            refused(faulty, Kind::Validation, 422)?;
            Ok(())
        })
        .await;
}

// === private helpers ===

pub(crate) async fn open_gate(fake_url: &str, name: &str) -> reqwest::Result<()> {
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
