//! The tables of `memory`.

use super::Shape::{Bool, Map, Off, Persistent, Text, Whole};
use super::State::{Built, Removed, Stale, Unbuilt};
use super::Table;

pub(crate) static MEMORY: Table = Table {
    required: &[],
    keys: &[
        ("buffer", Built(Map(&BUFFER))),
        ("persistent", Built(Persistent)),
        // Not documented by the original.
        ("retention", Built(Map(&RETENTION))),
        ("working", Unbuilt),
        ("ingestion", Unbuilt),
        ("distillery", Unbuilt),
        ("events", Unbuilt),
        ("decay", Unbuilt),
        ("projections", Unbuilt),
        ("captains_log", Unbuilt),
        ("compaction", Unbuilt),
        ("pruning", Unbuilt),
        ("index", Unbuilt),
        ("lint", Unbuilt),
        ("session_timeout", Stale("sessions do not expire")),
        ("vector", Stale("its successor is `memory.working`")),
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
        ("embedding_model", Unbuilt),
        ("enabled", Stale("`size: 0` turns the buffer off")),
    ],
};

pub(crate) static PERSISTENT: Table = Table {
    required: &[],
    keys: &[
        ("enabled", Built(Bool)),
        ("connection_string", Built(Text)),
        ("embedding_model", Unbuilt),
        ("query_timeout_seconds", Unbuilt),
        ("user_synopsis", Unbuilt),
        ("provider", Removed("`connection_string` says it")),
        ("path", Removed("write `connection_string: sqlite:///memory.db`")),
    ],
};
