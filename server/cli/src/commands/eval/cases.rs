//! Cases as they are written down: read from files, with everything that is wrong with them at once.

mod reader;

use std::path::{Path, PathBuf};

use serde_json::Value;

use self::reader::Reader;
use super::yaml;
use crate::fault::Fault;
use crate::files::document;

/// One conversation and what is expected of it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    /// `evals/refund.yaml:12`.
    pub(super) place: String,
    pub(super) turns: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) session: Option<String>,
    pub(super) agent: Option<String>,
    /// Sent with the first message.
    pub(super) files: Vec<PathBuf>,
    pub(super) expect: Expect,
}

/// All of it must hold. Texts, the agent and the approval are those of the last answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Expect {
    pub(super) contains: Vec<String>,
    pub(super) not_contains: Vec<String>,
    pub(super) regex: Vec<regex::Regex>,
    pub(super) json_schema: Option<Value>,
    pub(super) tool_called: Vec<String>,
    pub(super) tool_not_called: Vec<String>,
    pub(super) agent: Option<String>,
    pub(super) judge: Option<String>,
    pub(super) max_seconds: Option<f64>,
    /// Whether the last answer asks whether something may be done.
    pub(super) asks: Option<bool>,
}

/// The cases of a file, or of all `*.yaml` of a folder, by their names.
pub(super) fn read(path: &Path, shown_from: &Path) -> Result<Vec<Case>, Fault> {
    let files = files(path)?;
    let (mut cases, mut faults): (Vec<Case>, Vec<String>) = (Vec::new(), Vec::new());
    for file in &files {
        let shown = file.strip_prefix(shown_from).unwrap_or(file).display().to_string();
        let text = document::text(file)?.unwrap_or_default();
        match yaml::parse(&text) {
            Ok(root) => {
                let folder = file.parent().unwrap_or(Path::new("."));
                let mut reader = Reader { file: &shown, folder, faults: &mut faults };
                cases.extend(reader.cases(&root));
            }
            Err(wrong) => faults.push(format!("{shown}:{}: {}", wrong.line, wrong.message)),
        }
    }
    faults.sort_by_key(|it| place(it));
    for (at, case) in cases.iter().enumerate() {
        if let Some(first) =
            cases[..at].iter().find(|it| !it.name.is_empty() && it.name == case.name)
        {
            faults.push(format!(
                "{}: the name `{}` is taken at {}; names tell cases apart, choose another",
                case.place, case.name, first.place
            ));
        }
    }
    if !faults.is_empty() {
        let message = format!("the cases cannot be run, for {} reason(s):", faults.len());
        return Err(Fault::new(crate::exit::Exit::Failed, "CasesInvalid", message).details(faults));
    }
    if cases.is_empty() {
        return Err(none(path));
    }
    Ok(cases)
}

/// The file and the line at which a fault begins.
fn place(fault: &str) -> (String, usize) {
    let mut parts = fault.splitn(3, ':');
    let file = parts.next().unwrap_or_default().to_owned();
    (file, parts.next().and_then(|it| it.parse().ok()).unwrap_or_default())
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none(path)),
        Err(error) => return Err(Fault::file("read", path, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|it| Fault::file("read", path, it))?.path();
        if file.extension().is_some_and(|it| it == "yaml" || it == "yml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn none(path: &Path) -> Fault {
    Fault::not_found(format!("there are no cases in {}", path.display())).mend(
        "write evals/first.yaml:  - {name: greets, message: Hello!, expect: {contains: hello}}",
    )
}
