//! Recordings become words before the model is asked.

use muxi_llm::{LlmError, Recording};
use muxi_memory::TurnId;

use super::running::{Running, chain};
use super::speaking::Stage;
use crate::agents::Model;
use crate::conversation::files::{File, Kind};
use crate::conversation::ledger::{AskedFor, OVERLORD, Purpose};
use crate::conversation::turn::{Failure, Update};

// === impl Running ===

impl Running {
    /// The words of the question: as they were written, and then what is said in its recordings.
    pub(super) async fn words(&self, id: TurnId, stage: &Stage) -> Result<String, Failure> {
        let is_recording = |file: &&File| file.kind() == Some(Kind::Audio);
        let mut recordings = self.question.files.iter().filter(is_recording).peekable();
        if recordings.peek().is_none() {
            return Ok(self.question.text.clone());
        }
        let listener = self.lead().filter(|agent| agent.audio.is_some());
        let Some(model) = listener.as_ref().and_then(|agent| agent.audio.as_ref()) else {
            return Err(nobody_hears());
        };
        let mut heard = Vec::new();
        for file in recordings {
            let recording = recording(file, model);
            let at_ms = self.context.clock.now_ms();
            let written = model.llm.transcribe(&recording).await;
            let (transcript, served) = written.map_err(|error| failed(&error))?;
            let agent = listener.as_ref().map_or(OVERLORD, |agent| agent.config.id.as_str());
            let asked_for = AskedFor { purpose: Purpose::Hearing, agent, at_ms };
            self.ledger.note(&served.model, asked_for, transcript.usage);
            heard.push(transcript.text.trim().to_owned());
        }
        heard.retain(|text| !text.is_empty());
        if heard.is_empty() {
            return Err(Failure::NothingHeard);
        }
        let heard = heard.join("\n\n");
        let written = Some(self.question.text.as_str()).filter(|text| !text.trim().is_empty());
        let words = written.into_iter().chain([heard.as_str()]).collect::<Vec<_>>().join("\n\n");
        if let Err(error) = self.store.hear_question(id, words.clone()).await {
            tracing::error!(error = %chain(&error), "what was heard could not be written down");
            let message = "what was heard could not be written down".to_owned();
            return Err(Failure::Model { message, retryable: true });
        }
        stage.note(Update::Heard(heard)).await;
        Ok(words)
    }
}

fn recording(file: &File, model: &Model) -> Recording {
    Recording {
        name: named(&file.name, &file.media_type),
        media_type: file.media_type.clone(),
        bytes: file.bytes.clone(),
        language: model.language.clone(),
    }
}

/// Providers tell the format by the ending of the name.
fn named(name: &str, media_type: &str) -> String {
    if name.contains('.') {
        return name.to_owned();
    }
    let subtype = media_type.rsplit('/').next().unwrap_or_default();
    let ending = match subtype.trim_start_matches("x-") {
        "mpeg" => "mp3",
        "mp4" | "m4a" => "m4a",
        "wave" => "wav",
        other => other,
    };
    format!("{name}.{ending}")
}

fn failed(error: &LlmError) -> Failure {
    tracing::warn!(error = %chain(error), "a recording could not be written down");
    Failure::Model { message: error.to_string(), retryable: error.is_retryable() }
}

/// Only a bundle that was changed between the acceptance of a request and now gets here.
fn nobody_hears() -> Failure {
    let message = "there is no `audio` model any more".to_owned();
    Failure::Model { message, retryable: false }
}
