//! Recordings become words before the model is asked.

use std::pin::Pin;
use std::sync::PoisonError;

use muxi_llm::{LlmError, Recording, Served, Transcript};
use muxi_memory::{NewUsage, TurnId};
use tokio::time::Sleep;

use super::running::{Running, chain};
use crate::agents::Model;
use crate::conversation::files::{File, Kind};
use crate::conversation::turn::{Event, Update};
use crate::usage;

// === impl Running ===

impl Running {
    /// The words of the question: as they were written, and then what is said in its recordings.
    pub(super) async fn words(
        &self,
        id: TurnId,
        mut deadline: Pin<&mut Sleep>,
    ) -> Result<String, Event> {
        let is_recording = |file: &&File| file.kind() == Some(Kind::Audio);
        let mut recordings = self.question.files.iter().filter(is_recording).peekable();
        if recordings.peek().is_none() {
            return Ok(self.question.text.clone());
        }
        let Some(model) = &self.question.agent.audio else { return Err(nobody_hears()) };
        let mut heard = Vec::new();
        for file in recordings {
            let recording = recording(file, model);
            let written = model.llm.transcribe(&recording);
            let (transcript, served) =
                self.until(deadline.as_mut(), written).await?.map_err(|error| failed(&error))?;
            self.note_hearing(&transcript, &served);
            heard.push(transcript.text.trim().to_owned());
        }
        heard.retain(|text| !text.is_empty());
        if heard.is_empty() {
            return Err(Event::NothingHeard);
        }
        let heard = heard.join("\n\n");
        let written = Some(self.question.text.as_str()).filter(|text| !text.trim().is_empty());
        let words = written.into_iter().chain([heard.as_str()]).collect::<Vec<_>>().join("\n\n");
        if let Err(error) = self.store.hear_question(id, words.clone()).await {
            tracing::error!(error = %chain(&error), "what was heard could not be written down");
            let message = "what was heard could not be written down".to_owned();
            return Err(Event::ModelFailed { message, retryable: true });
        }
        match self.tell(Update::Heard(heard), deadline).await {
            Some(end) => Err(end),
            None => Ok(words),
        }
    }

    fn note_hearing(&self, transcript: &Transcript, served: &Served) {
        let told = transcript.usage.unwrap_or_default();
        let (prompt, completion) = (told.prompt_tokens, told.completion_tokens);
        let prices = &self.context.usage;
        let cost = |_| usage::cost_nano(prices, &served.model, prompt, completion);
        let used = NewUsage {
            // A provider that counts seconds says nothing that a price of tokens fits.
            cost_nano: transcript.usage.and_then(cost),
            model: served.model.clone(),
            prompt_tokens: prompt,
            completion_tokens: completion,
            is_estimated: false,
        };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(used);
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

fn failed(error: &LlmError) -> Event {
    tracing::warn!(error = %chain(error), "a recording could not be written down");
    Event::ModelFailed { message: error.to_string(), retryable: error.is_retryable() }
}

/// Only a bundle that was changed between the acceptance of a request and now gets here.
fn nobody_hears() -> Event {
    let message = "there is no `audio` model any more".to_owned();
    Event::ModelFailed { message, retryable: false }
}
