//! What holds the layers apart. The rules are pure; this file gathers what they judge.

mod build;
mod directions;
mod files;
mod manifests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde::Deserialize;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) crates: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Fault>,
}

/// What is wrong, and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    what: String,
    mend: String,
}

/// Why nothing could be checked.
#[derive(Debug)]
pub(crate) enum CheckError {
    Run { command: String, fault: String },
    Read { path: PathBuf, source: io::Error },
    Metadata(serde_json::Error),
}

/// The part of `cargo metadata` that is read here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    /// Absent for what lies in this repository.
    source: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<Kind>,
}

/// Absent in the metadata for an ordinary dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dev,
    Build,
}

/// Applies every rule to the workspace at `root`.
pub(crate) fn check(root: &Path) -> Result<Report, CheckError> {
    let metadata = run(root, &["metadata", "--format-version", "1", "--locked"])?;
    let metadata: Metadata = serde_json::from_str(&metadata).map_err(CheckError::Metadata)?;
    // The lock file and the metadata also name what no feature turns on; the tree is what is built.
    let tree = ["tree", "--workspace", "--locked", "--edges", "normal,build,dev"];
    let tree = run(root, &[&tree[..], &["--prefix", "none", "--format", "{p}"]].concat())?;

    let is_member = |package: &&Package| metadata.workspace_members.contains(&package.id);
    let members: Vec<&Package> = metadata.packages.iter().filter(is_member).collect();
    let mut report = Report { crates: members.len(), ..Report::default() };
    report.faults.extend(directions::check(&members));
    report.faults.extend(build::check_sources(&metadata.packages, &metadata.workspace_members));
    report.faults.extend(build::check_tree(&tree));
    report.faults.extend(manifests::check_root(&read(&root.join("Cargo.toml"))?));
    for member in &members {
        let path = &member.manifest_path;
        let shown = path.strip_prefix(root).unwrap_or(path);
        report.faults.extend(manifests::check_member(shown, &read(path)?));
        for file in rust_files(&path.with_file_name("src"))? {
            let lines = read(&file)?.lines().count();
            let shown = file.strip_prefix(root).unwrap_or(&file);
            match files::judge(shown, lines) {
                files::Length::Fine => {}
                files::Length::Long(warning) => report.warnings.push(warning),
                files::Length::TooLong(fault) => report.faults.push(fault),
            }
        }
    }
    Ok(report)
}

// === impl Fault ===

impl Fault {
    fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.what, self.mend)
    }
}

// === impl CheckError ===

impl fmt::Display for CheckError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { command, fault } => write!(formatter, "`{command}` failed: {fault}"),
            Self::Read { path, source } => {
                write!(formatter, "failed to read {}: {source}", path.display())
            }
            Self::Metadata(error) => {
                write!(formatter, "the answer of `cargo metadata` is not understood: {error}")
            }
        }
    }
}

// === private helpers ===

fn run(root: &Path, arguments: &[&str]) -> Result<String, CheckError> {
    // Cargo names itself to what it runs.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let failed = |fault: String| CheckError::Run {
        command: format!("cargo {}", arguments.join(" ")),
        fault,
    };
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}

fn read(path: &Path) -> Result<String, CheckError> {
    fs::read_to_string(path).map_err(|source| CheckError::Read { path: path.to_owned(), source })
}

/// Every Rust file below a folder; none if there is no such folder.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, CheckError> {
    let failed = |source| CheckError::Read { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
