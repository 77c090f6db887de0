//! A model file in memory: weights, vocabulary, template, window.

use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};

use super::prompt::Template;
use super::vocabulary::Vocabulary;
use super::{ChatRequest, EngineError, Prompt};
use crate::files;

pub(super) struct Model {
    /// Cloned for each request: a clone shares the weights and has a memory of its own.
    pub(super) weights: ModelWeights,
    pub(super) vocabulary: Vocabulary,
    pub(super) context_tokens: usize,
    template: Template,
}

// === impl Model ===

impl Model {
    pub(super) fn load(path: &Path, context_tokens_max: usize) -> Result<Self, EngineError> {
        // The library asserts much about a file instead of checking it.
        catch_unwind(AssertUnwindSafe(|| Self::read(path, context_tokens_max)))
            .unwrap_or_else(|_| Err(unsupported(path, "it is damaged or not a llama model")))
    }

    fn read(path: &Path, context_tokens_max: usize) -> Result<Self, EngineError> {
        let name = || path.display().to_string();
        let file = File::open(path).map_err(|source| EngineError::Open { path: name(), source })?;
        let mut reader = BufReader::with_capacity(READ_BYTES, file);
        let load_error = |source| EngineError::Load { path: name(), source };

        let mut content = Content::read(&mut reader).map_err(load_error)?;
        let architecture = text(&content, "general.architecture").unwrap_or_default();
        if architecture != "llama" {
            let reason = format!("its architecture is `{architecture}`; only `llama` can be run");
            return Err(unsupported(path, &reason));
        }
        let slow = files::slow_tensors(&content).len();
        if slow > 0 {
            tracing::warn!(
                path = name(),
                tensors = slow,
                "the model has tensors of types Q4_1, Q5_0 or Q5_1, which run 5 to 10 times slower \
                 than Q8_0 or Q4_K"
            );
        }
        let vocabulary =
            Vocabulary::read(&mut content).map_err(|reason| unsupported(path, &reason))?;
        let template =
            template(&content, &vocabulary).map_err(|reason| unsupported(path, &reason))?;
        let stated = content.metadata.get("llama.context_length").and_then(|it| it.to_u64().ok());
        let context_tokens = stated
            .and_then(|tokens| usize::try_from(tokens).ok())
            .unwrap_or(MAX_SEQ_LEN)
            .min(MAX_SEQ_LEN)
            .min(context_tokens_max);
        let weights =
            ModelWeights::from_gguf(content, &mut reader, &Device::Cpu).map_err(load_error)?;
        Ok(Self { weights, vocabulary, context_tokens, template })
    }

    pub(super) fn prepare(&self, request: ChatRequest) -> Result<Prompt, EngineError> {
        let talk = self.template.talk(request.messages, &request.tools);
        let rendered = self.template.render(&talk, true).map_err(EngineError::Template)?;
        self.check_window(self.vocabulary.tokens_at_least(rendered.len()))?;
        let tokens = self.vocabulary.encode(&rendered).map_err(EngineError::Tokenize)?;
        self.check_window(tokens.len())?;

        let fixed = match talk.beginning() {
            Some(beginning) => {
                let rendered =
                    self.template.render(&beginning, false).map_err(EngineError::Template)?;
                self.vocabulary.encode(&rendered).map_err(EngineError::Tokenize)?
            }
            None => Vec::new(),
        };
        Ok(Prompt {
            fixed_tokens: tokens
                .iter()
                .zip(&fixed)
                .take_while(|(left, right)| left == right)
                .count(),
            answer_tokens_max: request.max_tokens.min(self.context_tokens - tokens.len()),
            tokens,
            temperature: request.temperature,
            top_p: request.top_p,
            seed: request.seed,
            stop: request.stop,
        })
    }

    /// At least one token of the answer must fit too.
    fn check_window(&self, prompt_tokens: usize) -> Result<(), EngineError> {
        let context_tokens = self.context_tokens;
        if prompt_tokens < context_tokens {
            Ok(())
        } else {
            Err(EngineError::PromptTooLong { prompt_tokens, context_tokens })
        }
    }
}

const READ_BYTES: usize = 1024 * 1024;

// === private helpers ===

fn template(content: &Content, vocabulary: &Vocabulary) -> Result<Template, String> {
    let source = text(content, "tokenizer.chat_template")
        .ok_or("it has no chat template, so it was not made for conversations")?;
    let token = |key: &str| {
        let index = content.metadata.get(key)?.to_u64().ok()?;
        let tokens = content.metadata.get("tokenizer.ggml.tokens")?.to_vec().ok()?;
        tokens.get(usize::try_from(index).ok()?)?.to_string().ok().cloned()
    };
    Template::new(
        source,
        vocabulary.control(),
        token("tokenizer.ggml.bos_token_id").unwrap_or_default(),
        token("tokenizer.ggml.eos_token_id").unwrap_or_default(),
    )
    .map_err(|error| format!("its chat template is not understood: {error}"))
}

fn text(content: &Content, key: &str) -> Option<String> {
    match content.metadata.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    }
}

fn unsupported(path: &Path, reason: &str) -> EngineError {
    EngineError::Unsupported { path: path.display().to_string(), reason: reason.to_owned() }
}
