//! `muxi artifacts get`: a file comes here.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Response;
use serde_json::json;

use super::{known, path};
use crate::client::formation::{Formation, Key};
use crate::client::{query, unreachable};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::{bytes, text_of};

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// As `muxi artifacts list` names it
    artifact: String,
    /// Where to, or - for standard output [default: its own name, in this folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which version [default: the newest]
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
}

// === impl GetArgs ===

impl GetArgs {
    pub(super) async fn run(self, formation: &Formation, context: &Context) -> Result<Exit, Fault> {
        let asked = query([("version", self.version.map(|it| it.to_string()))]);
        let address = path(&self.artifact, &format!("/content{asked}"));
        if self.output.as_deref() == Some(Path::new("-")) {
            let response = formation.raw(Key::Client, &address).await.map_err(known)?;
            copy(formation, response, &mut std::io::stdout().lock())
                .await
                .map_err(|it| it.of("standard output".as_ref()))?;
            return Ok(Exit::Done);
        }
        let about = formation.get(Key::Client, &path(&self.artifact, "")).await.map_err(known)?;
        let output = match &self.output {
            Some(output) => context.folder.join(output),
            None => context.folder.join(own_name(&text_of(&about["name"]))?),
        };
        if output.exists() && !self.force {
            let there = context.relative(&output).display().to_string();
            return Err(Fault::new(Exit::Conflict, "Exists", format!("{there} is there already"))
                .mend("--force replaces it")
                .mend("--output FILE saves it elsewhere"));
        }
        let response = formation.raw(Key::Client, &address).await;
        let response = response.map_err(|fault| match (self.version, fault.exit()) {
            (Some(_), Exit::NotFound) => {
                fault.mend(format!("muxi artifacts versions {}   shows all", self.artifact))
            }
            _ => known(fault),
        })?;
        let size = save(formation, response, &output).await?;
        let place = context.relative(&output).display().to_string();
        let value =
            json!({"id": self.artifact, "file": output.display().to_string(), "bytes": size});
        Ok(context.done(&value, &format!("Saved {place} ({})", bytes(size))))
    }
}

// === private helpers ===

/// Its name without a folder, whatever a model called it.
pub(super) fn own_name(name: &str) -> Result<PathBuf, Fault> {
    let name = Path::new(name).file_name().map(PathBuf::from);
    name.ok_or_else(|| Fault::failed("the file has no name").mend("--output FILE names it"))
}

/// The file appears whole or not at all.
pub(super) async fn save(
    formation: &Formation,
    response: Response,
    output: &Path,
) -> Result<u64, Fault> {
    let failed = |error| Fault::file("write", output, error);
    let folder = output.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(failed)?;
    let size = copy(formation, response, &mut file).await.map_err(|it| it.of(output))?;
    file.persist(output).map_err(|it| failed(it.error))?;
    Ok(size)
}

/// Either side of a copy may break.
enum Broken {
    Read(Fault),
    Write(std::io::Error),
}

async fn copy(
    formation: &Formation,
    mut response: Response,
    output: &mut impl std::io::Write,
) -> Result<u64, Broken> {
    let mut size = 0;
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|it| Broken::Read(unreachable(&formation.url, &it)))?;
        let Some(chunk) = chunk else { break };
        output.write_all(&chunk).map_err(Broken::Write)?;
        size += chunk.len() as u64;
    }
    output.flush().map_err(Broken::Write)?;
    Ok(size)
}

// === impl Broken ===

impl Broken {
    fn of(self, output: &Path) -> Fault {
        match self {
            Self::Read(fault) => fault,
            Self::Write(error) => Fault::file("write", output, error),
        }
    }
}
