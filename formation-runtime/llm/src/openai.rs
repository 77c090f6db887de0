//! The chat completions wire of `OpenAI`, which most providers and local servers speak.

mod answer;
mod embeddings;
mod request;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Response;

use self::answer::Answer;
use self::embeddings::embed;
pub(crate) use self::request::decimal;
use crate::http::{Connection, Fault, KeyHeader};
use crate::transcription::transcribe;
use crate::wire::{chunks, refused_tools};
use crate::{
    ChunkStream, CompletionRequest, Embeddings, Endpoint, HttpClients, LlmError, LlmErrorKind,
    Provider, Recording, SetupError, Transcript, sse,
};

#[derive(Debug)]
pub struct OpenAi {
    connection: Connection,
}

impl OpenAi {
    pub fn new(
        provider: &str,
        endpoint: Endpoint,
        clients: &HttpClients,
    ) -> Result<Self, SetupError> {
        let connection = Connection::new(provider, endpoint, clients, KeyHeader::Bearer)?;
        Ok(Self { connection })
    }
}

// === impl Provider ===

impl Provider for OpenAi {
    fn name(&self) -> &str {
        &self.connection.provider
    }

    fn stream<'a>(
        &'a self,
        model: &'a str,
        request: &'a CompletionRequest,
    ) -> BoxFuture<'a, Result<ChunkStream, LlmError>> {
        async move {
            let blame = self.connection.blame(model);
            match self.ask(model, request).await {
                Ok(response) => {
                    let events = sse::events(response.bytes_stream(), self.connection.timeout);
                    Ok(chunks(events, Answer::to(&request.tools), blame))
                }
                Err(fault) => Err(blame.error(fault)),
            }
        }
        .boxed()
    }

    fn transcribe<'a>(
        &'a self,
        model: &'a str,
        recording: &'a Recording,
    ) -> BoxFuture<'a, Result<Transcript, LlmError>> {
        async move {
            let blame = self.connection.blame(model);
            let written = transcribe(&self.connection, model, recording).await;
            written.map_err(|fault| blame.error(fault))
        }
        .boxed()
    }

    fn embed<'a>(
        &'a self,
        model: &'a str,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Embeddings, LlmError>> {
        async move {
            let blame = self.connection.blame(model);
            embed(&self.connection, model, texts).await.map_err(|fault| blame.error(fault))
        }
        .boxed()
    }
}

impl OpenAi {
    /// Sends the request; a server that names an optional field it does not take is asked again without.
    async fn ask(&self, model: &str, request: &CompletionRequest) -> Result<Response, Fault> {
        let mut body = request::body(self.name(), model, request);
        loop {
            let fault = match self.connection.post("/chat/completions", &body).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            let unwelcome = OPTIONAL.iter().find(|(field, words)| {
                fault.kind == LlmErrorKind::BadRequest
                    && body.get(field).is_some()
                    && words.iter().any(|word| fault.message.contains(word))
            });
            let (Some((field, _)), Some(fields)) = (unwelcome, body.as_object_mut()) else {
                return Err(refused_tools(fault, request));
            };
            tracing::debug!(provider = self.name(), model, field, "asking again without a field");
            fields.remove(*field);
        }
    }
}

/// Fields that an answer can do without, and the words by which servers refuse them.
const OPTIONAL: [(&str, &[&str]); 3] = [
    ("stream_options", &["stream_options"]),
    ("temperature", &["temperature"]),
    ("response_format", &["response_format", "response format", "json_schema"]),
];
