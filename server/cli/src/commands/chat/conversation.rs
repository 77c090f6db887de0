//! A conversation at a terminal.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use serde_json::{Value, json};

use super::answering::Answering;
use super::talk::{self, Message};
use super::turn::{End, Turn};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::plain;

const PROMPT: &str = "> ";
const HISTORY: &str = "history";
const HELP: &str = "\
  /session     the session's id
  /new         begin a new session
  /file PATH   send a file with the next message
  /agent ID    let this agent answer; without ID the formation chooses
  /quit        leave, as Ctrl-D does
  Everything else is sent, /NAME of a procedure, too. Ctrl-C cancels an answer; a line that ends
  with \\ goes on in the next one.";

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Help,
    Session,
    New,
    File(&'a str),
    Agent(&'a str),
    Quit,
    Nothing,
    Message(&'a str),
}

/// A question's widget and its choices.
type Choices = (Value, Vec<(String, Value)>);

type Lines = Editor<(), FileHistory>;

pub(in super::super) struct Conversation<'a> {
    answering: Answering<'a>,
    context: &'a Context,
    files: Vec<Value>,
    choices: Option<Choices>,
    /// A message that was not delivered stands at the prompt again.
    again: String,
    history: PathBuf,
    /// Away while a line is read.
    lines: Option<Lines>,
}

// === impl Conversation ===

impl<'a> Conversation<'a> {
    pub(in super::super) fn new(
        answering: Answering<'a>,
        files: Vec<Value>,
    ) -> Result<Self, Fault> {
        let context = answering.context;
        let mut lines = editor()?;
        let history = context.home.file(HISTORY);
        // It is made by the first message that is kept.
        drop(lines.load_history(&history));
        let (choices, again, lines) = (None, String::new(), Some(lines));
        Ok(Self { answering, context, files, choices, again, history, lines })
    }

    /// Prints above what the user is typing.
    pub(in super::super) fn printer(
        &mut self,
    ) -> Result<impl ExternalPrinter + Send + 'static, Fault> {
        self.lines().create_external_printer().map_err(|it| unusable(&it))
    }

    /// Until the user leaves.
    pub(in super::super) async fn hold(mut self) -> Result<Exit, Fault> {
        let formation = &self.answering.talk.formation;
        let name = if formation.id.is_empty() { "the formation" } else { &formation.id };
        let draft = if formation.is_draft { ", the draft" } else { "" };
        let greeting = format!("Talking with {name}{draft}. /help tells more; Ctrl-D leaves.");
        self.context.terminal.note(&greeting);
        while let Some(line) = self.read().await? {
            if !line.trim().is_empty() {
                let history = self.history.clone();
                keep(self.lines(), &line, &history);
            }
            if !self.take(&line).await {
                break;
            }
        }
        if let Some(session) = &self.answering.talk.session {
            self.context.terminal.note(&format!("muxi chat -s {}   goes on", plain(session)));
        }
        Ok(Exit::Done)
    }

    fn lines(&mut self) -> &mut Lines {
        self.lines.as_mut().expect("no line is being read")
    }

    /// Nothing when the user leaves.
    async fn read(&mut self) -> Result<Option<String>, Fault> {
        let mut text = String::new();
        loop {
            let again = std::mem::take(&mut self.again);
            let mut lines = self.lines.take().expect("no line is being read");
            // Whatever goes on beside the conversation goes on while somebody types.
            let reading = tokio::task::spawn_blocking(move || {
                let line = lines.readline_with_initial(PROMPT, (&again, ""));
                (lines, line)
            });
            let (lines, line) = reading.await.expect("reading a line does not panic");
            self.lines = Some(lines);
            match line {
                Ok(line) => match line.strip_suffix('\\') {
                    Some(line) => text.extend([line, "\n"]),
                    None => return Ok(Some(text + &line)),
                },
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(None),
                Err(error) => return Err(unusable(&error)),
            }
        }
    }

    /// Whether the conversation goes on.
    async fn take(&mut self, line: &str) -> bool {
        let terminal = &self.context.terminal;
        match Line::of(line) {
            Line::Nothing => {}
            Line::Quit => return false,
            Line::Help => terminal.note(HELP),
            Line::Session => {
                let session = self.answering.talk.session.as_deref();
                terminal.note(&plain(session.unwrap_or("the first answer begins one")));
            }
            Line::New => {
                (self.answering.talk.session, self.choices) = (None, None);
                terminal.note("a new session begins with the next message");
            }
            Line::Agent(id) => {
                self.answering.talk.agent = Some(id.to_owned()).filter(|it| !it.is_empty());
                let who = if id.is_empty() { "whom the formation chooses" } else { id };
                terminal.note(&format!("from now on answers {who}"));
            }
            Line::File("") => terminal.note("which file? /file PATH"),
            Line::File(path) => match talk::file(&self.context.folder.join(path)) {
                Ok(file) => {
                    self.files.push(file);
                    terminal.note(&format!("{path} goes with the next message"));
                }
                Err(fault) => self.tell(&fault),
            },
            Line::Message(text) => return self.say(text).await,
        }
        true
    }

    async fn say(&mut self, typed: &str) -> bool {
        let (text, ui_response) = chosen(typed, self.choices.as_ref());
        let message = Message { text, files: self.files.clone(), ui_response };
        match self.answering.answer(&message).await {
            Ok(turn) => self.heard(turn),
            Err(fault) if fault.exit() == Exit::Interrupted => {
                self.tell(&fault);
                return false;
            }
            Err(fault) => {
                typed.clone_into(&mut self.again);
                self.tell(&fault);
                if !self.files.is_empty() && fault.code() == "VALIDATION_ERROR" {
                    self.files.clear();
                    self.context.terminal.note("no file goes with the next message any more");
                }
            }
        }
        true
    }

    fn heard(&mut self, turn: Turn) {
        self.files.clear();
        self.choices = turn.choices().map(|(id, choices)| {
            let choices = choices.into_iter().map(|(label, value)| (label, value.clone()));
            (id.clone(), choices.collect())
        });
        for (at, (label, _)) in self.choices.iter().flat_map(|(_, choices)| choices).enumerate() {
            self.context.terminal.note(&format!("  {}) {label}", at + 1));
        }
        match turn.end {
            Some(End::Answered | End::Cancelled) => {}
            Some(End::Failed(fault)) => self.tell(&fault),
            None => {
                self.tell(&Fault::failed("the formation broke off before its answer was whole"));
            }
        }
    }

    fn tell(&self, fault: &Fault) {
        let error = console::Style::new().for_stderr().red().bold().apply_to("error:");
        self.context.terminal.warn(&format!("{error} {}", plain(&fault.to_text())));
    }
}

