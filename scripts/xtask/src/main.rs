//! The project's own chores: `cargo xtask layers`.

mod layers;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask layers

  layers   check what the compiler does not: which crate may depend on which, what the build may
           contain, and how long a file may be";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["layers"] => report(layers::check(&root())),
        ["help" | "--help" | "-h"] => say(std::io::stdout(), USAGE, ExitCode::SUCCESS),
        _ => say(std::io::stderr(), USAGE, ExitCode::from(2)),
    }
}

fn root() -> std::path::PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("xtask lies two folders below the root").to_owned()
}

fn report(checked: Result<layers::Report, layers::CheckError>) -> ExitCode {
    let report = match checked {
        Ok(report) => report,
        Err(error) => {
            return say(std::io::stderr(), &format!("xtask: {error}"), ExitCode::from(2));
        }
    };
    let mut lines: Vec<String> =
        report.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    lines.extend(report.faults.iter().map(|fault| format!("error: {fault}")));
    let (count, crates) = (report.faults.len(), report.crates);
    lines.push(match count {
        0 => format!("layers: {crates} crates, no faults"),
        _ => format!("layers: {crates} crates, {count} fault(s)"),
    });
    let code = if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    say(std::io::stdout(), &lines.join("\n"), code)
}

fn say(mut output: impl std::io::Write, text: &str, code: ExitCode) -> ExitCode {
    // A reader that is gone changes nothing about what was found.
    drop(writeln!(output, "{text}"));
    code
}
