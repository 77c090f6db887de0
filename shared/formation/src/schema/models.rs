//! What the manifest says of models: one table an entry, by what the entry's model is for.

use super::Shape::{Map, Model, Real, Text, Whole};
use super::State::{Built, Removed, Unbuilt};
use super::{State, Table};

type Key = (&'static str, State);

pub(crate) const CAPABILITIES: [&str; 7] =
    ["text", "vision", "embedding", "audio", "video", "documents", "streaming"];

/// An entry of `llm.models`, by the capability that it names; several of them share their settings.
pub(crate) fn model_table(named: &[&str]) -> &'static Table {
    match named {
        ["vision"] => &VISION,
        ["audio"] => &AUDIO,
        ["documents"] => &DOCUMENTS,
        _ => &TEXT,
    }
}

static TEXT: Table = Table { required: &[], keys: &entry(&MODEL_SETTINGS) };
static VISION: Table = Table { required: &[], keys: &entry(&VISION_SETTINGS) };
static AUDIO: Table = Table { required: &[], keys: &entry(&AUDIO_SETTINGS) };
static DOCUMENTS: Table = Table { required: &[], keys: &entry(&DOCUMENT_SETTINGS) };

const fn entry(settings: &'static Table) -> [Key; 9] {
    [
        ("text", Built(Model)),
        ("vision", Built(Model)),
        ("embedding", Built(Model)),
        ("audio", Built(Model)),
        ("video", Unbuilt),
        ("documents", Built(Model)),
        ("streaming", Unbuilt),
        ("api_key", Built(Text)),
        ("settings", Built(Map(settings))),
    ]
}

pub(super) static MODEL_SETTINGS: Table =
    Table { required: &[], keys: &[TEMPERATURE, MAX_TOKENS, TIMEOUT, RETRIES, FALLBACK, CACHING] };

static VISION_SETTINGS: Table = Table {
    required: &[],
    keys: &[
        TEMPERATURE,
        MAX_TOKENS,
        TIMEOUT,
        RETRIES,
        FALLBACK,
        CACHING,
        ("image", Built(Map(&IMAGE))),
    ],
};

static IMAGE: Table = Table { required: &[], keys: &[MAX_SIZE, ("preprocessing", Unbuilt)] };

static DOCUMENT_SETTINGS: Table = Table {
    required: &[],
    keys: &[
        TEMPERATURE,
        MAX_TOKENS,
        TIMEOUT,
        RETRIES,
        FALLBACK,
        CACHING,
        MAX_SIZE,
        ("extraction", Unbuilt),
        ("cache_ttl_seconds", Unbuilt),
    ],
};

static AUDIO_SETTINGS: Table = Table {
    required: &[],
    keys: &[
        TIMEOUT,
        RETRIES,
        FALLBACK,
        CACHING,
        MAX_SIZE,
        ("language", Built(Text)),
        ("temperature", Removed("a transcription has none")),
        ("max_tokens", Removed("a transcription is as long as what was said")),
    ],
};

const TEMPERATURE: Key = ("temperature", Built(Real { min: 0.0, max: 2.0 }));
const MAX_TOKENS: Key = ("max_tokens", Built(Whole { min: 1, max: 1_000_000 }));
const TIMEOUT: Key = ("timeout_seconds", Built(Whole { min: 1, max: 3_600 }));
const RETRIES: Key = ("max_retries", Built(Whole { min: 0, max: 10 }));
const FALLBACK: Key = ("fallback_model", Built(Model));
const CACHING: Key = ("caching", Unbuilt);
const MAX_SIZE: Key = ("max_size_mb", Built(Whole { min: 1, max: 1_000 }));
