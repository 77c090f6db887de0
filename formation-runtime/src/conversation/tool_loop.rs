//! One agent with its tools: a pure machine from a question to words, over as many calls as it takes.
//!
//! Invariants: each call of the model's answer gets exactly one result before the model is asked again;
//! a call that the policy lets wait is made only after somebody said so; what tools say is fenced, and
//! from then on the loop is tainted. The machine can be put away as JSON and taken up by another process.

use muxi_llm::{Message, Role, ToolCall};
use muxi_orchestration::approval::{Action, Verdict};
use muxi_orchestration::loop_guard::{Guard, Outcome as Noted, Step};
use muxi_tools::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolLoop {
    messages: Vec<Said>,
    /// What the model asked for last, in its order.
    round: Vec<Wanted>,
    /// Begins anew when the loop is taken up, since somebody wanted it to go on.
    #[serde(skip)]
    guard: Option<Guard>,
    /// Somebody elsewhere has had a word in it.
    is_tainted: bool,
    /// Why no more tools are offered.
    stopped: Option<String>,
    /// That were activated in it, and restrict what may be called from then on.
    #[serde(default)]
    skills: Vec<String>,
}

/// A message as it is kept. Files of the question are not kept with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    role: Role,
    content: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(default)]
    is_error: bool,
    #[serde(skip)]
    attachments: Vec<muxi_llm::Attachment>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wanted {
    call: ToolCall,
    arguments: Map<String, Value>,
    state: State,
}

/// Another agent's loop, which the call goes on with.
type Deeper = Option<Box<ToolLoop>>;

#[derive(Debug, Clone, Serialize, Deserialize)]
enum State {
    /// To be called at once.
    Free(Deeper),
    Running(Deeper),
    /// Somebody must say yes first; why.
    Held(String),
    /// The agent that was asked waits for a yes to calls of its own.
    Waits(Box<ToolLoop>),
    /// What the model reads of it.
    Over(String),
    /// The same of one that failed or was not made.
    Failed(String),
}

/// A call that is to be made, or approved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// Its place in the model's answer.
    pub number: usize,
    pub tool: String,
    pub arguments: Map<String, Value>,
    /// Why it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Ask the model with [`ToolLoop::messages`].
    Ask,
    /// Make these calls, at the same time.
    Call(Vec<Planned>),
    /// Others are still being made.
    Nothing,
    /// Ask somebody whether these may be made; nothing else is left to do.
    Hold(Vec<Planned>),
    /// The model has said its last word.
    Done,
}

/// What the machine must know of a tool and its arguments; nothing for one that was not offered.
pub type Judge<'a> = dyn Fn(&str, &Map<String, Value>, bool) -> Option<Verdict> + 'a;

// === impl ToolLoop ===

impl ToolLoop {
    pub fn new(messages: Vec<Message>, guard: Guard) -> Self {
        let messages = messages.into_iter().map(Said::from).collect();
        let guard = Some(guard);
        let (round, skills) = (Vec::new(), Vec::new());
        Self { messages, round, guard, is_tainted: false, stopped: None, skills }
    }

