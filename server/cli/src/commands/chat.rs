//! `muxi chat`: one message and its answer, or a conversation.

pub(super) mod answering;
pub(super) mod conversation;
mod screen;
pub(super) mod talk;
pub(super) mod turn;

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use self::answering::Answering;
use self::conversation::Conversation;
use self::talk::{Message, Talk};
use self::turn::{End, Turn};
use crate::client::formation::UserArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::plain;

/// Of a message that comes from standard input.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;

/// Talk with a formation
///
/// With a MESSAGE, or with one from standard input, its answer is printed and the command ends. Without, and
/// with a terminal, a conversation begins; /help tells what can be done in it. The answer goes to standard
/// output, and how it comes about (who answers, tools, files that were made) to standard error.
///
/// Ctrl-C while it answers cancels the answer; at the prompt it leaves.
///
/// With --json, each frame of the answer is a line; with --json --no-stream, the answer is one document.
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// What to say [default: standard input, or a conversation at a terminal]
    message: Option<String>,
    #[command(flatten)]
    user: UserArgs,
    /// Session to go on with [default: a new one]
    #[arg(short, long, value_name = "ID")]
    session: Option<String>,
    /// Agent that is to answer [default: the formation chooses]
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// File to send along, or - for standard input; can be given several times
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Print the answer when it is whole
    #[arg(long)]
    no_stream: bool,
    /// Also what the model thinks, each end of a tool's call, and what it used
    #[arg(short, long)]
    verbose: bool,
    /// Also each frame as it comes, on standard error
    #[arg(long)]
    debug: bool,
}

// === impl ChatArgs ===

impl ChatArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let text = match &self.message {
            Some(text) => Some(text.clone()),
            None if std::io::stdin().is_terminal() => None,
            None => Some(piped()?),
        };
        let file = |path: &PathBuf| match path.to_str() {
            Some("-") if self.message.is_some() => talk::piped(),
            _ => talk::file(&context.folder.join(path)),
        };
        let files = self.file.iter().map(file).collect::<Result<Vec<_>, _>>()?;
        // Prompts do not belong into what is piped on.
        if text.is_none() && !(context.terminal.can_ask() && std::io::stdout().is_terminal()) {
            return Err(nothing_said());
        }
        let formation = self.user.open(context)?;
        let talk = Talk { formation, session: self.session, agent: self.agent };
        let mut answering = Answering {
            talk,
            context,
            is_verbose: self.verbose,
            is_debug: self.debug,
            is_whole: self.no_stream,
        };
        let Some(text) = text else {
            return Conversation::new(answering, files)?.hold().await;
        };
        let message = Message { text, files, ui_response: None };
        if context.is_json && self.no_stream {
            let document = answering.document(&message).await?;
            return Ok(context.show(&document, Value::to_string));
        }
        let turn = answering.answer(&message).await?;
        ended(turn, &answering, context)
    }
}

/// How a single message ends.
fn ended(turn: Turn, answering: &Answering<'_>, context: &Context) -> Result<Exit, Fault> {
    let Some(session) = &answering.talk.session else { return outcome(turn) };
    let choices = turn.choices().map(|(_, choices)| choices).unwrap_or_default();
    let choices: Vec<&str> = choices.iter().filter_map(|(_, value)| value.as_str()).collect();
    let goes_on = if turn.waits_for().is_some() {
        let answers = if choices.is_empty() { "ANSWER".to_owned() } else { choices.join("|") };
        format!("it waits for your answer: muxi chat -s {session} {answers}")
    } else {
        format!("session {session}   muxi chat -s {session} goes on")
    };
    let goes_on = console::Style::new().for_stderr().dim().apply_to(plain(&goes_on));
    context.terminal.note(&goes_on.to_string());
    outcome(turn)
}

fn outcome(turn: Turn) -> Result<Exit, Fault> {
    match turn.end {
        Some(End::Answered) => Ok(Exit::Done),
        Some(End::Cancelled) => {
            Err(Fault::new(Exit::Interrupted, "Interrupted", "the answer was cancelled"))
        }
        Some(End::Failed(fault)) => Err(fault),
        None => Err(Fault::new(
            Exit::Unreachable,
            "BrokenStream",
            "the formation broke off before its answer was whole",
        )
        .mend("muxi requests list   shows what came of it")),
    }
}

fn piped() -> Result<String, Fault> {
    let failed = |error: std::io::Error| {
        Fault::file("read", Path::new("standard input"), error)
            .mend("give the message as text in UTF-8")
    };
    let mut text = String::new();
    std::io::stdin().take(MESSAGE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MESSAGE_BYTES_MAX {
        return Err(Fault::usage("the message has more than 1 MiB")
            .mend("send what is long as a file: --file PATH"));
    }
    if text.trim().is_empty() { Err(nothing_said()) } else { Ok(text.trim_end().to_owned()) }
}

fn nothing_said() -> Fault {
    Fault::usage("there is nothing to say: no message, and no terminal to type one")
        .mend("muxi chat \"Hello!\"")
        .mend("echo \"Hello!\" | muxi chat")
        .mend("cat notes.md | muxi chat \"Sum it up\" --file -")
}
