//! One answer from its question to its end, with Ctrl-C as the way out.

use std::pin::pin;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::screen::Screen;
use super::talk::{Message, Talk, request_id};
use super::turn::{End, Turn, file};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::stream::Cleaner;
use crate::terminal::{format, plain};

/// How long a formation may take to end what was cancelled.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(in super::super) struct Answering<'a> {
    pub(in super::super) talk: Talk,
    pub(in super::super) context: &'a Context,
    pub(in super::super) is_verbose: bool,
    pub(in super::super) is_debug: bool,
    pub(in super::super) is_whole: bool,
}

// === impl Answering ===

impl Answering<'_> {
    /// Asks and shows. The session is kept for the next question.
    pub(super) async fn answer(&mut self, message: &Message) -> Result<Turn, Fault> {
        let request = request_id()?;
        let mut turn = Turn::default();
        let followed = self.or_cancel(&request, self.follow(message, &request, &mut turn)).await;
        if let Some(session) = &turn.session {
            self.talk.session = Some(session.clone());
        }
        match followed? {
            Some(()) => {}
            None => turn.end = Some(End::Cancelled),
        }
        Ok(turn)
    }

    /// The formation's own document of the answer.
    pub(super) async fn document(&self, message: &Message) -> Result<Value, Fault> {
        let request = request_id()?;
        let document = self.or_cancel(&request, self.talk.whole(message, &request)).await?;
        document
            .ok_or_else(|| Fault::new(Exit::Interrupted, "Interrupted", "the answer was cancelled"))
    }

    /// The work's end, or nothing when Ctrl-C came first. A second one leaves.
    async fn or_cancel<T>(
        &self,
        request: &str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<Option<T>, Fault> {
        let mut interrupts = interrupts()?;
        let mut work = pin!(work);
        tokio::select! {
            done = &mut work => return done.map(Some),
            _ = interrupts.recv() => {}
        }
        let terminal = &self.context.terminal;
        terminal.note("");
        // What hangs up first would be cancelled by that, and nobody would have said so.
        let cancelling = async {
            let cancelled = self.talk.cancel(request).await;
            drop(work.await);
            cancelled
        };
        let told = tokio::select! {
            cancelled = tokio::time::timeout(CANCEL_LIMIT, cancelling) => match cancelled {
                Ok(Ok(())) => "cancelled",
                Ok(Err(_)) | Err(_) => "cancelled here; the formation did not confirm it",
            },
            _ = interrupts.recv() => {
                let left = "left without waiting for the formation to cancel";
                return Err(Fault::new(Exit::Interrupted, "Interrupted", left));
            }
        };
        terminal.note(told);
        Ok(None)
    }

    async fn follow(&self, message: &Message, request: &str, turn: &mut Turn) -> Result<(), Fault> {
        let terminal = &self.context.terminal;
        let mut screen = Screen::new(terminal, self.is_verbose);
        let mut events = self.talk.stream(message, request).await?;
        let mut whole = Vec::new();
        while let Some(frame) = events.next().await? {
            if self.context.is_json {
                terminal.print(&format!("{}\n", frame.data));
            }
            if self.is_debug {
                terminal.warn(&format!(
                    "{}: {}",
                    plain(&frame.name),
                    plain(&frame.data.to_string())
                ));
            }
            let pieces = turn.take(&frame);
            if self.context.is_json {
                continue;
            }
            if self.is_whole {
                whole.extend(pieces.into_iter().filter(|it| !it.is_text()));
            } else {
                for piece in &pieces {
                    screen.show(piece);
                }
            }
        }
        for piece in &whole {
            screen.show(piece);
        }
        if self.is_whole && !self.context.is_json {
            let text = turn.completed["content"].as_str().unwrap_or_default();
            terminal.print(&format!("{}\n", Cleaner::default().clean(text).trim_end()));
        }
        screen.end_line();
        if self.is_verbose {
            for line in used(&turn.completed) {
                screen.note(&line);
            }
        }
        Ok(())
    }
}

/// What an answer cost, and which files came with it.
fn used(completed: &Value) -> Vec<String> {
    let usage = &completed["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap_or_default();
    let mut told = Vec::new();
    if usage.is_object() {
        let agents = format::text_of(&completed["agents_used"]);
        told.push(format!(
            "answered by {agents}; {} tokens read, {} written, {} ms",
            count("prompt_tokens"),
            count("completion_tokens"),
            completed["processing_time_ms"].as_u64().unwrap_or_default()
        ));
    }
    let files = completed["artifacts"].as_array().into_iter().flatten();
    told.extend(files.map(file));
    told
}

fn interrupts() -> Result<Signal, Fault> {
    signal(SignalKind::interrupt())
        .map_err(|error| Fault::failed(format!("Ctrl-C cannot be watched: {error}")))
}
