//! Requests under way and the streams that tell of them; webhooks.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use muxi_rust::{FormationClient, SseEvent, Webhook};
use serde_json::{Value, json};

use crate::Settings;
use crate::calls::{call, note};
use crate::checks::{Checks, Kind, equal, refused};
use crate::follow::{data, eventually, while_doing};
use crate::formation::open_gate;

const DELIVERY_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn check(
    checks: &mut Checks,
    settings: &Settings,
    way: &str,
    client: &FormationClient,
) {
    check_requests(checks, settings, way, client).await;
    check_streams(checks, way, client).await;
    check_webhook(checks, settings, way, client).await;
}

async fn check_requests(
    checks: &mut Checks,
    settings: &Settings,
    way: &str,
    client: &FormationClient,
) {
    let (user, other) = (&format!("{way}-waiter"), &format!("{way}-nosy"));
    let (done, cancelled) = (&format!("req-{way}-done"), &format!("req-{way}-cancelled"));
    let ask = async |request: &str, message: &str| {
        let body = json!({
            "message": message, "mode": "async", "request_id": request, "session_id": request,
        });
        call!(client.chat(body, Some(user))).await
    };
    let ended = async |request: &str| {
        let ask = async || call!(client.get_request_status(request, user)).await;
        eventually(ask, |found| found["status"] != "processing" && found["status"] != "pending")
            .await
    };
    checks
        .check(&format!("{way} get_request_status, before and after its end"), async {
            equal(&ask(done, &format!("follow {way}")).await?["status"], &json!("processing"))?;
            let found = call!(client.get_request_status(done, user)).await?;
            ensure!(found["result"].is_null(), "{found}");
            open_gate(&settings.fake_url, &format!("follow-{way}")).await?;
            equal(&ended(done).await?["result"], &json!("first second third"))?;
            let others = call!(client.get_request_status(done, other)).await;
            refused(others, Kind::Authorization, 403)?;
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} cancel_request"), async {
            ask(cancelled, "wait for ever").await?;
            call!(client.cancel_request(cancelled, user)).await?;
            equal(&ended(cancelled).await?["status"], &json!("cancelled"))?;
            refused(call!(client.cancel_request(cancelled, user)).await, Kind::Unknown, 400)?;
            Ok(())
        })
        .await;
    checks
        .check(&format!("{way} get_requests, of their user only"), async {
            let found = call!(client.get_requests(user)).await?;
            let requests = found["requests"].as_array().context("no list")?;
            let state = |id: &str| {
                let found = requests.iter().find(|it| it["request_id"] == id);
                found.map(|it| it["status"].clone()).unwrap_or_default()
            };
            equal((state(done), state(cancelled)), (json!("completed"), json!("cancelled")))?;
            equal(&call!(client.get_requests(other)).await?["requests"], &json!([]))
        })
        .await;
}

async fn check_streams(checks: &mut Checks, way: &str, client: &FormationClient) {
    let (user, other) = (&format!("{way}-listener"), &format!("{way}-talker"));
    let (own, others) = (&format!("{way}-own"), &format!("{way}-others"));
    let both = async || {
        for (whom, session) in [(other, others), (user, own)] {
            let message = json!({"message": "greet me", "session_id": session});
            call!(client.chat(message, Some(whom))).await?;
        }
        Ok(())
    };
    let is_completed = |frame: &SseEvent| frame.data.contains("chat.completed");
    checks
        .check(&format!("{way} stream_events, of a chat meanwhile, not of another user's"), async {
            let stream = call!(client.stream_events(user));
            let events = data(&while_doing(stream, is_completed, both).await?)?;
            ensure!(events.iter().all(|it| it["user_id"] == user.as_str()), "{events:?}");
            equal(&events.last().context("no event")?["session_id"], &json!(own))
        })
        .await;
    checks
        .check(&format!("{way} stream_logs of a session, by kind"), async {
            let filters = vec![("session_id", own.clone()), ("event_type", "chat.*".to_owned())];
            let stream = call!(client.stream_logs(Some(filters)));
            let events = data(&while_doing(stream, is_completed, both).await?)?;
            let fits = |it: &Value| {
                let kind = it["event_type"].as_str().unwrap_or_default();
                it["session_id"] == own.as_str() && kind.starts_with("chat.")
            };
            ensure!(events.iter().all(fits), "{events:?}");
            Ok(())
        })
        .await;
}

async fn check_webhook(
    checks: &mut Checks,
    settings: &Settings,
    way: &str,
    client: &FormationClient,
) {
    let mut body = String::new();
    checks
        .check(&format!("{way} verify_signature of a webhook"), async {
            let (url, received) = receiver()?;
            let message = json!({"message": "greet me", "mode": "async", "webhook_url": url});
            let asked = call!(client.chat(message, Some("ada"))).await?;
            let signature;
            (body, signature) = received.recv_timeout(DELIVERY_MAX)?;
            let (key, header) = (settings.admin_key.as_str(), Some(signature.as_str()));
            note("webhook.verify_signature");
            equal(Webhook::verify_signature(&body, header, key), Ok(true))?;
            equal(Webhook::verify_signature(&format!("{body} "), header, key), Ok(false))?;
            note("webhook.verify_signature_with_tolerance");
            let verified = Webhook::verify_signature_with_tolerance(&body, header, key, 60);
            equal(verified, Ok(true))?;
            equal(&serde_json::from_str::<Value>(&body)?["id"], &asked["request_id"])
        })
        .await;
    checks
        .cannot_pass(&format!("{way} Webhook::parse reads another payload"), async {
            note("webhook.parse");
            let error = Webhook::parse(&body).err().context("it reads the documented one")?;
            ensure!(error.is_data() && error.to_string().contains("expected a string"), "{error}");
            Ok(())
        })
        .await;
}

/// Takes one webhook: its address, and the body with the signature.
fn receiver() -> anyhow::Result<(String, mpsc::Receiver<(String, String)>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    let (told, received) = mpsc::channel();
    let receive = move || -> anyhow::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut length, mut signature) = (0, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim_end().is_empty() {
                    break;
                }
                continue;
            };
            match name.to_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "x-muxi-signature" => value.trim().clone_into(&mut signature),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        told.send((String::from_utf8(body)?, signature))?;
        Ok(())
    };
    std::thread::spawn(receive);
    Ok((url, received))
}
