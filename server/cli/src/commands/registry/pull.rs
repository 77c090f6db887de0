//! `muxi pull`: from a registry to a folder, checked against the index.

use std::path::{Path, PathBuf};

use clap::Args;
use muxi_formation::{UnpackLimits, unpack};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::RegistryArgs;
use super::access::Registry;
use crate::check::check;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::error_chain;

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Its name, or NAME@VERSION
    reference: String,
    #[command(flatten)]
    at: RegistryArgs,
    /// Folder to make [default: NAME]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

// === impl PullArgs ===

impl PullArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let registry = Registry::open(&self.at, context).await?;
        let index = registry.index().await?;
        let entry = index.find(&self.reference)?;
        super::super::new::named(&entry.name, "a formation")?;
        let usual = PathBuf::from(&entry.name);
        let folder = context.folder.join(self.output.as_ref().unwrap_or(&usual));
        let shown = context.relative(&folder).display().to_string();
        if folder.exists() {
            return Err(Fault::new(
                Exit::Conflict,
                "FolderExists",
                format!("{shown} is there already"),
            )
            .mend("choose another folder with --output"));
        }
        let bundle = registry.bundle(&entry.url).await?;
        let sum = hex::encode(Sha256::digest(&bundle));
        if !sum.eq_ignore_ascii_case(&entry.sha256) {
            let message = format!("{} is not what the index says it is", entry.url);
            return Err(Fault::new(Exit::Failed, "ChecksumMismatch", message)
                .details([
                    format!("SHA-256 in the index: {}", entry.sha256),
                    format!("of what came: {sum}"),
                ])
                .mend("tell whoever keeps the registry, and do not use it"));
        }
        placed(&bundle, &folder)
            .map_err(|why| Fault::failed(format!("{} cannot be unpacked: {why}", entry.url)))?;
        let checked = check(&folder);
        let is_ready = checked.placeholders.iter().all(|it| it.is_set);
        for it in &checked.found {
            context.terminal.caution(it);
        }
        let value = json!({"name": entry.name, "version": entry.version, "folder": folder.display().to_string()});
        let before = if is_ready { "" } else { "muxi secrets setup && " };
        Ok(context.show(&value, |_| {
            let tick = context.terminal.tick();
            format!(
                "{tick} Pulled {} {} into {shown}\n  cd {shown} && {before}muxi up\n",
                entry.name, entry.version
            )
        }))
    }
}

// === private helpers ===

/// Beside the folder first, so that it is whole or not there.
fn placed(bundle: &[u8], folder: &Path) -> Result<(), String> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    let text = |error: &dyn std::error::Error| error_chain(error);
    std::fs::create_dir_all(parent).map_err(|it| text(&it))?;
    let scratch = tempfile::Builder::new().prefix(".muxi-pull-").tempdir_in(parent);
    let scratch = scratch.map_err(|it| text(&it))?;
    let unpacked = unpack(bundle, &scratch.path().join("bundle"), &UnpackLimits::default());
    let root = unpacked.map_err(|it| text(&it))?.root;
    std::fs::rename(root, folder).map_err(|it| text(&it))
}
