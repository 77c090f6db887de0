//! `muxi validate`: everything that is right and wrong with a bundle, in one report.

mod excerpt;
mod knowledge;
mod report;

pub(super) use self::knowledge::paths as knowledge_paths;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::check::{Checked, check};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// A formation's folder [default: the one of this folder]
    path: Option<PathBuf>,
    /// Also the settings of each model, and what else the formation has
    #[arg(short, long)]
    verbose: bool,
}

// === impl ValidateArgs ===

impl ValidateArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let bundle = at(self.path.as_deref(), context)?;
        let checked = check(&bundle.folder);
        let document = report::document(&bundle.folder, &checked);
        context.show(&document, |document| {
            let found = excerpt::all(&bundle.folder, &checked.found);
            let (verdict, rest) =
                (verdict(document, &checked, context), report::text(document, self.verbose));
            format!("{found}{verdict}{rest}")
        });
        Ok(if checked.faults().next().is_some() { Exit::Failed } else { Exit::Done })
    }
}

/// The folder that is named, else the one where the user is.
pub(super) fn at(path: Option<&Path>, context: &Context) -> Result<Bundle, Fault> {
    let Some(path) = path else { return Bundle::required(&context.folder) };
    let named = context.folder.join(path);
    // The manifest itself is meant as the folder that it lies in.
    let folder = if named.is_file() { named.parent().unwrap_or(&named) } else { &named };
    Bundle::at(folder).ok_or_else(|| {
        Fault::not_found(format!("there is no formation.afs in {}", folder.display()))
            .mend("name a folder with one")
            .mend("muxi new formation NAME   makes one")
    })
}

/// What keeps a bundle from being run, as one fault.
pub(super) fn sound(folder: &Path, act: &str, checked: &Checked) -> Result<(), Fault> {
    let faults: Vec<String> = checked.faults().map(ToString::to_string).collect();
    if faults.is_empty() {
        return Ok(());
    }
    let message =
        format!("{} cannot be {act}, for {}:", folder.display(), count(faults.len(), "reason"));
    Err(Fault::new(Exit::Failed, "BundleInvalid", message)
        .details(faults)
        .mend("muxi validate   shows them in place"))
}

fn verdict(document: &Value, checked: &Checked, context: &Context) -> String {
    let (faults, warnings) = (checked.faults().count(), checked.warnings().count());
    let warned = if warnings == 0 {
        String::new()
    } else {
        format!(", with {}", count(warnings, "warning"))
    };
    if faults > 0 {
        let faults = count(faults, "fault");
        return format!(
            "{} {faults}{}\n",
            context.terminal.cross(),
            warned.replace(", with", " and")
        );
    }
    let name = format!("{} {}", text(&document["id"]), text(&document["version"]));
    format!("{} {name} is sound{warned}\n", context.terminal.tick())
}

pub(super) fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn place(file: &str, line: usize, column: usize) -> Value {
    json!({"file": file, "line": line, "column": column})
}
