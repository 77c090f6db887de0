//! `muxi artifacts open` and `cleanup`: a file in the program that shows its kind, by way of a copy that is kept
//! until it is cleaned up.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::get::{own_name, save};
use super::{known, path};
use crate::client::formation::{Formation, Key};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::text_of;

/// Below the user's own folder of the command line.
const COPIES: &str = "artifacts";
/// Whoever knows what shows a file, the user's own word first.
const OPENER_VARIABLE: &str = "MUXI_OPENER";
const OPENERS: [&str; 2] = ["xdg-open", "open"];

pub(super) async fn open(
    artifact: &str,
    formation: &Formation,
    context: &Context,
) -> Result<Exit, Fault> {
    let about = formation.get(Key::Client, &path(artifact, "")).await.map_err(known)?;
    // Two artifacts may have one name.
    let folder = context.home.file(COPIES).join(own_name(&text_of(&about["id"]))?);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|it| Fault::file("make", &folder, it))?;
    let copy = folder.join(own_name(&text_of(&about["name"]))?);
    let response = formation.raw(Key::Client, &path(artifact, "/content")).await.map_err(known)?;
    save(formation, response, &copy).await?;
    show(&copy)?;
    let value = json!({"id": artifact, "file": copy.display().to_string()});
    Ok(context.done(&value, &format!("Opened {}", copy.display())))
}

/// Removes the copies that were opened; the formation's own files stay.
pub(super) fn cleanup(context: &Context) -> Result<Exit, Fault> {
    let folder = context.home.file(COPIES);
    let count = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.count(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(Fault::file("read", &folder, error)),
    };
    if count > 0 {
        std::fs::remove_dir_all(&folder).map_err(|it| Fault::file("remove", &folder, it))?;
    }
    let what = crate::terminal::format::count(&json!(count), "copy", "copies");
    Ok(context
        .done(&json!({"removed": count}), &format!("Removed {what} of files that were opened")))
}

// === private helpers ===

fn show(copy: &Path) -> Result<(), Fault> {
    let given = crate::files::variable(OPENER_VARIABLE);
    let openers = match &given {
        Some(opener) => vec![opener.as_str()],
        None => OPENERS.to_vec(),
    };
    for opener in openers {
        let mut command = Command::new(opener);
        command.arg(copy).stdin(Stdio::null()).stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => {
                return Err(Fault::failed(format!("{opener} ended with {status}"))
                    .mend(format!("the file is {}", copy.display())));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Fault::file("start", &PathBuf::from(opener), error)),
        }
    }
    Err(Fault::failed("no program is known that opens files")
        .mend(format!("the file is {}", copy.display()))
        .mend(format!("set {OPENER_VARIABLE} to a program that opens files")))
}
