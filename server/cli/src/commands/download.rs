//! `muxi download`: what is deployed as a folder here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::validate::count;
use crate::client::archive::{Files, Wanted, download};
use crate::client::manager::ManagerArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;

#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// Formation [default: the one of this folder]
    id: Option<String>,
    #[command(flatten)]
    manager: ManagerArgs,
    /// Replace the folder without asking; hidden files in it and its secrets stay
    #[arg(short, long)]
    force: bool,
    /// With a copy of its memory
    #[arg(long)]
    include_db: bool,
    /// Another generation than the one that serves
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// Folder to make [default: ID, or this folder if the formation is its own]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

// === impl DownloadArgs ===

impl DownloadArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let here = Bundle::find(&context.folder);
        let (id, usual) = match (&self.id, &here) {
            (Some(id), _) => (id.clone(), context.folder.join(id)),
            (None, Some(bundle)) => (bundle.id()?.to_string(), bundle.folder.clone()),
            (None, None) => {
                return Err(Fault::usage("which formation? This folder has none")
                    .mend("name it, as `muxi remote list` does"));
            }
        };
        let folder = self.output.as_ref().map_or(usual, |it| context.folder.join(it));
        // `.` and links cannot be put aside, but what they mean can.
        let folder = folder.canonicalize().unwrap_or(folder);
        let shown = context.relative(&folder).display().to_string();
        let shown = if shown.is_empty() { ".".to_owned() } else { shown };
        let is_there = folder.exists();
        if is_there && !self.force {
            let question = format!("Replace what is in {shown} by what is deployed?");
            if !context.terminal.confirm(&question, "--force")? {
                return Err(Fault::failed("nothing was changed"));
            }
        }
        let manager = self.manager.manager(context)?;
        let wanted = Wanted { generation: self.generation, with_database: self.include_db };
        let mut files = download(&manager, &id, wanted).await.map_err(|fault| {
            fault.mend_missing("muxi remote list   shows those that are deployed")
        })?;
        let has = |name: &str| folder.join(name).exists();
        if has(muxi_vault::SECRETS_FILE) && has(muxi_vault::KEY_FILE) {
            files.remove(muxi_vault::SECRETS_FILE);
            context.terminal.note(&format!("The secrets in {shown} stay as they are here"));
        }
        replace(&folder, &files, self.include_db)
            .map_err(|error| Fault::file("write", &folder, error))?;
        if files.contains_key(muxi_vault::SECRETS_FILE)
            && !folder.join(muxi_vault::KEY_FILE).exists()
        {
            context.terminal.caution(format!(
                "{shown}/secrets.enc came without its key, which no download has: put .key there, or remove it and run muxi secrets setup"
            ));
        }
        if is_there && context.folder.starts_with(&folder) {
            context
                .terminal
                .note("The folder where you are was replaced: cd . shows its new files");
        }
        let names: Vec<&String> = files.keys().collect();
        let value =
            json!({"formation_id": id, "folder": folder.display().to_string(), "files": names});
        let act = if is_there { "Replaced" } else { "Wrote" };
        Ok(context.done(&value, &format!("{act} {shown}: {}", count(names.len(), "file"))))
    }
}

// === private helpers ===

/// Beside the folder first, so that it is whole or not there.
fn replace(folder: &Path, files: &Files, with_database: bool) -> std::io::Result<()> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let scratch = tempfile::Builder::new().prefix(".muxi-download-").tempdir_in(parent)?;
    let fresh = scratch.path().join("new");
    fs::create_dir(&fresh)?;
    for (path, content) in files {
        let path = fresh.join(path);
        fs::create_dir_all(path.parent().expect("it lies in a folder"))?;
        fs::write(&path, content)?;
        if is_private(&path) {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
    }
    if !folder.exists() {
        return fs::rename(&fresh, folder);
    }
    let before = scratch.path().join("old");
    fs::rename(folder, &before)?;
    let replaced = fs::rename(&fresh, folder).and_then(|()| keep(&before, folder, with_database));
    if replaced.is_err() {
        // What was there comes back whole; what was taken out of it first.
        put_back(&before, folder)?;
    }
    replaced
}

/// What people said, and what opens other things.
fn is_private(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == muxi_vault::SECRETS_FILE || name.contains(".db") || name.contains(".sqlite")
}

/// What a download never has would be lost: the key, settings, version control. Nor are secrets replaced that
/// only the folder has.
fn keep(before: &Path, folder: &Path, with_database: bool) -> std::io::Result<()> {
    for entry in fs::read_dir(before)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let is_memory = text.starts_with("memory.db") && !with_database;
        if text.starts_with('.') || text.starts_with("secrets") || is_memory {
            let there = folder.join(&name);
            if !there.exists() {
                fs::rename(before.join(&name), there)?;
            }
        }
    }
    Ok(())
}

fn put_back(before: &Path, folder: &Path) -> std::io::Result<()> {
    if folder.exists() {
        keep(folder, before, false)?;
        fs::remove_dir_all(folder)?;
    }
    fs::rename(before, folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_download_never_has_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("team");
        let files: Files =
            [("formation.afs".to_owned(), b"new".to_vec()), ("a/b".to_owned(), Vec::new())].into();
        replace(&folder, &files, false).unwrap();
        for (name, text) in
            [(".key", "key"), ("formation.afs", "old"), ("gone.md", ""), ("memory.db", "m")]
        {
            fs::write(folder.join(name), text).unwrap();
        }
        replace(&folder, &files, false).unwrap();
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        assert_eq!(read("formation.afs").as_deref(), Some("new"));
        assert_eq!(
            (read(".key").as_deref(), read("memory.db").as_deref()),
            (Some("key"), Some("m"))
        );
        assert_eq!(read("gone.md"), None);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
