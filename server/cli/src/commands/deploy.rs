//! `muxi deploy`: from a folder or an archive to a formation that serves.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use muxi_contract::FormationId;
use muxi_formation::{PackOptions, pack};
use reqwest::Method;
use serde_json::{Value, json};

use super::bump::parts;
use super::diff::{self, Change};
use super::remote::{path, steps};
use super::validate;
use crate::check::check;
use crate::client::archive::{Wanted, download};
use crate::client::manager::{Manager, ManagerArgs, Told, Upload};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::{Bundle, error_chain};
use crate::terminal::format::bytes;
use crate::terminal::interrupt::asked_to_end;

/// Of the whole, as documented.
const LIMIT: Duration = Duration::from_mins(10);
/// The manager needs a moment to take an operation back.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct DeployArgs {
    /// A formation's folder, or a bundle that was packed before (.tar.gz) [default: this folder]
    path: Option<PathBuf>,
    #[command(flatten)]
    manager: ManagerArgs,
    /// Check and pack, and tell what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Wait without telling the steps
    #[arg(long)]
    no_stream: bool,
    /// Send memory.db along
    #[arg(long)]
    include_db: bool,
    /// Also a version that is not higher than the deployed one
    #[arg(long)]
    force: bool,
}

/// What is to be sent, checked and packed.
struct Packed {
    id: FormationId,
    version: String,
    archive: tempfile::NamedTempFile,
    bytes: u64,
    warnings: Vec<String>,
    /// Of a bundle that was packed before, only for as long as this lives.
    folder: PathBuf,
    _unpacked: Option<tempfile::TempDir>,
}

// === impl DeployArgs ===

impl DeployArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let named = self.path.as_deref().map(|it| context.folder.join(it));
        let (packed, settings) = match named {
            Some(path) if path.is_file() => {
                if self.include_db {
                    return Err(Fault::usage("an archive is sent as it was packed")
                        .mend("deploy the folder with --include-db"));
                }
                let packed = Packed::of_archive(&path)?;
                // What this folder says is about this folder's formation only.
                let here = Bundle::find(&context.folder)
                    .filter(|it| it.id().is_ok_and(|id| id == packed.id));
                (packed, here.map(|it| it.settings()).transpose()?)
            }
            Some(folder) => {
                let bundle = Bundle::at(&folder).ok_or_else(|| {
                    Fault::not_found(format!(
                        "{} is neither a formation's folder nor a bundle",
                        folder.display()
                    ))
                    .mend("name a folder with a formation.afs, or a .tar.gz of one")
                })?;
                (self.pack(&bundle)?, Some(bundle.settings()?))
            }
            None => {
                let bundle = Bundle::required(&context.folder)?;
                (self.pack(&bundle)?, Some(bundle.settings()?))
            }
        };
        for warning in &packed.warnings {
            context.terminal.caution(warning);
        }
        let chosen = self.manager.chosen(context, &settings.unwrap_or_default())?;
        let manager = Manager::new(chosen)?;
        let before = existing(&manager, packed.id.as_str()).await?;
        if let Some(before) = &before
            && !self.force
        {
            must_be_higher(&packed.version, before)?;
        }
        let changes = match &before {
            Some(_) => changed(&packed, &manager).await,
            None => Vec::new(),
        };
        if self.dry_run {
            return Ok(dry(&packed, before.as_ref(), &changes, &manager, context));
        }
        let answer = self.send(&packed, before.as_ref(), &manager, context).await?;
        let url = manager.formation_url(packed.id.as_str(), false);
        let value = json!({"formation_id": packed.id, "version": packed.version, "url": url.as_str(), "deployed": answer, "files": listed(&changes)});
        Ok(context.show(&value, |_| {
            format!(
                "{} Deployed {} {}\n{}  {url}\n",
                context.terminal.tick(),
                packed.id,
                packed.version,
                diff::short(&changes)
            )
        }))
    }

    fn pack(&self, bundle: &Bundle) -> Result<Packed, Fault> {
        let (id, version, warnings) = checked(&bundle.folder)?;
        let failed = |error: &dyn std::error::Error| {
            Fault::failed(format!(
                "{} cannot be packed: {}",
                bundle.folder.display(),
                error_chain(error)
            ))
        };
        let archive = tempfile::NamedTempFile::new().map_err(|it| failed(&it))?;
        let file = archive.reopen().map_err(|it| failed(&it))?;
        let options = PackOptions { include_database: self.include_db };
        pack(&bundle.folder, &id, options, BufWriter::new(file)).map_err(|it| failed(&it))?;
        let bytes = archive.as_file().metadata().map_err(|it| failed(&it))?.len();
        let folder = bundle.folder.clone();
        Ok(Packed { id, version, archive, bytes, warnings, folder, _unpacked: None })
    }

    /// Ctrl-C takes the work back before it ends.
    async fn send(
        &self,
        packed: &Packed,
        before: Option<&Value>,
        manager: &Manager,
        context: &Context,
    ) -> Result<Value, Fault> {
        let id = packed.id.as_str();
        let work = async {
            let bar = context.terminal.upload_bar("Uploading", packed.bytes);
            let upload = Upload { file: packed.archive.path(), formation: id, bar: &bar };
            let (method, path) = match before {
                Some(_) => (Method::PUT, path(id, "")),
                None => (Method::POST, "/rpc/formations".to_owned()),
            };
            let told = manager.upload(method, &path, &upload).await;
            bar.finish_and_clear();
            match told? {
                Told::Steps(events) if self.no_stream => {
                    let quiet = Context {
                        is_json: true,
                        terminal: crate::terminal::Terminal::new(true),
                        ..context.clone()
                    };
                    steps::follow(Told::Steps(events), &quiet).await
                }
                told @ (Told::Steps(_) | Told::Answer(_)) => steps::follow(told, context).await,
            }
        };
        tokio::select! {
            // All cancel-safe here: what is left undone is taken back below.
            done = work => done.map_err(|fault| unchanged(fault, id, before)),
            () = asked_to_end() => Err(cancelled(before.is_some(), id, manager).await),
            () = tokio::time::sleep(LIMIT) => Err(late(id)),
        }
    }
}

