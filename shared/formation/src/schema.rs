//! The schema as data: every documented key, and whether this version reads it.
//!
//! To build a documented key: change its state here, add its field to `manifest.rs`, read it in the
//! runtime. Nothing else decides what is accepted.

mod artifacts;
mod logging;
mod models;
mod values;

use artifacts::ARTIFACTS;
use logging::LOGGING;
pub(crate) use logging::STREAM;
use models::MODEL_SETTINGS;
pub(crate) use models::{CAPABILITIES, model_table};
use values::{
    agent_id, currency, formation_id, missed_runs, period, schema_version, time_of_day, timezone,
    version,
};
pub(crate) use values::{is_word, size};

/// Longer words are no slips, and comparing them would cost time.
const WORD_BYTES_MAX: usize = 64;

/// A map with a closed set of keys.
pub(crate) struct Table {
    pub(crate) keys: &'static [(&'static str, State)],
    pub(crate) required: &'static [&'static str],
}

#[derive(Clone, Copy)]
pub(crate) enum State {
    /// Read.
    Built(Shape),
    /// Accepted and without effect; the text, if any, becomes a warning.
    Inert(Option<&'static str>),
    /// Documented; refused until it is built.
    Planned,
    /// No longer (or never) part of the schema; the text tells what to write instead.
    Removed(&'static str),
}

/// What a value may look like.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Text,
    /// A text without placeholders that passes a check.
    Literal(fn(&str) -> Result<(), Refusal>),
    Texts,
    Url,
    Bool,
    /// A documented switch that can only be off in this version.
    Off,
    Whole {
        min: i64,
        max: i64,
    },
    Real {
        min: f64,
        max: f64,
    },
    /// A count written out, without placeholders, so that the manager can read it, too.
    Count {
        max: u64,
    },
    /// Bytes, or a text with a unit such as `512MiB`; without placeholders, too.
    Size,
    /// `provider/model`, or an alias of one.
    Model,
    /// A model written out; aliases do not lead to aliases.
    FullModel,
    Map(&'static Table),
    /// A map with free keys and values of one shape.
    Each(&'static Shape),
    /// The same with models as keys.
    EachModel(&'static Shape),
    Models,
    Persistent,
    /// `stdout`, or a file below the data folder.
    LogTarget,
    LogStreams,
    Anything,
}

/// What is wrong with a value, and the mend.
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) mend: &'static str,
}

pub(crate) static ROOT: Table = Table {
    required: &["schema", "id", "description", "agents"],
    keys: &[
        ("schema", Built(Literal(schema_version))),
        ("id", Built(Literal(formation_id))),
        ("description", Built(Text)),
        ("name", Built(Text)),
        ("version", Built(Literal(version))),
        ("author", Built(Text)),
        ("url", Built(Text)),
        ("license", Built(Text)),
        ("tags", Built(Texts)),
        ("repository", Built(Text)),
        ("server", Built(Map(&SERVER))),
        ("llm", Built(Map(&LLM))),
        ("overlord", Built(Map(&OVERLORD))),
        ("agents", Built(Anything)),
        ("memory", Built(Map(&MEMORY))),
        ("scheduler", Built(Map(&SCHEDULER))),
        ("input_limits", Built(Map(&INPUT_LIMITS))),
        // Not documented by the original, as is the next: what model calls cost and may cost.
        ("usage", Built(Map(&USAGE))),
        // What the formation itself wants to stay below.
        ("limits", Built(Map(&LIMITS))),
        ("extensions", Inert(None)),
        ("runtime", Inert(Some("the manager decides which runtime serves a formation"))),
        ("muxi_runtime", Inert(Some("the manager decides which runtime serves a formation"))),
        // A server of the original writes these two into the manifests it stores.
        ("_server_id", Inert(None)),
        ("_deployment_mode", Inert(None)),
        ("a2a", Planned),
        ("artifacts", Built(Map(&ARTIFACTS))),
        ("async", Built(Map(&ASYNC))),
        ("coding", Planned),
        ("commands", Planned),
        ("executor", Planned),
        ("init", Planned),
        ("links", Planned),
        ("logging", Built(Map(&LOGGING))),
        ("mcp", Planned),
        ("mcps", Planned),
        ("middleware", Planned),
        ("proactive", Planned),
        ("rbac", Planned),
        ("rce", Planned),
        ("skills", Planned),
        ("tuning", Planned),
        ("user_credentials", Planned),
        ("clarification", Removed("it belongs under `overlord`")),
        ("knowledge", Removed("knowledge belongs to an agent")),
        ("observability", Removed("its successor is `logging`")),
        ("persona", Removed("write SOUL.md, or `overlord.soul`")),
        ("sops", Removed("procedures are files in `sops/`")),
        ("soul", Removed("write SOUL.md, or `overlord.soul`")),
        ("triggers", Removed("triggers are files in `triggers/`")),
        ("workflow", Removed("it belongs under `overlord`")),
    ],
};

static SERVER: Table = Table {
    required: &[],
    keys: &[
        ("host", Built(Text)),
        ("port", Built(Whole { min: 1, max: 65_535 })),
        ("access_log", Built(Bool)),
        ("api_keys", Built(Map(&SERVER_KEYS))),
        ("auth", Removed("keys are given in `server.api_keys`")),
    ],
};

static SERVER_KEYS: Table =
    Table { required: &[], keys: &[("admin_key", Built(Text)), ("client_key", Built(Text))] };

static LLM: Table = Table {
    required: &[],
    keys: &[
        ("api_keys", Built(Each(&Text))),
        ("base_urls", Built(Each(&Url))),
        ("settings", Built(Map(&MODEL_SETTINGS))),
        ("aliases", Built(Each(&FullModel))),
        ("models", Built(Models)),
        ("model", Removed("write `llm.models: [{text: provider/model}]`")),
    ],
};

static OVERLORD: Table = Table {
    required: &[],
    keys: &[
        ("soul", Built(Text)),
        ("llm", Planned),
        ("caching", Planned),
        ("response", Built(Map(&RESPONSE))),
        ("workflow", Planned),
        ("clarification", Planned),
        ("persona", Removed("its name is `soul`")),
        ("routing", Removed("it is no longer part of the schema")),
        ("agent_selection", Removed("it is no longer part of the schema")),
        ("complexity_threshold", Removed("its place is `overlord.workflow`")),
        ("auto_decomposition", Removed("its place is `overlord.workflow`")),
    ],
};

static RESPONSE: Table = Table {
    required: &[],
    keys: &[
        ("stream_tokens", Built(Bool)),
        ("progress", Built(Bool)),
        ("format", Planned),
        ("streaming", Planned),
        ("widgets", Planned),
        ("retry_async", Planned),
    ],
};

static MEMORY: Table = Table {
    required: &[],
    keys: &[
        ("buffer", Built(Map(&BUFFER))),
        ("persistent", Built(Persistent)),
        // Not documented by the original.
        ("retention", Built(Map(&RETENTION))),
        ("working", Planned),
        ("ingestion", Planned),
        ("distillery", Planned),
        ("events", Planned),
        ("decay", Planned),
        ("projections", Planned),
        ("captains_log", Planned),
        ("compaction", Planned),
        ("pruning", Planned),
        ("index", Planned),
        ("lint", Planned),
        ("session_timeout", Removed("sessions do not expire")),
        ("vector", Removed("its successor is `memory.working`")),
    ],
};

static RETENTION: Table = Table {
    required: &[],
    keys: &[
        ("sessions_days", Built(Whole { min: 0, max: 36_500 })),
        ("requests_hours", Built(Whole { min: 1, max: 8_760 })),
    ],
};

static BUFFER: Table = Table {
    required: &[],
    keys: &[
        ("size", Built(Whole { min: 0, max: 1_000 })),
        ("multiplier", Built(Whole { min: 1, max: 1_000 })),
        ("vector_search", Built(Off)),
        ("embedding_model", Planned),
        ("enabled", Removed("`size: 0` turns the buffer off")),
    ],
};

pub(crate) static PERSISTENT: Table = Table {
    required: &[],
    keys: &[
        ("enabled", Built(Bool)),
        ("connection_string", Built(Text)),
        ("embedding_model", Planned),
        ("query_timeout_seconds", Planned),
        ("user_synopsis", Planned),
        ("provider", Removed("`connection_string` says it")),
        ("path", Removed("write `connection_string: sqlite:///memory.db`")),
    ],
};

static ASYNC: Table = Table {
    required: &[],
    keys: &[
        ("webhook_url", Built(Url)),
        ("webhook_retries", Built(Whole { min: 0, max: 20 })),
        ("webhook_timeout", Built(Whole { min: 1, max: 300 })),
        ("threshold_seconds", Built(Real { min: 0.0, max: 86_400.0 })),
        ("enable_estimation", Built(Bool)),
        // Not in the documented schema: the original lets clients name any address.
        ("webhook_allow_private", Built(Bool)),
        ("mode", Removed("a request says `mode` itself")),
        ("enabled", Removed("a request says `mode: async` itself")),
        ("max_workers", Removed("it is no longer part of the schema")),
        ("default_timeout_seconds", Removed("it is no longer part of the schema")),
        ("notification_webhook", Removed("write `webhook_url`")),
    ],
};

static USAGE: Table = Table {
    required: &[],
    keys: &[
        ("currency", Built(Literal(currency))),
        ("prices", Built(EachModel(&Map(&PRICE)))),
        ("budgets", Built(Map(&BUDGETS))),
    ],
};

/// Of a million tokens.
static PRICE: Table = Table {
    required: &["input", "output"],
    keys: &[
        ("input", Built(Real { min: 0.0, max: 1_000_000.0 })),
        ("output", Built(Real { min: 0.0, max: 1_000_000.0 })),
    ],
};

static BUDGETS: Table = Table {
    required: &[],
    keys: &[("formation", Built(Map(&BUDGET))), ("user", Built(Map(&BUDGET)))],
};

static BUDGET: Table = Table {
    required: &["per"],
    keys: &[
        ("per", Built(Literal(period))),
        ("tokens", Built(Whole { min: 1, max: 1_000_000_000_000 })),
        ("money", Built(Real { min: 0.000_001, max: 1_000_000_000.0 })),
    ],
};

static SCHEDULER: Table = Table {
    required: &[],
    keys: &[
        ("enabled", Built(Bool)),
        ("timezone", Built(Literal(timezone))),
        ("check_interval_minutes", Built(Whole { min: 1, max: 1_440 })),
        ("max_concurrent_jobs", Built(Whole { min: 1, max: 500 })),
        ("max_failures_before_pause", Built(Whole { min: 1, max: 1_000 })),
        ("max_jobs_per_user", Built(Whole { min: 1, max: 10_000 })),
        ("default_time", Built(Literal(time_of_day))),
        // Not documented by the original.
        ("missed_runs", Built(Literal(missed_runs))),
    ],
};

static INPUT_LIMITS: Table = Table {
    required: &[],
    keys: &[
        ("max_message_length", Built(Whole { min: 1, max: 1_000_000 })),
        ("max_file_size_bytes", Built(Whole { min: 1, max: 1_073_741_824 })),
        ("max_memory_entry_size", Built(Whole { min: 1, max: 1_000_000 })),
        ("max_tool_output_size", Planned),
        ("max_batch_items", Built(Whole { min: 1, max: 1_000 })),
        // Not documented by the original.
        ("max_memories_per_user", Built(Whole { min: 1, max: 1_000_000 })),
    ],
};

pub(crate) static LIMITS: Table = Table {
    required: &[],
    keys: &[
        ("memory", Built(Size)),
        ("cpu_percent", Built(Count { max: 100_000 })),
        ("open_files", Built(Count { max: 1_000_000 })),
        ("processes", Built(Count { max: 1_000_000 })),
        ("disk", Built(Size)),
        ("cpu", Removed("write `cpu_percent`, where 100 is one processor")),
        ("memory_bytes", Removed("write `memory`, such as `512MiB`")),
        ("disk_bytes", Removed("write `disk`, such as `1GiB`")),
    ],
};

/// The head of a trigger's file.
pub(crate) static TRIGGER: Table = Table {
    required: &[],
    keys: &[
        ("name", Built(Text)),
        ("webhook", Built(Url)),
        ("tags", Inert(None)),
        ("type", Inert(Some("a file in `triggers/` is a trigger"))),
        ("channel", Planned),
        ("model", Planned),
        ("parse", Planned),
        ("transformer", Planned),
    ],
};

/// An agent's own file.
pub(crate) static AGENT_FILE: Table =
    Table { required: &["schema", "id", "description"], keys: AGENT_KEYS };

/// An agent written into the manifest, whose schema is the manifest's.
pub(crate) static AGENT_INLINE: Table =
    Table { required: &["id", "description"], keys: AGENT_KEYS };

const AGENT_KEYS: &[(&str, State)] = &[
    ("schema", Built(Literal(schema_version))),
    ("id", Built(Literal(agent_id))),
    ("name", Built(Text)),
    ("description", Built(Text)),
    ("system_message", Built(Text)),
    ("role", Built(Text)),
    ("specialties", Built(Texts)),
    ("specialization", Built(Map(&SPECIALIZATION))),
    ("specialization_domain", Built(Text)),
    ("specialization_keywords", Built(Texts)),
    ("llm_models", Built(Models)),
    ("metadata", Built(Anything)),
    ("author", Built(Text)),
    ("url", Built(Text)),
    ("license", Built(Text)),
    ("version", Built(Literal(version))),
    ("a2a", Planned),
    ("a2a_enabled", Planned),
    ("delegation_strategy", Planned),
    ("enable_direct_delegation", Planned),
    ("knowledge", Planned),
    ("mcp_servers", Planned),
    ("memory", Planned),
    ("rate_limiting", Planned),
    ("skills", Planned),
    ("system_behavior", Planned),
    ("timeout", Planned),
    ("active", Removed("an agent loads when the manifest lists it under `agents`")),
    ("llm", Removed("write `llm_models: [{text: provider/model}]`")),
    ("soul", Removed("agents have no soul: write `system_message`, or SOUL.md for the formation")),
];

static SPECIALIZATION: Table = Table {
    required: &[],
    keys: &[
        ("domain", Built(Text)),
        ("subdomain", Built(Text)),
        ("expertise_level", Built(Text)),
        ("keywords", Built(Texts)),
    ],
};

use Shape::{
    Anything, Bool, Count, Each, EachModel, FullModel, Literal, Map, Models, Off, Persistent, Real,
    Size, Text, Texts, Url, Whole,
};
use State::{Built, Inert, Planned, Removed};

// === impl Table ===

impl Table {
    pub(crate) fn state(&self, key: &str) -> Option<State> {
        self.keys.iter().find(|(name, _)| *name == key).map(|(_, state)| *state)
    }

    /// The known key that `key` was probably meant to be.
    pub(crate) fn meant(&self, key: &str) -> Option<&'static str> {
        let names = self.keys.iter().filter(|(_, state)| !matches!(state, Removed(_)));
        closest(key, names.map(|(name, _)| *name))
    }
}

/// The closest name, when it is close enough to be a slip of the finger.
pub(crate) fn closest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &str| {
        word.len() <= WORD_BYTES_MAX
            && edits(word, name) <= (name.len().max(word.len()) / 3).clamp(1, 3)
    };
    names.filter(|name| near(name)).min_by_key(|name| edits(word, name))
}

/// Insertions, deletions, replacements and swaps of neighbours that make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut older = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut fewest = replaced.min(row[j - 1] + 1).min(above[j] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                fewest = fewest.min(older[j - 2] + 1);
            }
            row.push(fewest);
        }
        older = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_key_that_was_meant() {
        for (slip, meant) in [
            ("agent", Some("agents")),
            ("decription", Some("description")),
            ("sever", Some("server")),
            ("sevrer", Some("server")),
            ("Memory", Some("memory")),
            ("zzz", None),
            ("banana", None),
        ] {
            assert_eq!(ROOT.meant(slip), meant, "{slip}");
        }
    }
}
