//! One model as a formation configured it: tries, pauses, and a fallback, all before the first text.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::{
    ChunkStream, CompletionRequest, Embeddings, LlmError, LlmErrorKind, Provider, Recording,
    RetryPolicy, Transcript,
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

    /// What texts mean, batch by batch. The fallback is not asked: vectors of two models do not compare.
    pub async fn embed(&self, texts: &[String]) -> Result<(Embeddings, Served), LlmError> {
        let mut attempts = 0;
        let mut all = Embeddings { vectors: Vec::with_capacity(texts.len()), usage: None };
        for batch in batches(texts) {
            let call = || self.primary.provider.embed(&self.primary.model, batch);
            let Embeddings { vectors, usage } = self.attempt(call, &mut attempts).await?;
            all.vectors.extend(vectors);
            all.usage = match (all.usage, usage) {
                (Some(before), Some(usage)) => Some(before.plus(usage)),
                (before, usage) => before.or(usage),
            };
        }
        Ok((all, self.primary.served(attempts, false)))
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

// === private helpers ===

/// The smallest bound of the known providers.
const BATCH_TEXTS_MAX: usize = 96;
/// A text that is larger goes alone.
const BATCH_BYTES_MAX: usize = 256 * 1024;

fn batches(texts: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |text: &&String| {
            bytes += text.len();
            bytes <= BATCH_BYTES_MAX
        };
        let count = rest.iter().take(BATCH_TEXTS_MAX).take_while(fits).count();
        let (batch, later) = rest.split_at(count.max(1).min(rest.len()));
        rest = later;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_in_texts_and_bytes() {
        let sizes = |lengths: &[usize]| {
            let texts: Vec<_> = lengths.iter().map(|length| "x".repeat(*length)).collect();
            batches(&texts).map(<[String]>::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 200]), [96, 96, 8]);
        assert_eq!(sizes(&[BATCH_BYTES_MAX, 1, BATCH_BYTES_MAX + 1, 1]), [1, 1, 1, 1]);
        assert_eq!(sizes(&[BATCH_BYTES_MAX - 1, 1, 1]), [2, 1]);
    }
}