// === impl Line ===

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word {
            "" => Self::Nothing,
            "/help" => Self::Help,
            "/session" => Self::Session,
            "/new" => Self::New,
            "/quit" | "/exit" => Self::Quit,
            "/file" => Self::File(rest.trim()),
            "/agent" => Self::Agent(rest.trim()),
            _ => Self::Message(line),
        }
    }
}

// === private helpers ===

/// A number picks a choice of the question that was asked; anything else answers in words.
fn chosen(typed: &str, choices: Option<&Choices>) -> (String, Option<Value>) {
    let picked = choices.and_then(|(id, choices)| {
        let number: usize = typed.parse().ok()?;
        let by_number = choices.get(number.checked_sub(1)?)?;
        Some((id, by_number))
    });
    match picked {
        Some((id, (label, value))) => (label.clone(), Some(json!({"id": id, "value": value}))),
        None => (typed.to_owned(), None),
    }
}

fn editor() -> Result<Lines, Fault> {
    let config = Config::builder().history_ignore_space(true).build();
    Editor::with_config(config).map_err(|it| unusable(&it))
}

fn unusable(error: &ReadlineError) -> Fault {
    Fault::failed(format!("the terminal cannot be used: {error}"))
}

/// A history that cannot be kept is no reason not to talk.
fn keep(lines: &mut Lines, line: &str, history: &Path) {
    drop(lines.add_history_entry(line));
    if let Some(folder) = history.parent() {
        drop(std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder));
    }
    drop(lines.save_history(history));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_and_procedures_are_messages() {
        assert_eq!(Line::of(" /file a b.txt "), Line::File("a b.txt"));
        assert_eq!(Line::of("/agent"), Line::Agent(""));
        assert_eq!(Line::of("/refund 1007"), Line::Message("/refund 1007"));
        assert_eq!(Line::of("  "), Line::Nothing);
    }

    #[test]
    fn a_number_picks_a_choice_only_where_there_is_one() {
        let choices = (json!("ui_1"), vec![("Approve".to_owned(), json!("yes"))]);
        let response = json!({"id": "ui_1", "value": "yes"});
        assert_eq!(chosen("1", Some(&choices)), ("Approve".to_owned(), Some(response)));
        for (typed, choices) in [("2", Some(&choices)), ("0", Some(&choices)), ("1", None)] {
            assert_eq!(chosen(typed, choices), (typed.to_owned(), None));
        }
    }
}
