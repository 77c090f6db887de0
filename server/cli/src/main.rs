//! `muxi`: arguments → command → exit code.

#![expect(
    clippy::doc_markdown,
    reason = "what is said of arguments is shown as help, where backticks only disturb"
)]
#![expect(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "texts for people are short, and read best where they are put together"
)]

mod check;
mod client;
mod commands;
mod context;
mod exit;
mod fault;
mod files;
mod overview;
mod terminal;

use std::process::ExitCode;

use clap::FromArgMatches as _;

use self::commands::Arguments;
use self::context::Context;
use self::exit::Exit;
use self::fault::Fault;

fn main() -> ExitCode {
    let matches = overview::command().get_matches();
    let Arguments { json, command } =
        Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // The clients of this process use this one; a second in the build would be a panic.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().expect("nobody was here before");
    let done = Context::new(json).and_then(|context| command.run(&context));
    done.unwrap_or_else(|fault| told(&fault, json)).into()
}

fn told(fault: &Fault, is_json: bool) -> Exit {
    let terminal = terminal::Terminal::new(is_json);
    if is_json {
        terminal.print(&format!("{:#}\n", fault.to_json()));
    } else {
        let error = console::Style::new().for_stderr().red().bold().apply_to("error:");
        terminal.warn(&format!("{error} {}", terminal::plain(&fault.to_text())));
    }
    fault.exit()
}
