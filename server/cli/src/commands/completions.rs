//! `muxi completions`: what a shell needs to complete this program's words.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde_json::json;

use super::Arguments;
use crate::context::Context;
use crate::exit::Exit;

/// Print the completions of a shell
///
/// bash: muxi completions bash > ~/.local/share/bash-completion/completions/muxi
///
/// zsh: muxi completions zsh > a file named _muxi in a folder of $fpath
///
/// fish: muxi completions fish > ~/.config/fish/completions/muxi.fish
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

// === impl CompletionsArgs ===

impl CompletionsArgs {
    pub(crate) fn run(self, context: &Context) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "muxi", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        let value = json!({"shell": self.shell.to_string(), "script": script});
        context.show(&value, |_| script.clone())
    }
}
