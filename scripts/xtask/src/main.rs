//! The project's own chores: `cargo xtask layers`, `cargo xtask openapi`.

mod layers;

use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
Usage: cargo xtask layers
       cargo xtask openapi [--check]

  layers   check what the compiler does not: which crate may depend on which, what the build may
           contain, and how long a file may be
  openapi  write server/openapi.json anew from the types of the wire; --check only compares";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["layers"] => report(layers::check(&root())),
        ["openapi"] => openapi(Some(&root().join("server/openapi.json"))),
        ["openapi", "--check"] => openapi(None),
        ["help" | "--help" | "-h"] => say(std::io::stdout(), USAGE, ExitCode::SUCCESS),
        _ => say(std::io::stderr(), USAGE, ExitCode::from(2)),
    }
}

/// The generator is a part of the manager's tests, so that the manager itself carries none.
fn openapi(write_to: Option<&Path>) -> ExitCode {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--locked", "--package", "muxi-server", "--lib"]);
    cargo.arg("http::openapi").current_dir(root());
    if let Some(path) = write_to {
        cargo.env("MUXI_OPENAPI_WRITE_TO", path);
    }
    match cargo.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let text = format!("xtask: cargo could not be started: {error}");
            say(std::io::stderr(), &text, ExitCode::from(2))
        }
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
