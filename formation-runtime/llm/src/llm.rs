//! One model as a formation configured it: tries, pauses, and a fallback, all before the first text.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::{
    ChunkStream, CompletionRequest, LlmError, LlmErrorKind, Provider, Recording, RetryPolicy,
    Transcript,
};

/// A model at a provider.
#[derive(Clone, Debug)]
pub struct Target {
    pub provider: Arc<dyn Provider>,
    pub model: String,
}

/// A model with its fallback. Once text has been passed on, a failure is the stream's error item:
/// another try would repeat or contradict what the user has read.
#[derive(Clone, Debug)]
pub struct Llm {
    primary: Target,
    fallback: Option<Target>,
    retry: RetryPolicy,
}

/// Who answered, and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `provider/model` of the model that answers.
    pub model: String,
    /// Requests sent, to both models together.
    pub attempts: u32,
    pub fallback: bool,
}

// === impl Llm ===

impl Llm {
    pub fn new(primary: Target, fallback: Option<Target>, retry: RetryPolicy) -> Self {
        Self { primary, fallback, retry }
    }

    /// `provider/model` of the model that is asked first.
    pub fn model(&self) -> String {
        self.primary.to_string()
    }

    /// Resolves when the first piece (or the end of an empty answer) is here, so an error of this call
    /// means that nothing was said yet, and the stream's first item never waits.
    pub async fn stream(
        &self,
        request: &CompletionRequest,
    ) -> Result<(ChunkStream, Served), LlmError> {
        self.ask(|target| target.open(request)).await
    }

    /// Writes down what is said in a recording.
    pub async fn transcribe(
        &self,
        recording: &Recording,
    ) -> Result<(Transcript, Served), LlmError> {
        self.ask(|target| target.provider.transcribe(&target.model, recording)).await
    }

    async fn ask<'a, T, F>(
        &'a self,
        call: impl Fn(&'a Target) -> F,
    ) -> Result<(T, Served), LlmError>
    where
        F: Future<Output = Result<T, LlmError>>,
    {
        let mut attempts = 0;
        let first = match self.attempt(|| call(&self.primary), &mut attempts).await {
            Ok(answer) => return Ok((answer, self.primary.served(attempts, false))),
            Err(error) => error,
        };
        // A refusal for policy reasons must not be shopped around to another model.
        let fallback = match &self.fallback {
            Some(fallback) if first.kind != LlmErrorKind::Refused => fallback,
            Some(_) | None => return Err(first),
        };
        match self.attempt(|| call(fallback), &mut attempts).await {
            Ok(answer) => Ok((answer, fallback.served(attempts, true))),
            Err(second) => Err(LlmError {
                message: format!("{}; then the fallback: {second}", first.message),
                ..first
            }),
        }
    }

    async fn attempt<T, F>(&self, call: impl Fn() -> F, attempts: &mut u32) -> Result<T, LlmError>
    where
        F: Future<Output = Result<T, LlmError>>,
    {
        let mut failures = 0;
        loop {
            *attempts += 1;
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failures += 1;
            let pause = self.retry.pause(failures, error.kind, fastrand::f64());
            tracing::warn!(%error, failures, retry_in = ?pause, "a model call failed");
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }
}

// === impl Target ===

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The host of this machine's models is asked for them by their whole names.
        if self.provider.name() == "local" {
            return formatter.write_str(&self.model);
        }
        write!(formatter, "{}/{}", self.provider.name(), self.model)
    }
}

impl Target {
    /// One try, up to and including the first item of the answer.
    async fn open(&self, request: &CompletionRequest) -> Result<ChunkStream, LlmError> {
        let mut rest = self.provider.stream(&self.model, request).await?;
        match rest.next().await {
            Some(first) => Ok(Box::pin(stream::iter([Ok(first?)]).chain(rest))),
            None => Ok(rest),
        }
    }

    fn served(&self, attempts: u32, fallback: bool) -> Served {
        Served { model: self.to_string(), attempts, fallback }
    }
}
