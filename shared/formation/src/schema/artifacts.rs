//! `artifacts`: files that are made for users, and how long they are kept.

use std::path::{Component, Path};

use super::Shape::{Bool, Literal, Map, Whole};
use super::State::{Built, Stale};
use super::{Refusal, Table};

pub(crate) static ARTIFACTS: Table = Table {
    required: &[],
    keys: &[
        ("enabled", Built(Bool)),
        ("storage", Built(Map(&STORAGE))),
        ("encryption", Built(Map(&ENCRYPTION))),
        ("retention", Built(Map(&RETENTION))),
        ("max_size_mb", Built(Whole { min: 1, max: 1_024 })),
        ("python_execution", Stale("files are made without running code of models")),
        ("allowed_packages", Stale("files are made without running code of models")),
    ],
};

static STORAGE: Table = Table {
    required: &[],
    keys: &[("type", Built(Literal(storage))), ("path", Built(Literal(path)))],
};

static ENCRYPTION: Table = Table { required: &[], keys: &[("enabled", Built(Bool))] };

static RETENTION: Table = Table {
    required: &[],
    keys: &[("policy", Built(Literal(policy))), ("duration", Built(Whole { min: 0, max: 36_500 }))],
};

// === private helpers ===

fn storage(text: &str) -> Result<(), Refusal> {
    if text == "local" {
        return Ok(());
    }
    Err(Refusal {
        message: format!("artifacts cannot be stored in `{text}` in this version"),
        mend: "write `local`",
    })
}

fn path(text: &str) -> Result<(), Refusal> {
    let inside = |it: Component<'_>| matches!(it, Component::Normal(_) | Component::CurDir);
    let names_a_folder = Path::new(text).components().any(|it| matches!(it, Component::Normal(_)));
    if names_a_folder && Path::new(text).components().all(inside) {
        return Ok(());
    }
    Err(Refusal {
        message: format!("`{text}` is no folder below the formation's data folder"),
        mend: "write it such as `./artifacts`",
    })
}

fn policy(text: &str) -> Result<(), Refusal> {
    if matches!(text, "last_accessed" | "last_updated") {
        return Ok(());
    }
    Err(Refusal {
        message: format!("`{text}` does not say from when artifacts grow old"),
        mend: "write `last_accessed` or `last_updated`",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_stay_in_the_data_folder() {
        for good in ["./artifacts", "artifacts", "files/of users"] {
            assert!(path(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "/var/artifacts", "../artifacts", "a/../../b"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