// === impl Packed ===

impl Packed {
    fn of_archive(path: &Path) -> Result<Self, Fault> {
        let failed = |error: &dyn std::error::Error| {
            Fault::failed(format!("{} cannot be sent: {}", path.display(), error_chain(error)))
        };
        let scratch = tempfile::tempdir().map_err(|it| failed(&it))?;
        let folder = scratch.path().join("bundle");
        let file = File::open(path).map_err(|it| failed(&it))?;
        let unpacked =
            muxi_formation::unpack(file, &folder, &muxi_formation::UnpackLimits::default());
        let root = unpacked.map_err(|it| failed(&it))?.root;
        let (id, version, warnings) = checked(&root)?;
        let archive = tempfile::NamedTempFile::new().map_err(|it| failed(&it))?;
        let bytes = std::fs::copy(path, archive.path()).map_err(|it| failed(&it))?;
        let (folder, unpacked) = (root, Some(scratch));
        Ok(Self { id, version, archive, bytes, warnings, folder, _unpacked: unpacked })
    }
}

// === private helpers ===

/// Faults that the manager would find are told before anything is sent.
fn checked(folder: &Path) -> Result<(FormationId, String, Vec<String>), Fault> {
    let checked = check(folder);
    validate::sound(folder, "deployed", &checked)?;
    let loaded = checked.sound().expect("what has no faults is loaded");
    let warnings = checked.warnings().map(ToString::to_string).collect();
    Ok((loaded.manifest.id.clone(), loaded.manifest.version.clone(), warnings))
}

