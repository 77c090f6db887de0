//! A deployed formation as its app's developer sees it: a port and its keys.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{Answer, Frames};
use crate::hostile::Archive;

pub const CLIENT_KEY: &str = "fmc_test";
pub const ADMIN_KEY: &str = "fma_test";

/// A formation on its own port.
#[derive(Debug, Clone)]
pub struct Formation {
    pub id: String,
    pub port: u16,
    http: reqwest::Client,
}

/// One agent on the model `fake/model-1` at `base_url`, with a durable memory.
pub fn manifest(id: &str, base_url: &str) -> String {
    format!(
        "schema: '1.0.0'
id: {id}
name: Under test
version: 2.1.0
description: A formation under test
server: {{api_keys: {{client_key: {CLIENT_KEY}, admin_key: {ADMIN_KEY}}}}}
llm:
  base_urls: {{fake: '{base_url}'}}
  settings: {{max_retries: 0}}
  models: [{{text: fake/model-1}}]
memory:
  buffer: {{size: 10}}
  persistent: {{connection_string: 'sqlite:///memory.db'}}
agents:
  - {{schema: '1.0.0', id: helper, description: Helps, system_message: Be brief.}}
"
    )
}

/// The bundle of [`manifest`].
pub fn bundle(id: &str, base_url: &str) -> Vec<u8> {
    bundle_with(id, &manifest(id, base_url))
}

/// The bundle of [`manifest`] in another version.
pub fn bundle_of_version(id: &str, base_url: &str, version: &str) -> Vec<u8> {
    bundle_with(id, &manifest(id, base_url).replace("2.1.0", version))
}

/// A bundle with a manifest of choice.
pub fn bundle_with(id: &str, manifest: &str) -> Vec<u8> {
    Archive::default().folder(id).file(&format!("{id}/formation.afs"), manifest.as_bytes()).gzip()
}

// === impl Formation ===

impl Formation {
    pub(super) fn new(id: &str, port: u16, http: reqwest::Client) -> Self {
        Self { id: id.to_owned(), port, http }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same formation behind another base, such as the manager's `/api/{id}`.
    pub fn chat_at(&self, base: &str, body: &Value) -> RequestBuilder {
        self.http
            .post(format!("{base}/v1/chat"))
            .header("X-Muxi-Client-Key", CLIENT_KEY)
            .header("X-Muxi-User-ID", "alice")
            .json(body)
    }

    /// A message of the user `alice` on the formation's port.
    pub fn chat(&self, body: &Value) -> RequestBuilder {
        self.chat_at(&self.url(), body)
    }

    /// Says something in the session `s`.
    pub async fn say(&self, message: &str) -> Answer {
        self.say_in("s", message).await
    }

    pub async fn say_in(&self, session: &str, message: &str) -> Answer {
        let body = json!({"message": message, "session_id": session, "stream": false});
        Answer::of(self.chat(&body)).await
    }

    /// The same as a stream of events.
    pub async fn stream(&self, message: &str) -> Frames {
        Frames::of(self.chat(&json!({"message": message, "session_id": "s", "stream": true}))).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.url()));
        Answer::of(request.header("X-Muxi-Client-Key", CLIENT_KEY)).await
    }

    /// Texts of the session `s` of `alice`, oldest first.
    pub async fn transcript(&self) -> Vec<String> {
        let answer = self.get("/v1/sessions/s/messages?user_id=alice").await;
        let messages = answer.data()["messages"].as_array().expect("a list").clone();
        messages.iter().map(|it| it["text"].as_str().expect("a text").to_owned()).collect()
    }
}
