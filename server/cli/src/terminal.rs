//! What people see: standard output for results, standard error for everything on the way there.

pub(crate) mod format;
pub(crate) mod input;
pub(crate) mod interrupt;
pub(crate) mod progress;
pub(crate) mod stream;
pub(crate) mod table;

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use console::{Style, Term};
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, Password, Select};
use secrecy::SecretString;

use self::interrupt::while_asking;
use crate::fault::Fault;

/// Why standard output took nothing more, other than by a reader that left.
static BROKEN_OUTPUT: OnceLock<String> = OnceLock::new();

/// `NO_COLOR` and what a terminal can do are looked after by the `console` crate.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    is_json: bool,
}

// === impl Terminal ===

#[expect(clippy::unused_self, reason = "whoever prints was handed a terminal to print on")]
impl Terminal {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    /// Whoever reads may have left; that is no fault.
    pub(crate) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if let Err(error) = printed
            && error.kind() != ErrorKind::BrokenPipe
        {
            // The first reason counts.
            drop(BROKEN_OUTPUT.set(error.to_string()));
        }
    }

    /// What was printed and did not get anywhere, such as onto a full disk.
    pub(crate) fn lost_output() -> Option<Fault> {
        let why = BROKEN_OUTPUT.get()?;
        Some(Fault::failed(format!("standard output could not be written: {why}")))
    }

    /// Not part of the result: steps, warnings, questions.
    pub(crate) fn note(&self, text: &str) {
        if !self.is_json {
            self.warn(text);
        }
    }

    /// Something that is not right and hinders nothing. It may quote others.
    pub(crate) fn caution(&self, what: impl std::fmt::Display) {
        self.note(&plain(&format!("warning: {what}")));
    }

    pub(crate) fn warn(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        drop(err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n")));
    }

    /// A piece of a line that is no part of the result.
    pub(crate) fn write_note(&self, text: &str) {
        if !self.is_json {
            let mut err = std::io::stderr().lock();
            drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
        }
    }

    pub(crate) fn tick(&self) -> String {
        Style::new().green().apply_to("✓").to_string()
    }

    pub(crate) fn cross(&self) -> String {
        Style::new().red().apply_to("✗").to_string()
    }

    /// Whether somebody sees what moves.
    pub(crate) fn is_live(&self) -> bool {
        !self.is_json && Term::stderr().is_term()
    }

    /// Whether somebody can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.is_json && std::io::stdin().is_terminal() && Term::stderr().is_term()
    }

    /// `flag` answers where nobody can be asked.
    pub(crate) fn confirm(&self, question: &str, flag: &str) -> Result<bool, Fault> {
        self.must_ask(question, flag)?;
        let theme = ColorfulTheme::default();
        let confirm = Confirm::with_theme(&theme).with_prompt(question).default(false);
        while_asking(|| confirm.interact()).map_err(|it| asked(&it))
    }

    pub(crate) fn ask(
        &self,
        question: &str,
        default: Option<&str>,
        flag: &str,
    ) -> Result<String, Fault> {
        self.must_ask(question, flag)?;
        let theme = ColorfulTheme::default();
        let mut input = Input::with_theme(&theme).with_prompt(question);
        if let Some(default) = default {
            input = input.default(default.to_owned());
        }
        while_asking(|| input.interact_text()).map_err(|it| asked(&it))
    }

    /// One of a few, the first unless another is chosen.
    pub(crate) fn choose(
        &self,
        question: &str,
        items: &[&str],
        flag: &str,
    ) -> Result<usize, Fault> {
        self.must_ask(question, flag)?;
        let theme = ColorfulTheme::default();
        let select = Select::with_theme(&theme).with_prompt(question).items(items).default(0);
        while_asking(|| select.interact()).map_err(|it| asked(&it))
    }

    /// Not shown while it is typed; empty when nothing was.
    pub(crate) fn ask_secret(&self, question: &str, flag: &str) -> Result<SecretString, Fault> {
        self.must_ask(question, flag)?;
        let theme = ColorfulTheme::default();
        let password =
            Password::with_theme(&theme).with_prompt(question).allow_empty_password(true);
        while_asking(|| password.interact()).map(SecretString::from).map_err(|it| asked(&it))
    }

    fn must_ask(&self, question: &str, flag: &str) -> Result<(), Fault> {
        if self.can_ask() {
            return Ok(());
        }
        let message = format!("“{question}” cannot be asked: there is no terminal");
        Err(Fault::usage(message).mend(format!("answer it with {flag}")))
    }
}

/// Text of others without what would move the cursor, change colours or ring.
pub(crate) fn plain(text: &str) -> String {
    let harmless = |it: &char| !it.is_control() || matches!(it, '\n' | '\t');
    text.chars().filter(harmless).collect()
}

fn asked(error: &dialoguer::Error) -> Fault {
    let dialoguer::Error::IO(error) = error;
    if error.kind() == std::io::ErrorKind::Interrupted {
        interrupt::wait_for_the_end();
    }
    Fault::failed(format!("the question could not be asked: {error}"))
}