async fn existing(manager: &Manager, id: &str) -> Result<Option<Value>, Fault> {
    match manager.get(&path(id, "")).await {
        Ok(view) => Ok(Some(view)),
        Err(fault) if fault.exit() == Exit::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn must_be_higher(version: &str, before: &Value) -> Result<(), Fault> {
    let deployed = before["version"]["semantic"].as_str().unwrap_or_default();
    let (Some(new), Some(old)) = (parts(version), parts(deployed)) else { return Ok(()) };
    if new > old {
        return Ok(());
    }
    let message = format!("version {version} is not higher than {deployed}, which is deployed");
    Err(Fault::new(Exit::Conflict, "VersionNotHigher", message)
        .mend("muxi bump   raises it")
        .mend("--force deploys it all the same"))
}

/// An extra: what cannot be compared is deployed all the same.
async fn changed(packed: &Packed, manager: &Manager) -> Vec<Change> {
    let deployed = download(manager, packed.id.as_str(), Wanted::default()).await;
    let compared =
        deployed.and_then(|it| Ok(diff::changes(&it, &diff::local(&packed.folder, &packed.id)?)));
    compared.unwrap_or_default()
}

/// Without the texts, for those who only want to know what was sent.
fn listed(changes: &[Change]) -> Vec<Value> {
    changes.iter().map(Change::to_short_json).collect()
}

fn dry(
    packed: &Packed,
    before: Option<&Value>,
    changes: &[Change],
    manager: &Manager,
    context: &Context,
) -> Exit {
    let act = if before.is_some() { "update" } else { "deploy" };
    let value = json!({
        "formation_id": packed.id, "version": packed.version, "bytes": packed.bytes, "would": act,
        "deployed_version": before.map(|it| &it["version"]["semantic"]), "profile": manager.chosen.name,
        "files": listed(changes),
    });
    context.show(&value, |_| {
        let now = before
            .and_then(|it| it["version"]["semantic"].as_str())
            .map_or_else(String::new, |it| format!(", {it} is deployed"));
        let Packed { id, version, bytes: size, .. } = packed;
        format!(
            "Would {act} {id} {version} ({}) at {}{now}; nothing was sent.\n{}",
            bytes(*size),
            manager.chosen.profile.url,
            diff::short(changes)
        )
    })
}

/// A failed update leaves what served before.
fn unchanged(fault: Fault, id: &str, before: Option<&Value>) -> Fault {
    if fault.code() == "NoChange" {
        return fault.mend(format!("muxi restart {id}   starts it afresh as it is"));
    }
    let Some(before) = before.filter(|it| it["status"] == "running") else { return fault };
    if fault.exit() != Exit::Failed {
        return fault;
    }
    let version = before["version"]["semantic"].as_str().unwrap_or_default();
    fault.mend(format!("nothing changed for users: {id} {version} still serves"))
}

async fn cancelled(is_update: bool, id: &str, manager: &Manager) -> Fault {
    let taking_back = async {
        if is_update {
            manager.ask(Method::POST, &path(id, "cancel-update"), None).await
        } else {
            manager.ask(Method::DELETE, &path(id, ""), None).await
        }
    };
    let taken_back = tokio::time::timeout(CANCEL_LIMIT, taking_back).await;
    let message = match taken_back {
        Ok(Ok(_)) if is_update => "cancelled; what was deployed before goes on",
        Ok(Ok(_)) => "cancelled; nothing was deployed",
        Ok(Err(fault))
            if fault.exit() == Exit::NotFound || fault.code() == "NoUpdateInProgress" =>
        {
            "cancelled before anything was begun"
        }
        _ => "cancelled here, but the manager may go on",
    };
    Fault::new(Exit::Interrupted, "Interrupted", message)
        .mend(format!("muxi remote get {id}   shows what is there"))
}

fn late(id: &str) -> Fault {
    let message =
        format!("it takes longer than {} minutes; the manager goes on", LIMIT.as_secs() / 60);
    Fault::failed(message).mend(format!("muxi remote get {id}   shows what became of it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, deployed, passes) in [
            ("1.0.10", "1.0.9", true),
            ("1.0.0", "1.0.0", false),
            ("0.9.9", "1.0.0", false),
            ("x", "1.0.0", true),
        ] {
            let before = json!({"version": {"semantic": deployed}});
            assert_eq!(must_be_higher(version, &before).is_ok(), passes, "{version} {deployed}");
        }
    }
}
