//! The tables of agents.

use super::Shape::{Anything, Bool, Literal, Map, Models, Text, Texts, Tools, Whole, Word};
use super::State::{Built, Removed, Stale, Unbuilt};
use super::models::MODEL_SETTINGS;
use super::values::{agent_id, schema_version, version, word};
use super::{Shape, State, Table};

/// An agent's own file.
pub(crate) static AGENT_FILE: Table =
    Table { required: &["schema", "id", "description"], keys: AGENT_KEYS };

/// An agent written into the manifest, whose schema is the manifest's.
pub(crate) static AGENT_INLINE: Table =
    Table { required: &["id", "description"], keys: AGENT_KEYS };

/// A server that an agent attaches with a narrower choice of tools.
pub(crate) static ATTACHMENT: Table =
    Table { required: &["id"], keys: &[("id", Built(Literal(word))), ("tools", Built(Tools))] };

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
    ("system_behavior", Built(Map(&SYSTEM_BEHAVIOR))),
    ("llm_models", Built(Models)),
    ("llm", Built(Map(&AGENT_LLM))),
    ("mcp_servers", Built(Anything)),
    ("skills", Built(Texts)),
    ("a2a", Built(Map(&AGENT_A2A))),
    ("a2a_enabled", Built(Bool)),
    ("enable_direct_delegation", Built(Bool)),
    ("delegation_strategy", Built(Word { words: &["automatic", "never"], unbuilt: &["ask_user"] })),
    ("timeout", Built(Map(&TIMEOUT))),
    ("rate_limiting", Unbuilt),
    ("metadata", Built(Anything)),
    ("author", Built(Text)),
    ("url", Built(Text)),
    ("license", Built(Text)),
    ("version", Built(Literal(version))),
    ("knowledge", Unbuilt),
    ("memory", Unbuilt),
    ("active", Stale("an agent loads when the manifest lists it under `agents`")),
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

static SYSTEM_BEHAVIOR: Table = Table {
    required: &[],
    keys: &[
        ("constraints", Built(Texts)),
        ("capabilities", Built(Texts)),
        (
            "interaction_style",
            Built(words(&["formal", "casual", "technical", "friendly", "professional"])),
        ),
        ("response_length", Built(words(&["concise", "moderate", "detailed", "comprehensive"]))),
        ("error_handling", Built(words(&["graceful", "explicit", "technical", "user-friendly"]))),
    ],
};

/// The other form of `llm_models`.
static AGENT_LLM: Table = Table {
    required: &[],
    keys: &[
        ("settings", Built(Map(&MODEL_SETTINGS))),
        ("models", Built(Models)),
        ("model", Removed("write `llm_models: [{text: provider/model}]`")),
    ],
};

static AGENT_A2A: Table =
    Table { required: &[], keys: &[("internal", Built(Bool)), ("external", Built(Bool))] };

static TIMEOUT: Table = Table {
    required: &[],
    keys: &[
        ("default", Built(Whole { min: 1, max: 86_400 })),
        ("max", Built(Whole { min: 1, max: 86_400 })),
    ],
};

const fn words(words: &'static [&'static str]) -> Shape {
    Word { words, unbuilt: &[] }
}