    /// To be called when it is taken up.
    pub fn guard(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    /// To be called when it is taken up with a question that had these beside it: they are not kept twice.
    pub fn attach(&mut self, attachments: Vec<muxi_llm::Attachment>) {
        if let Some(question) = self.messages.iter_mut().rfind(|it| it.role == Role::User) {
            question.attachments = attachments;
        }
    }

    /// What the question brings along was written elsewhere.
    pub fn taint(&mut self) {
        self.is_tainted = true;
    }

    pub const fn is_tainted(&self) -> bool {
        self.is_tainted
    }

    pub fn skill_is_active(&mut self, skill: &str) {
        if !self.skills.iter().any(|it| it == skill) {
            self.skills.push(skill.to_owned());
        }
    }

    pub fn skills(&self) -> &[String] {
        &self.skills
    }

    pub fn messages(&self) -> Vec<Message> {
        self.messages.iter().cloned().map(Message::from).collect()
    }

    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// The model's answer: its words, and what it wants done.
    pub fn answered(
        &mut self,
        text: &str,
        calls: Vec<ToolCall>,
        judge: &Judge<'_>,
        now_ms: u64,
    ) -> Next {
        if calls.is_empty() || self.stopped.is_some() {
            // Who asks for tools after it was told that there are none has had its last word.
            if !text.trim().is_empty() {
                self.messages.push(Said::assistant(text, Vec::new()));
            }
            return Next::Done;
        }
        self.messages.push(Said::assistant(text, calls.clone()));
        let step = self.guard.as_mut().map(|guard| guard.iteration(now_ms));
        self.note(step);
        for call in calls {
            let wanted = self.judged(call, judge, now_ms);
            self.round.push(wanted);
        }
        self.next()
    }

    /// Another word of the user within the same loop, such as a correction of its answer's form.
    pub fn told(&mut self, text: &str) {
        self.messages.push(Said::from(Message::user(text)));
    }

    /// What became of a call; `read` is what the model reads of it.
    pub fn called(&mut self, number: usize, outcome: &Outcome, taints: bool, read: String) -> Next {
        let Some(wanted) = self.round.get_mut(number) else { return self.next() };
        wanted.state = if outcome.is_error { State::Failed(read) } else { State::Over(read) };
        let tool = wanted.call.name.clone();
        self.is_tainted |= taints;
        let fault = outcome.is_error.then(|| outcome.text());
        let noted = fault.as_deref().map_or(Noted::Succeeded, Noted::Failed);
        let step = self.guard.as_mut().map(|guard| guard.note(&tool, noted));
        self.note(step);
        self.next()
    }

    /// The agent that was asked cannot go on before somebody says yes to calls of its own.
    pub fn waits(&mut self, number: usize, deeper: Box<Self>) -> Next {
        if let Some(wanted) = self.round.get_mut(number) {
            wanted.state = State::Waits(deeper);
        }
        self.next()
    }

    /// What the call that is being made goes on with.
    pub fn take_deeper(&mut self, number: usize) -> Option<Box<Self>> {
        match &mut self.round.get_mut(number)?.state {
            State::Running(deeper) => deeper.take(),
            State::Free(_)
            | State::Held(_)
            | State::Waits(_)
            | State::Over(_)
            | State::Failed(_) => None,
        }
    }

    /// Somebody said what becomes of the calls that were held; `words` are theirs, if there were any.
    pub fn decided(&mut self, is_approved: bool, words: Option<&str>) -> Next {
        self.settle(is_approved, words);
        self.next()
    }

    /// Goes on after [`Self::decided`] of the loop around this one.
    pub fn resumed(&mut self, guard: Guard) -> Next {
        self.guard(guard);
        self.next()
    }

    fn settle(&mut self, is_approved: bool, words: Option<&str>) {
        for wanted in &mut self.round {
            match &mut wanted.state {
                State::Waits(deeper) => {
                    deeper.settle(is_approved, words);
                    wanted.state = State::Free(Some(deeper.clone()));
                }
                State::Held(_) if is_approved => wanted.state = State::Free(None),
                State::Held(_) => {
                    let words = words.map(|it| format!(" Their words: {it}")).unwrap_or_default();
                    wanted.state = State::Failed(format!(
                        "The user did not allow this call, and it was not made.{words} Do not try \
                         it again; go on without it, or tell the user what is missing."
                    ));
                }
                State::Free(_) | State::Running(_) | State::Over(_) | State::Failed(_) => {}
            }
        }
    }

    fn judged(&mut self, call: ToolCall, judge: &Judge<'_>, now_ms: u64) -> Wanted {
        let over =
            |call, text: String| Wanted { call, arguments: Map::new(), state: State::Failed(text) };
        let arguments = match arguments(&call.arguments) {
            Ok(arguments) => arguments,
            Err(fault) => {
                let text = format!(
                    "The call was not made: its arguments {fault}. Send one JSON object that fits \
                     the tool's schema."
                );
                return over(call, text);
            }
        };
        let Some(verdict) = judge(&call.name, &arguments, self.is_tainted) else {
            let text = format!(
                "The call was not made: there is no tool `{}`. Use one of those that were offered.",
                call.name
            );
            return over(call, text);
        };
        if self.stopped.is_none() {
            let step = self.guard.as_mut().map(|guard| guard.call(now_ms));
            self.note(step);
        }
        if let Some(stopped) = &self.stopped {
            let text = format!("The call was not made: {stopped}.");
            return over(call, text);
        }
        let state = match verdict.action {
            Action::Allow => State::Free(None),
            Action::Ask => State::Held(verdict.because),
            Action::Deny => State::Failed(format!(
                "The call was not made: this formation does not allow it ({}).",
                verdict.because
            )),
        };
        Wanted { call, arguments, state }
    }

    fn next(&mut self) -> Next {
        let mut free = Vec::new();
        for (number, wanted) in self.round.iter_mut().enumerate() {
            if let State::Free(deeper) = &mut wanted.state {
                wanted.state = State::Running(deeper.take());
                free.push(wanted.planned(number, None));
            }
        }
        if !free.is_empty() {
            return Next::Call(free);
        }
        if self.round.iter().any(|it| matches!(it.state, State::Running(_))) {
            return Next::Nothing;
        }
        let held = self.held();
        if !held.is_empty() {
            return Next::Hold(held);
        }
        for Wanted { call, state, .. } in self.round.drain(..) {
            let result = match state {
                State::Over(text) => Message::tool(call.id, text),
                State::Failed(text) => Message::failed_tool(call.id, text),
                State::Free(_) | State::Running(_) | State::Held(_) | State::Waits(_) => continue,
            };
            self.messages.push(Said::from(result));
        }
        if let (Some(stopped), Some(last)) = (&self.stopped, self.messages.last_mut()) {
            let told = format!(
                "\n\nNo more tools can be used: {stopped}. Answer now with what you have, and say \
                 plainly what was not done."
            );
            last.content.push_str(&told);
        }
        Next::Ask
    }

    /// What somebody must say yes to, here and in the agents that were asked.
    fn held(&self) -> Vec<Planned> {
        let mut held = Vec::new();
        for (number, wanted) in self.round.iter().enumerate() {
            match &wanted.state {
                State::Held(because) => held.push(wanted.planned(number, Some(because.clone()))),
                State::Waits(deeper) => held.extend(deeper.held().into_iter().map(|planned| {
                    let because = planned.because.unwrap_or_default();
                    let because = format!("{because}, within `{}`", wanted.call.name);
                    Planned { number, because: Some(because), ..planned }
                })),
                State::Free(_) | State::Running(_) | State::Over(_) | State::Failed(_) => {}
            }
        }
        held
    }

    fn note(&mut self, step: Option<Step>) {
        if let Some(Step::Stop(reason)) = step {
            self.stopped.get_or_insert_with(|| reason.to_string());
        }
    }

    /// After a restart nobody knows what became of calls that were being made; they count as failed.
    pub fn interrupted(&mut self) -> Next {
        for wanted in &mut self.round {
            if matches!(wanted.state, State::Running(_)) {
                wanted.state = State::Failed(
                    "The program was stopped while this call was being made; whether it was done is \
                     not known. Look before you try it again."
                        .to_owned(),
                );
            }
        }
        self.next()
    }
}

// === impl Wanted ===

impl Wanted {
    fn planned(&self, number: usize, because: Option<String>) -> Planned {
        let (tool, arguments) = (self.call.name.clone(), self.arguments.clone());
        Planned { number, tool, arguments, because }
    }
}

// === impl Said ===

impl Said {
    fn assistant(text: &str, tool_calls: Vec<ToolCall>) -> Self {
        Self { tool_calls, ..Self::from(Message::assistant(text)) }
    }
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        let Message { role, content, attachments, tool_calls, tool_call_id, is_error } = message;
        Self { role, content, tool_calls, tool_call_id, is_error, attachments }
    }
}

impl From<Said> for Message {
    fn from(said: Said) -> Self {
        let Said { role, content, tool_calls, tool_call_id, is_error, attachments } = said;
        Self { role, content, attachments, tool_calls, tool_call_id, is_error }
    }
}

// === private helpers ===

/// No arguments at all are an empty object, as some models write them.
fn arguments(written: &str) -> Result<Map<String, Value>, String> {
    if written.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(written) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err("are JSON, but no object".to_owned()),
        Err(error) => Err(format!("are not JSON ({error})")),
    }
}

#[cfg(test)]
mod tests;
