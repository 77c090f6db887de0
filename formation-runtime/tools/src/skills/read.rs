//! The tool that reads a skill's files.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use muxi_llm::ToolSpec;
use serde::Deserialize;
use serde_json::json;

use super::{Skills, listed};
use crate::tool::{Call, Danger, Origin, Outcome, Tool, arguments};

/// Of one call; the rest is read by further ones.
const PART_BYTES: u64 = 50_000;

#[derive(Debug)]
pub(super) struct ReadSkillResource {
    spec: ToolSpec,
    skills: Skills,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    skill: String,
    path: String,
    #[serde(default)]
    offset: u64,
}

// === impl ReadSkillResource ===

impl ReadSkillResource {
    pub(super) fn new(skills: Skills) -> Self {
        let parameters = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["skill", "path"],
            "properties": {
                "skill": {"type": "string", "enum": skills.names()},
                "path": {
                    "type": "string",
                    "description": "As it is listed in the skill, such as references/forms.md."
                },
                "offset": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "Where to go on in a long file, as the part before it says."
                }
            }
        });
        let spec = ToolSpec {
            name: "read_skill_resource".to_owned(),
            description: "Read a text file that belongs to a skill.".to_owned(),
            parameters: Arc::new(parameters),
        };
        Self { spec, skills }
    }

    async fn read(&self, call: Call) -> Outcome {
        let Arguments { skill, path, offset } = match arguments(call.arguments) {
            Ok(arguments) => arguments,
            Err(outcome) => return outcome,
        };
        let skill = match self.skills.find(&skill) {
            Ok(skill) => skill,
            Err(outcome) => return outcome,
        };
        let Some(name) = listed(skill.files(), "references/", &path) else {
            let files: Vec<_> = skill.files().map(String::as_str).collect();
            let files = if files.is_empty() { "none" } else { &files.join(", ") };
            return Outcome::refused(format!("the skill has no such file; it has: {files}"));
        };
        let file = match skill.path_of(name) {
            Ok(file) => file,
            Err(outcome) => return outcome,
        };
        let name = name.to_owned();
        let reading = tokio::task::spawn_blocking(move || part(&file, offset));
        match reading.await.map_err(io::Error::other).flatten() {
            Ok(Part { text, next: None }) => Outcome::told(text),
            Ok(Part { text, next: Some(next) }) => {
                Outcome::told(format!("{text}\n[it goes on at offset {next}]"))
            }
            Err(error) => Outcome::refused(format!("`{name}` cannot be read: {error}")),
        }
    }
}

impl Tool for ReadSkillResource {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &Origin::Builtin
    }

    fn danger(&self) -> Danger {
        Danger::ReadOnly
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Outcome> {
        Box::pin(self.read(call))
    }
}

struct Part {
    text: String,
    next: Option<u64>,
}

/// Whole characters from `offset` on.
fn part(path: &Path, offset: u64) -> io::Result<Part> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(offset.min(size)))?;
    let mut bytes = Vec::new();
    file.take(PART_BYTES).read_to_end(&mut bytes)?;
    let end = offset.saturating_add(bytes.len() as u64);
    let whole = match std::str::from_utf8(&bytes) {
        Ok(_) => bytes.len(),
        // A character that is cut by the end of the part belongs to the next one.
        Err(error) if error.error_len().is_none() && end < size => error.valid_up_to(),
        Err(_) => {
            return Err(io::Error::other("it is no text, or the offset is within a character"));
        }
    };
    bytes.truncate(whole);
    let next = offset.saturating_add(whole as u64);
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(Part { text, next: (next < size).then_some(next) })
}
