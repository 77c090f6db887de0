//! States of the model after the beginnings of earlier prompts.
//!
//! The system message of a formation and the history of a conversation come again with every
//! request; computing them anew would cost seconds before the first token. A state is kept only at
//! a border between chunks of fixed size, so going on from it gives bit for bit what computing
//! from the start would give.

use std::sync::{Mutex, PoisonError};

use candle_transformers::models::quantized_llama::ModelWeights;

/// Together the kept states hold the memory of at most so many tokens: 46 KB each in the small
/// model, 190 MB in all.
const KEPT_TOKENS_MAX: usize = 4096;

/// The states in order of their last use.
#[derive(Default)]
pub(super) struct PrefixCache {
    states: Mutex<Vec<State>>,
}

struct State {
    tokens: Vec<u32>,
    weights: ModelWeights,
}

// === impl PrefixCache ===

impl PrefixCache {
    /// The state after the longest known beginning of `prompt`, and how many tokens that covers.
    pub(super) fn find(&self, prompt: &[u32]) -> Option<(ModelWeights, usize)> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        // The last token is always computed: its output chooses the first token of the answer.
        let (index, _) = states
            .iter()
            .enumerate()
            .filter(|(_, state)| {
                state.tokens.len() < prompt.len() && prompt.starts_with(&state.tokens)
            })
            .max_by_key(|(_, state)| state.tokens.len())?;
        let state = states.remove(index);
        let found = (state.weights.clone(), state.tokens.len());
        states.push(state);
        Some(found)
    }

    pub(super) fn keep(&self, tokens: &[u32], weights: &ModelWeights) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|state| state.tokens != tokens);
        states.push(State { tokens: tokens.to_vec(), weights: weights.clone() });
        let mut kept: usize = states.iter().map(|state| state.tokens.len()).sum();
        while kept > KEPT_TOKENS_MAX {
            kept -= states.remove(0).tokens.len();
        }
    }
}
