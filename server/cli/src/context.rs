//! What every command is run with.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::Home;
use crate::terminal::Terminal;

#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// One JSON document on standard output, or one a line of a stream.
    pub(crate) is_json: bool,
    pub(crate) terminal: Terminal,
    pub(crate) home: Home,
    /// Where the command was given.
    pub(crate) folder: PathBuf,
}

// === impl Context ===

impl Context {
    pub(crate) fn new(is_json: bool) -> Result<Self, Fault> {
        let folder = std::env::current_dir().map_err(|error| {
            Fault::failed(format!("the current folder cannot be used: {error}"))
        })?;
        Ok(Self {
            is_json,
            terminal: Terminal::new(is_json),
            home: Home::from_environment()?,
            folder,
        })
    }

    /// What a command found out: the document itself for scripts, `render`ed for people.
    pub(crate) fn show(&self, value: &Value, render: impl FnOnce(&Value) -> String) -> Exit {
        if self.is_json {
            self.terminal.print(&format!("{value:#}\n"));
        } else {
            self.terminal.print(&render(value));
        }
        Exit::Done
    }

    /// That something was done, with the document for scripts.
    pub(crate) fn done(&self, value: &Value, text: &str) -> Exit {
        self.show(value, |_| format!("{} {text}\n", self.terminal.tick()))
    }

    /// A path as the user would write it.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.folder).unwrap_or(path)
    }
}
