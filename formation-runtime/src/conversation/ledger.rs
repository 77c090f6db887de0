//! What the model calls of a turn used: told by their providers, or estimated where they ended before.

use std::sync::{Mutex, PoisonError};

use muxi_formation::manifest::Usage as Prices;
use muxi_llm::{CompletionRequest, Usage};
use muxi_memory::ModelCall;

use crate::usage;

/// The calls of one turn, in the order in which they began.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Vec<Entry>>);

/// Who asks for what belongs to no agent: the formation itself.
pub const OVERLORD: &str = "overlord";

/// What a call is for, and from when on.
#[derive(Debug, Clone, Copy)]
pub struct AskedFor<'a> {
    pub purpose: Purpose,
    pub agent: &'a str,
    pub at_ms: i64,
}

/// What a model was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Who is to answer.
    Routing,
    /// The answer, or the next step on the way to it.
    Answer,
    /// A part of a plan.
    Task,
    /// The parts of a plan as one answer.
    Synthesis,
    /// Another plan in the place of one that failed.
    Replanning,
    /// What a recording says.
    Hearing,
}

/// A call that is not over. One that is dropped was cut short, and what it used is estimated.
#[derive(Debug)]
pub struct OpenCall<'a> {
    ledger: &'a Ledger,
    number: usize,
}

#[derive(Debug)]
struct Entry {
    model: String,
    agent: String,
    purpose: Purpose,
    at_ms: i64,
    estimated: Usage,
    state: State,
    /// Nothing more comes of it.
    is_over: bool,
    is_written: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The bytes that were said.
    Open(usize),
    Told(Usage),
    /// Nobody answered, so nobody takes money for it.
    Refused,
}

// === impl Ledger ===

impl Ledger {
    /// A call of a model that is asked first; another may serve it.
    pub fn begin(
        &self,
        model: &str,
        asked_for: AskedFor<'_>,
        asked: &CompletionRequest,
    ) -> OpenCall<'_> {
        let mut entries = self.lock();
        let estimated = usage::estimate(asked, 1, 0);
        entries.push(Entry::new(model, asked_for, estimated, State::Open(0)));
        OpenCall { ledger: self, number: entries.len() - 1 }
    }

    /// A call that is over, such as one that wrote down a recording.
    pub fn note(&self, model: &str, asked_for: AskedFor<'_>, told: Option<Usage>) {
        let state = told.map_or(State::Open(0), State::Told);
        let entry = Entry::new(model, asked_for, Usage::default(), state);
        self.lock().push(Entry { is_over: true, ..entry });
    }

    /// As far as providers told it.
    pub fn told(&self) -> Usage {
        let told = |entry: &Entry| match entry.state {
            State::Told(usage) => usage,
            State::Open(_) | State::Refused => Usage::default(),
        };
        self.lock().iter().map(told).fold(Usage::default(), Usage::plus)
    }

    /// Calls that asked for words, by what they were for.
    pub fn calls(&self) -> Vec<Purpose> {
        let entries = self.lock();
        entries.iter().map(|it| it.purpose).filter(|it| *it != Purpose::Hearing).collect()
    }

    /// One row for each call that somebody may take money for and that is not on the disk yet, with its
    /// number; of those that are under way only when the turn is over.
    pub fn unwritten(&self, prices: &Prices, is_over: bool) -> Vec<(usize, ModelCall)> {
        let row = |(number, entry): (usize, &Entry)| {
            if entry.is_written || !(entry.is_over || is_over) {
                return None;
            }
            let (used, is_estimated) = match entry.state {
                State::Told(used) => (used, false),
                State::Open(said_bytes) => {
                    let said = usage::estimate(&CompletionRequest::default(), 0, said_bytes);
                    (entry.estimated.plus(said), entry.purpose != Purpose::Hearing)
                }
                State::Refused => return None,
            };
            let (prompt, completion) = (used.prompt_tokens, used.completion_tokens);
            let is_counted = is_estimated || matches!(entry.state, State::Told(_));
            let call = ModelCall {
                // A provider that counts seconds says nothing that a price of tokens fits.
                cost_nano: is_counted
                    .then(|| usage::cost_nano(prices, &entry.model, prompt, completion))
                    .flatten(),
                agent: entry.agent.clone(),
                model: entry.model.clone(),
                at_ms: entry.at_ms,
                prompt_tokens: prompt,
                completion_tokens: completion,
                is_estimated,
            };
            Some((number, call))
        };
        self.lock().iter().enumerate().filter_map(row).collect()
    }

    /// The calls of these numbers are on the disk.
    pub fn written(&self, numbers: impl IntoIterator<Item = usize>) {
        let mut entries = self.lock();
        for number in numbers {
            if let Some(entry) = entries.get_mut(number) {
                entry.is_written = true;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        // A list is whole even if a holder panicked: nothing here can stop halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Entry ===

impl Entry {
    fn new(model: &str, asked_for: AskedFor<'_>, estimated: Usage, state: State) -> Self {
        let AskedFor { purpose, agent, at_ms } = asked_for;
        let (model, agent) = (model.to_owned(), agent.to_owned());
        let (is_over, is_written) = (false, false);
        Self { model, agent, purpose, at_ms, estimated, state, is_over, is_written }
    }
}

// === impl OpenCall ===

impl OpenCall<'_> {
    /// The model that answers, which may be the fallback.
    pub fn served_by(&self, model: &str) {
        self.change(|entry| model.clone_into(&mut entry.model));
    }

    /// What was said or thought, so far.
    pub fn said(&self, bytes: usize) {
        self.change(|entry| {
            if let State::Open(before) = entry.state {
                entry.state = State::Open(before + bytes);
            }
        });
    }

    /// The answer is over; `None` if the provider did not tell what it took.
    pub fn over(self, told: Option<Usage>) {
        if let Some(told) = told {
            self.change(|entry| entry.state = State::Told(told));
        }
    }

    /// Nobody answered.
    pub fn refused(self) {
        self.change(|entry| entry.state = State::Refused);
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.ledger.lock().get_mut(self.number) {
            change(entry);
        }
    }
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        self.change(|entry| entry.is_over = true);
    }
}

// === impl Purpose ===

impl Purpose {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::Answer => "answer",
            Self::Task => "task",
            Self::Synthesis => "synthesis",
            Self::Replanning => "replanning",
            Self::Hearing => "hearing",
        }
    }
}

