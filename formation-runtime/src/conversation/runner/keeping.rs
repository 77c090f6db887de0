//! Files of an answer on their way to where they are kept.

use muxi_memory::TurnId;

use super::running::Running;
use crate::artifacts::{self, NewFile};
use crate::conversation::turn::{Event, MadeFile};
use crate::events::EventKind;

// === impl Running ===

impl Running {
    /// Keeps the answer's file of this number; it is on the disk when this says so.
    pub(super) async fn keep(&self, turn: TurnId, number: usize, made: MadeFile) -> Event {
        let (content_type, bytes) = (made.file.content_type, made.file.bytes);
        let request = self.question.request_id.as_str();
        let name = made.name.unwrap_or_else(|| name(request, number, &content_type));
        let new = NewFile {
            name: name.clone(),
            content_type,
            bytes,
            agent: self.lead().map_or_else(String::new, |agent| agent.config.id.clone()),
            session: self.question.session.clone(),
            turn,
        };
        match self.context.artifacts.keep(&self.question.user, new).await {
            Ok(artifact) => {
                let created = self.event(EventKind::ArtifactCreated, format!("{name} is kept"));
                let created = created
                    .with("artifact_id", artifact.id.as_str())
                    .with("version", artifact.version)
                    .with("size_bytes", artifact.size_bytes);
                self.context.events.tell(created);
                Event::Kept(Ok(artifacts::reference(&artifact)))
            }
            Err(error) => {
                tracing::error!(error = ?error, "a file of an answer could not be kept");
                Event::Kept(Err(format!(
                    "the file {name} of the answer could not be kept: {error}"
                )))
            }
        }
    }
}

// === private helpers ===

/// Models name no files. The same request asked again makes new versions of the same names.
fn name(request: &str, number: usize, content_type: &str) -> String {
    let (kind, subtype) = content_type.split_once('/').unwrap_or(("file", content_type));
    let extension = match subtype {
        "jpeg" => "jpg",
        "svg+xml" => "svg",
        "plain" => "txt",
        "mpeg" if kind == "audio" => "mp3",
        "png" | "gif" | "webp" | "avif" | "pdf" | "csv" | "json" | "wav" | "mp4" | "webm" => {
            subtype
        }
        _ => "bin",
    };
    let kind = match kind {
        "image" | "audio" | "video" => kind,
        _ => "file",
    };
    let request = request.strip_prefix("req_").unwrap_or(request);
    format!("{kind}-{request}-{number}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_it_is_and_where_it_comes_from() {
        for (content_type, expected) in [
            ("image/png", "image-abc-2.png"),
            ("image/jpeg", "image-abc-2.jpg"),
            ("image/svg+xml", "image-abc-2.svg"),
            ("application/pdf", "file-abc-2.pdf"),
            ("application/x-sh", "file-abc-2.bin"),
        ] {
            assert_eq!(name("req_abc", 2, content_type), expected);
        }
    }
}
