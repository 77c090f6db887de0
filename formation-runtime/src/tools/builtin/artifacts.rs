//! Files that were made for the user before: found, read again, and their versions.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use muxi_llm::ToolSpec;
use muxi_memory::{Artifact, Store};
use muxi_tools::{Call, Content, Outcome};
use serde_json::{Value, json};

use super::{Reads, count, text, unavailable};
use crate::artifacts::Artifacts;

type Means = (Store, Artifacts);

/// Files by their names.
#[derive(Debug)]
pub(super) struct ArtifactSearch(Means);

/// The text of one file.
#[derive(Debug)]
pub(super) struct ArtifactContent(Means);

/// All versions of one file.
#[derive(Debug)]
pub(super) struct ArtifactHistory(Means);

const LIMIT_USUAL: u32 = 5;
const LIMIT_MAX: u32 = 20;
const LOOKED_AT: u32 = 1_000;
const CONTENT_CHARS_MAX: usize = 100_000;

// === impl ArtifactSearch ===

impl ArtifactSearch {
    pub(super) fn new(means: Means) -> Self {
        Self(means)
    }
}

impl Reads for ArtifactSearch {
    fn spec() -> ToolSpec {
        ToolSpec {
            name: "get_artifact".to_owned(),
            description:
                "Find files that were made for this user before, by a part of their name; the \
                          newest first."
                    .to_owned(),
            parameters: Arc::new(json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "A part of the file's name; all if absent."},
                    "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX},
                },
                "additionalProperties": false,
            })),
        }
    }

    fn read<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Outcome> {
        async move {
            let found = match self.0.0.for_user(&call.user).artifacts(LOOKED_AT).await {
                Ok((found, _)) => found,
                Err(error) => return unavailable(&error),
            };
            let part = text(&call.arguments, "name").unwrap_or_default().to_lowercase();
            let limit = count(&call.arguments, "limit", LIMIT_USUAL, LIMIT_MAX) as usize;
            let fitting = found.iter().filter(|it| it.name.to_lowercase().contains(&part));
            let shown: Vec<Value> = fitting.take(limit).map(shown).collect();
            told(&shown)
        }
        .boxed()
    }
}

// === impl ArtifactContent ===

impl ArtifactContent {
    pub(super) fn new(means: Means) -> Self {
        Self(means)
    }
}

impl Reads for ArtifactContent {
    fn spec() -> ToolSpec {
        ToolSpec {
            name: "get_artifact_content".to_owned(),
            description: "Read the text of a file that was made before, by its id.".to_owned(),
            parameters: Arc::new(json!({
                "type": "object",
                "properties": {"id": {"type": "string", "description": "The file's id."}},
                "required": ["id"],
                "additionalProperties": false,
            })),
        }
    }

    fn read<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Outcome> {
        async move {
            let artifact = match find(&self.0, call).await {
                Ok(artifact) => artifact,
                Err(refused) => return refused,
            };
            let bytes = match self.0.1.read(&call.user, &artifact).await {
                Ok(bytes) => bytes,
                Err(error) => return unavailable(&error),
            };
            let Ok(content) = std::str::from_utf8(&bytes) else {
                return Outcome::refused(format!(
                    "{} is {} and no text; only the user can open it.",
                    artifact.name, artifact.content_type
                ));
            };
            let mut shown: String = content.chars().take(CONTENT_CHARS_MAX).collect();
            if shown.len() < content.len() {
                shown.push_str("\n[cut here]");
            }
            // It may hold what tools of others said when it was made.
            Outcome { content: vec![Content::Text(shown)], ..Outcome::default() }
        }
        .boxed()
    }
}

// === impl ArtifactHistory ===

impl ArtifactHistory {
    pub(super) fn new(means: Means) -> Self {
        Self(means)
    }
}

impl Reads for ArtifactHistory {
    fn spec() -> ToolSpec {
        ToolSpec {
            name: "get_artifact_history".to_owned(),
            description:
                "List all versions of a file that was made before, by the id of any of them."
                    .to_owned(),
            parameters: Arc::new(json!({
                "type": "object",
                "properties": {"id": {"type": "string", "description": "The file's id."}},
                "required": ["id"],
                "additionalProperties": false,
            })),
        }
    }

    fn read<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Outcome> {
        async move {
            let artifact = match find(&self.0, call).await {
                Ok(artifact) => artifact,
                Err(refused) => return refused,
            };
            match self.0.0.for_user(&call.user).artifact_versions(&artifact.id).await {
                Ok(versions) => told(&versions.iter().map(shown).collect::<Vec<_>>()),
                Err(error) => unavailable(&error),
            }
        }
        .boxed()
    }
}

// === private helpers ===

async fn find((store, _): &Means, call: &Call) -> Result<Artifact, Outcome> {
    let Some(id) = text(&call.arguments, "id") else {
        return Err(Outcome::refused("`id` must be the id of a file; find it with get_artifact."));
    };
    match store.for_user(&call.user).artifact(id).await {
        Ok(Some(artifact)) => Ok(artifact),
        Ok(None) => Err(Outcome::refused(format!("There is no file `{id}`."))),
        Err(error) => Err(unavailable(&error)),
    }
}

fn shown(artifact: &Artifact) -> Value {
    json!({
        "id": artifact.id,
        "name": artifact.name,
        "version": artifact.version,
        "type": artifact.content_type,
        "size_bytes": artifact.size_bytes,
        "created_at": Timestamp::from_millisecond(artifact.created_ms).unwrap_or_default().to_string(),
    })
}

fn told(files: &[Value]) -> Outcome {
    if files.is_empty() {
        return Outcome::told("There is no such file.");
    }
    Outcome { structured: Some(json!({"files": files})), ..Outcome::told(json!(files).to_string()) }
}
