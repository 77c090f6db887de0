//! The loop of a generating thread: take a job, read its prompt, write its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use candle_transformers::models::quantized_llama::ModelWeights;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::model::Model;
use super::prefix::PrefixCache;
use super::queue::Abandonable;
use super::text::{StopTexts, Utf8Assembler};
use super::{EngineError, FinishReason, Piece, Pieces, Prompt, Shared, Usage};

/// Prompts are read in chunks that begin at multiples of this, so that rounding, and with it the
/// text chosen at temperature zero, never depends on what was cached. A cancelled request ends
/// within one chunk.
const CHUNK_TOKENS: usize = 64;

/// Unlikely tokens are never chosen, and sorting these few is all that sampling costs.
const CANDIDATES_MAX: usize = 40;

pub(super) struct Job {
    prompt: Prompt,
    cancel: CancellationToken,
    pieces: mpsc::Sender<Result<Piece, EngineError>>,
}

/// A job and the channel on which its answer will come.
pub(super) fn job(prompt: Prompt, cancel: CancellationToken) -> (Job, Pieces) {
    // One piece a token, what was held back for a stop text, and the end: sending never waits.
    let (pieces, receiver) = mpsc::channel(prompt.answer_tokens_max + 2);
    (Job { prompt, cancel, pieces }, receiver)
}

/// Serves jobs until the queue is closed and empty.
pub(super) fn work(shared: &Shared) {
    while let Some(job) = shared.queue.take() {
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            Generation::new(&shared.model, &shared.prefixes, &job).run()
        }));
        let last = outcome.unwrap_or_else(|_| {
            // The pool of the arithmetic library stays locked after a panic.
            shared.crashed.store(true, Ordering::Release);
            Err(EngineError::Crashed)
        });
        shared.queue.done(started.elapsed());
        job.send(last);
    }
}

struct Generation<'a> {
    model: &'a Model,
    prefixes: &'a PrefixCache,
    job: &'a Job,
    weights: ModelWeights,
    /// How many tokens of the prompt, and then of the answer, the weights have seen.
    position: usize,
    cached_tokens: usize,
    completion_tokens: usize,
}

// === impl Job ===

impl Job {
    fn send(&self, piece: Result<Piece, EngineError>) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.pieces.try_send(piece) {
            // `job` made the channel large enough for the longest answer.
            tracing::error!("an answer has outgrown its channel; a piece of it is lost");
        }
    }
}

impl Abandonable for Job {
    fn is_abandoned(&self) -> bool {
        self.cancel.is_cancelled() || self.pieces.is_closed()
    }
}

// === impl Generation ===

impl<'a> Generation<'a> {
    fn new(model: &'a Model, prefixes: &'a PrefixCache, job: &'a Job) -> Self {
        let (weights, position) =
            prefixes.find(&job.prompt.tokens).unwrap_or_else(|| (model.weights.clone(), 0));
        Self {
            model,
            prefixes,
            job,
            weights,
            position,
            cached_tokens: position,
            completion_tokens: 0,
        }
    }

    /// Returns the last piece; those before it have been sent.
    fn run(mut self) -> Result<Piece, EngineError> {
        let Some(logits) = self.read_prompt().map_err(EngineError::Compute)? else {
            return Ok(self.finished(FinishReason::Cancelled));
        };
        let reason = self.write_answer(logits).map_err(EngineError::Compute)?;
        Ok(self.finished(reason))
    }

    /// The output after the last token of the prompt; `None` when cancelled.
    fn read_prompt(&mut self) -> candle_core::Result<Option<Tensor>> {
        let prompt = &self.job.prompt;
        let last_border = border(prompt.tokens.len() - 1);
        let fixed_border = border(prompt.fixed_tokens);
        loop {
            if self.job.is_abandoned() {
                return Ok(None);
            }
            let end = (self.position + CHUNK_TOKENS).min(prompt.tokens.len());
            let logits = self.forward(&prompt.tokens[self.position..end])?;
            if end == last_border || end == fixed_border {
                self.prefixes.keep(&prompt.tokens[..end], &self.weights);
            }
            if end == prompt.tokens.len() {
                return Ok(Some(logits));
            }
        }
    }

    fn write_answer(&mut self, mut logits: Tensor) -> candle_core::Result<FinishReason> {
        let prompt = &self.job.prompt;
        let mut sampler = LogitsProcessor::from_sampling(prompt.seed, sampling(prompt));
        let mut characters = Utf8Assembler::default();
        let mut stops = StopTexts::new(prompt.stop.clone());
        let reason = loop {
            if self.job.is_abandoned() {
                return Ok(FinishReason::Cancelled);
            }
            if self.completion_tokens == prompt.answer_tokens_max {
                break FinishReason::Length;
            }
            let token = sampler.sample(&logits.squeeze(0)?)?;
            self.completion_tokens += 1;
            if self.model.vocabulary.ends_turn(token) {
                break FinishReason::Stop;
            }
            let released = stops.push(&characters.push(self.model.vocabulary.bytes(token)));
            self.say(released.text);
            if released.stopped {
                return Ok(FinishReason::Stop);
            }
            // The output after the last token of a full answer is not needed.
            if self.completion_tokens < prompt.answer_tokens_max {
                logits = self.forward(&[token])?;
            }
        };
        let rest = stops.push(&characters.finish());
        self.say(rest.text + &stops.finish());
        Ok(reason)
    }

    fn forward(&mut self, tokens: &[u32]) -> candle_core::Result<Tensor> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = self.weights.forward(&input, self.position)?;
        self.position += tokens.len();
        Ok(logits)
    }

    fn say(&self, text: String) {
        if !text.is_empty() {
            self.job.send(Ok(Piece::Text(text)));
        }
    }

    fn finished(&self, reason: FinishReason) -> Piece {
        Piece::Finished {
            reason,
            usage: Usage {
                prompt_tokens: self.job.prompt.tokens.len(),
                cached_tokens: self.cached_tokens,
                completion_tokens: self.completion_tokens,
            },
        }
    }
}

// === private helpers ===

/// The last border between chunks at or before a position.
fn border(position: usize) -> usize {
    position / CHUNK_TOKENS * CHUNK_TOKENS
}

fn sampling(prompt: &Prompt) -> Sampling {
    if prompt.temperature <= 0.0 {
        Sampling::ArgMax
    } else {
        Sampling::TopKThenTopP {
            k: CANDIDATES_MAX,
            p: prompt.top_p,
            temperature: prompt.temperature,
        }
    }
}
