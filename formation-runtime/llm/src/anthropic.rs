//! Anthropic's native messages wire.

mod answer;
mod request;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::answer::Answer;
use crate::http::{Connection, KeyHeader};
use crate::wire::{chunks, refused_tools};
use crate::{
    ChunkStream, CompletionRequest, Endpoint, HttpClients, LlmError, Provider, SetupError, sse,
};

#[derive(Debug)]
pub struct Anthropic {
    connection: Connection,
}

impl Anthropic {
    pub fn new(endpoint: Endpoint, clients: &HttpClients) -> Result<Self, SetupError> {
        let key = KeyHeader::Named("x-api-key");
        let connection = Connection::new("anthropic", endpoint, clients, key)?
            .with_header("anthropic-version", "2023-06-01");
        Ok(Self { connection })
    }
}

// === impl Provider ===

impl Provider for Anthropic {
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
            match self.connection.post("/messages", &request::body(model, request)).await {
                Ok(response) => {
                    let events = sse::events(response.bytes_stream(), self.connection.timeout);
                    Ok(chunks(events, Answer::to(&request.tools), blame))
                }
                Err(fault) => Err(blame.error(refused_tools(fault, request))),
            }
        }
        .boxed()
    }
}
