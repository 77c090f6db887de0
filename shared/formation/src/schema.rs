//! The schema as data: every documented key, and whether this version reads it.
//!
//! To build a documented key: change its state here, add its field to `manifest.rs`, read it in the
//! runtime. Nothing else decides what is accepted.

mod a2a;
mod agents;
mod approvals;
mod artifacts;
mod coding;
mod content;
mod logging;
mod mcp;
mod memory;
mod models;
mod overlord;
mod values;

use a2a::A2A;
pub(crate) use a2a::{REMOTE_FILE, REMOTE_INLINE};
pub(crate) use agents::{AGENT_FILE, AGENT_INLINE, ATTACHMENT};
use approvals::APPROVALS;
use artifacts::ARTIFACTS;
pub(crate) use coding::{ADAPTER, CODING};
use content::{LINK, USER_CREDENTIALS};
pub(crate) use content::{PROCEDURE, SKILL, TRIGGER};
use logging::LOGGING;
pub(crate) use logging::STREAM;
use mcp::MCP;
pub(crate) use mcp::{MCP_FILE, MCP_INLINE, TOOLS};
use memory::MEMORY;
pub(crate) use memory::PERSISTENT;
use models::MODEL_SETTINGS;
pub(crate) use models::{CAPABILITIES, model_table};
use overlord::OVERLORD;
use values::{
    currency, formation_id, missed_runs, period, schema_version, time_of_day, timezone, version,
};
pub(crate) use values::{is_header, is_word, path_inside, seconds, size};

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
    /// Documented and not built: accepted, and told to be without effect.
    Unbuilt,
    /// Documented and not built, and nobody may believe it was: without it more would be open, or
    /// others could act.
    Refused,
    /// No longer (or never) part of the schema, and harmless: told with what to write instead.
    Stale(&'static str),
    /// The same, but refused: the original refuses it, too, or it is a slip in a key of our own.
    Removed(&'static str),
}

/// What a value may look like.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Text,
    /// A text that may also need what the calling user entrusted.
    CallText,
    /// A word of a closed list; the `unbuilt` ones are documented, too.
    Word {
        words: &'static [&'static str],
        unbuilt: &'static [&'static str],
    },
    /// A text without placeholders that passes a check.
    Literal(fn(&str) -> Result<(), Refusal>),
    Texts,
    /// A text, or a list of texts; the former is a list of one.
    OneOrMore,
    /// Words separated by commas, or a list of texts.
    Commas,
    /// Words separated by spaces, or a list of texts.
    Spaces,
    /// A list whose numbers and flags are read as they are written.
    Arguments,
    /// Names of an environment's variables with their values.
    Variables,
    /// The same, and values may need what the calling user entrusted.
    CallVariables,
    /// Names of headers with their values.
    Headers,
    /// The same, and values may need what the calling user entrusted.
    CallHeaders,
    /// Names with texts, numbers or flags, which may need what the calling user entrusted.
    Scalars,
    /// A map with a closed set of patterns.
    Tools,
    /// A map whose `type` says which keys it has.
    Kinds(&'static [Kind]),
    Url,
    /// An address as it is written: a slash at its end matters to some servers.
    Endpoint,
    /// Seconds, or a text such as `30m`.
    Duration,
    /// A score, or a word.
    PlanApproval,
    /// `false` or `true`, or a map.
    Switch(&'static Table),
    /// A pin of a version, or a map.
    Runtime,
    /// Names, or a map with names.
    Skills,
    /// Shares that add up to one.
    Weights(&'static Table),
    /// A list of maps.
    EachOf(&'static Table),
    /// A list that can only be empty in this version.
    NoList,
    Bool,
    /// A documented switch that can only be off in this version; on it is without effect.
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

/// What a map with a `type` may be.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) keys: Keys,
}

pub(crate) enum Keys {
    Table(&'static Table),
    /// Every other key is a variable of the environment.
    Variables,
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
        ("runtime", Built(Runtime)),
        ("muxi_runtime", Inert(Some("the manager decides which runtime serves a formation"))),
        // A server of the original writes these two into the manifests it stores.
        ("_server_id", Inert(None)),
        ("_deployment_mode", Inert(None)),
        ("a2a", Built(Map(&A2A))),
        // Not documented by the original.
        ("approvals", Built(Map(&APPROVALS))),
        ("artifacts", Built(Map(&ARTIFACTS))),
        ("async", Built(Map(&ASYNC))),
        ("coding", Built(Anything)),
        ("commands", Unbuilt),
        ("executor", Inert(Some("scripts run in the sandbox of this version"))),
        ("init", Refused),
        ("links", Built(Each(&Map(&LINK)))),
        ("logging", Built(Map(&LOGGING))),
        ("mcp", Built(Map(&MCP))),
        ("mcps", Built(Map(&MCP))),
        ("middleware", Refused),
        ("proactive", Unbuilt),
        ("rbac", Refused),
        ("rce", Refused),
        ("skills", Built(Skills)),
        ("tuning", Unbuilt),
        ("user_credentials", Built(Map(&USER_CREDENTIALS))),
        ("clarification", Stale("it belongs under `overlord`")),
        ("knowledge", Stale("knowledge belongs to an agent")),
        ("observability", Stale("its successor is `logging`")),
        ("persona", Stale("write SOUL.md, or `overlord.soul`")),
        ("sops", Stale("procedures are files in `sops/`")),
        ("soul", Stale("write SOUL.md, or `overlord.soul`")),
        ("triggers", Stale("triggers are files in `triggers/`")),
        ("workflow", Stale("it belongs under `overlord`")),
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
        ("mode", Stale("a request says `mode` itself")),
        ("enabled", Stale("a request says `mode: async` itself")),
        ("max_workers", Stale("it is no longer part of the schema")),
        ("default_timeout_seconds", Stale("it is no longer part of the schema")),
        ("notification_webhook", Stale("write `webhook_url`")),
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
        ("max_tool_output_size", Built(Whole { min: 1_000, max: 1_073_741_824 })),
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

use Shape::{
    Anything, Bool, Count, Each, EachModel, FullModel, Literal, Map, Models, Real, Runtime, Size,
    Skills, Text, Texts, Url, Whole,
};
use State::{Built, Inert, Refused, Removed, Stale, Unbuilt};

// === impl Table ===

impl Table {
    pub(crate) fn state(&self, key: &str) -> Option<State> {
        self.keys.iter().find(|(name, _)| *name == key).map(|(_, state)| *state)
    }

    /// The known key that `key` was probably meant to be.
    pub(crate) fn meant(&self, key: &str) -> Option<&'static str> {
        let names = self.keys.iter().filter(|(_, state)| !matches!(state, Removed(_) | Stale(_)));
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
