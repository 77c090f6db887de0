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

mod addresses;
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
use self::terminal::Terminal;

/// What scripts of the published command line set.
const FORMAT_VARIABLE: &str = "MUXI_OUTPUT_FORMAT";

fn main() -> ExitCode {
    let parsed = overview::command().try_get_matches();
    let parsed = parsed.and_then(|matches| Arguments::from_arg_matches(&matches));
    let Arguments { json, command } = match parsed {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() && is_json_asked() => {
            return told(&misread(&error), true).into();
        }
        Err(error) => error.exit(),
    };
    // The clients of this process use this one; a second in the build would be a panic.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().expect("nobody was here before");
    let json = match output_format(json) {
        Ok(json) => json,
        Err(fault) => return told(&fault, json).into(),
    };
    let done = Context::new(json).and_then(|context| command.run(&context));
    let done = done.and_then(|exit| Terminal::lost_output().map_or(Ok(exit), Err));
    done.unwrap_or_else(|fault| told(&fault, json)).into()
}

/// The flag, else what the environment always asks for.
fn output_format(json: bool) -> Result<bool, Fault> {
    match files::variable(FORMAT_VARIABLE).as_deref() {
        _ if json => Ok(true),
        None | Some("text" | "table") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(Fault::usage(format!("{FORMAT_VARIABLE} is `{other}`"))
            .mend("set it to text or json, or leave it out")),
    }
}

/// Of a command line that cannot be read.
fn is_json_asked() -> bool {
    std::env::args().any(|it| it == "--json") || matches!(output_format(false), Ok(true))
}

fn misread(error: &clap::Error) -> Fault {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|it| !it.is_empty());
    let message = lines.next().unwrap_or_default();
    let fault = Fault::usage(message.strip_prefix("error: ").unwrap_or(message));
    fault.details(lines.map(str::to_owned))
}

fn told(fault: &Fault, is_json: bool) -> Exit {
    let terminal = Terminal::new(is_json);
    if is_json {
        // On one line: it may end a stream of documents.
        terminal.print(&format!("{}\n", fault.to_json()));
    } else {
        let error = console::Style::new().for_stderr().red().bold().apply_to("error:");
        terminal.warn(&format!("{error} {}", terminal::plain(&fault.to_text())));
    }
    fault.exit()
}
