//! The project's own chores: `cargo xtask layers`, `cargo xtask openapi`.

mod layers;

use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
Usage: cargo xtask layers
       cargo xtask openapi [--check]

  layers   check what the compiler does not: which crate may depend on which, what the build may
           contain, and how long a file may be
  openapi  write the openapi.json of both tiers anew from the types of the wire; --check only compares";

/// Of each tier: the variable that makes its test write the document, and where it is.
const DOCUMENTS: [(&str, &str); 2] = [
    ("MUXI_OPENAPI_WRITE_TO", "server/openapi.json"),
    ("MUXI_FORMATION_OPENAPI_WRITE_TO", "formation-runtime/openapi.json"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["layers"] => report(layers::check(&root())),
        ["openapi"] => openapi(true),
        ["openapi", "--check"] => openapi(false),
        ["help" | "--help" | "-h"] => say(std::io::stdout(), USAGE, ExitCode::SUCCESS),
        _ => say(std::io::stderr(), USAGE, ExitCode::from(2)),
    }
}

/// The generator is a part of the tiers' tests, so that the programs themselves carry none.
fn openapi(writes: bool) -> ExitCode {
    let mut cargo = Command::new(env!("CARGO"));
    // All of the workspace, so that nothing is built with other features than for the other tests.
    cargo.args(["test", "--quiet", "--locked", "--workspace", "--lib", "--bins"]);
    cargo.arg("http::openapi").current_dir(root());
    for (variable, path) in DOCUMENTS.iter().filter(|_| writes) {
        cargo.env(variable, root().join(path));
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