#[cfg(test)]
mod tests {
    use muxi_llm::Message;

    use super::*;

    #[test]
    fn what_was_told_counts_and_what_was_cut_short_is_estimated() {
        let ledger = Ledger::default();
        let asked = CompletionRequest {
            messages: vec![Message::user("x".repeat(40))],
            ..CompletionRequest::default()
        };
        let usage = Usage { prompt_tokens: 7, completion_tokens: 3 };
        let by = |purpose, agent, at_ms| AskedFor { purpose, agent, at_ms };
        let told = ledger.begin("a/one", by(Purpose::Routing, OVERLORD, 1), &asked);
        told.served_by("a/two");
        told.over(Some(usage));
        let cut = ledger.begin("a/one", by(Purpose::Answer, "helper", 2), &asked);
        cut.said(8);
        ledger.begin("a/one", by(Purpose::Answer, "helper", 3), &asked).refused();
        let open = ledger.begin("a/one", by(Purpose::Answer, "helper", 4), &asked);
        let rows = |is_over| -> Vec<ModelCall> {
            let rows = ledger.unwritten(&Prices::default(), is_over);
            rows.into_iter().map(|(_, call)| call).collect()
        };
        assert_eq!(rows(false).len(), 1);
        cut_short(cut);
        assert_eq!((rows(false).len(), rows(true).len()), (2, 3));
        open.refused();
        let rows = rows(true);
        let shown: Vec<_> = rows
            .iter()
            .map(|it| (it.model.as_str(), it.prompt_tokens, it.completion_tokens, it.is_estimated))
            .collect();
        assert_eq!(shown, [("a/two", 7, 3, false), ("a/one", 10, 2, true)]);
        let whose: Vec<_> = rows.iter().map(|it| (it.agent.as_str(), it.at_ms)).collect();
        assert_eq!(whose, [(OVERLORD, 1), ("helper", 2)]);
        assert_eq!((ledger.told(), ledger.calls().len()), (usage, 4));
        ledger.written([0]);
        let left = ledger.unwritten(&Prices::default(), true);
        assert_eq!(left.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1]);
    }

    fn cut_short(call: OpenCall<'_>) {
        drop(call);
    }
}
