//! How a registry is reached: over HTTP, in a folder, or in a clone of a git repository.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::RegistryArgs;
use super::index::Index;
use crate::client::{following_http, unreachable, url};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::files::registries::Registries;

pub(super) const INDEX: &str = "index.json";
const INDEX_BYTES_MAX: usize = 16 * 1024 * 1024;
const BUNDLE_BYTES_MAX: usize = 256 * 1024 * 1024;

pub(super) struct Registry {
    address: String,
    place: Place,
}

enum Place {
    /// Of the index, with the token that goes there and nowhere else.
    Web { index: Url, token: Option<String> },
    /// A clone goes when it is dropped.
    Folder { path: PathBuf, _clone: Option<tempfile::TempDir> },
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    at: RegistryArgs,
    /// The token; others on this machine see arguments, so better leave it out and be asked
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Read the token from standard input
    #[arg(long, conflicts_with = "token")]
    stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    at: RegistryArgs,
}

// === impl Registry ===

impl Registry {
    pub(super) async fn open(args: &RegistryArgs, context: &Context) -> Result<Self, Fault> {
        let address = address(args, context)?;
        let place = if let Some(folder) = folder(&address, context) {
            Place::Folder { path: folder, _clone: None }
        } else if let Some(repository) = repository(&address) {
            let clone = cloned(repository).await?;
            Place::Folder { path: clone.path().join("clone"), _clone: Some(clone) }
        } else {
            let mut index = url(&address)?;
            let path = index.path().trim_end_matches('/').to_owned();
            if Path::new(&path).extension().is_none_or(|it| it != "json") {
                index.set_path(&format!("{path}/{INDEX}"));
            }
            let known = Registries::read(&context.home)?;
            let token = known.registries.get(&address).and_then(|it| it.get("token"));
            Place::Web { index, token: token.and_then(|it| it.as_str()).map(str::to_owned) }
        };
        Ok(Self { address, place })
    }

    pub(super) async fn index(&self) -> Result<Index, Fault> {
        let text = match &self.place {
            Place::Web { index, .. } => self.fetch(index, INDEX_BYTES_MAX).await?,
            Place::Folder { path, .. } => read(&path.join(INDEX), INDEX_BYTES_MAX)?,
        };
        serde_json::from_slice(&text).map_err(|error| {
            Fault::failed(format!("the index of {} cannot be read: {error}", self.address))
                .mend("a registry is an index.json: {\"formations\": [{name, version, description, url, sha256}]}")
        })
    }

    pub(super) async fn bundle(&self, at: &str) -> Result<Vec<u8>, Fault> {
        match &self.place {
            Place::Web { index, .. } => {
                let wrong = || Fault::failed(format!("the index names {at}, which is no address"));
                let url = index.join(at).map_err(|_| wrong())?;
                if !matches!(url.scheme(), "http" | "https") {
                    return Err(wrong());
                }
                self.fetch(&url, BUNDLE_BYTES_MAX).await
            }
            Place::Folder { path, .. } => {
                let is_plain = |part: &str| !matches!(part, "" | "." | "..");
                if !at.split('/').all(is_plain) {
                    return Err(Fault::failed(format!(
                        "the index names {at}, which is no file beside it"
                    )));
                }
                read(&path.join(at), BUNDLE_BYTES_MAX)
            }
        }
    }

    async fn fetch(&self, url: &Url, bytes_max: usize) -> Result<Vec<u8>, Fault> {
        let request = following_http()?.get(url.clone());
        let request = match &self.place {
            Place::Web { index, token: Some(token) } if index.origin() == url.origin() => {
                request.header(AUTHORIZATION, format!("Bearer {token}"))
            }
            Place::Web { .. } | Place::Folder { .. } => request,
        };
        let mut response = request.send().await.map_err(|it| unreachable(url, &it))?;
        let status = response.status().as_u16();
        if status != 200 {
            let fault = Fault::new(
                Exit::of_status(status),
                &format!("HTTP{status}"),
                format!("{url} answered with status {status}"),
            );
            return Err(match status {
                401 | 403 => fault.mend(format!("muxi login --registry {}", self.address)),
                _ => fault.mend("look at the address: muxi set default registry URL"),
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|it| unreachable(url, &it))? {
            if body.len() + chunk.len() > bytes_max {
                return Err(Fault::failed(format!("{url} has more than {bytes_max} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

// === impl LoginArgs ===

impl LoginArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let address = address(&self.at, context)?;
        // Folders and git have their own ways to know who somebody is.
        url(&address)?;
        let token = self.token.map(|it| Ok(SecretString::from(it)));
        let token =
            token.unwrap_or_else(|| context.terminal.secret(self.stdin, "Token", "--stdin"))?;
        let token = token.expose_secret();
        if token.is_empty() {
            return Err(Fault::usage("the token is empty").mend("muxi logout   forgets one"));
        }
        let _lock = context.home.lock()?;
        let mut known = Registries::read(&context.home)?;
        let created_at = jiff::Timestamp::now().to_string();
        let entry = serde_yaml::to_value(json!({"token": token, "created_at": created_at}));
        known.registries.insert(address.clone(), entry.unwrap_or_default());
        known.write(&context.home)?;
        Ok(context.done(&json!({"registry": address}), &format!("Kept the token of {address}")))
    }
}

// === impl LogoutArgs ===

impl LogoutArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let address = address(&self.at, context)?;
        let _lock = context.home.lock()?;
        let mut known = Registries::read(&context.home)?;
        if known.registries.remove(&address).is_none() {
            return Err(Fault::not_found(format!("no token of {address} is kept"))
                .mend("muxi login   keeps one"));
        }
        known.write(&context.home)?;
        Ok(context.done(&json!({"registry": address}), &format!("Forgot the token of {address}")))
    }
}

/// The flag, else what the folder or the user always means.
pub(super) fn address(args: &RegistryArgs, context: &Context) -> Result<String, Fault> {
    let of_folder = Bundle::find(&context.folder).map(|it| it.settings()).transpose()?;
    let given = args.registry.clone().or_else(|| of_folder.and_then(|it| it.registry));
    let given = match given {
        Some(given) => Some(given),
        None => Registries::read(&context.home)?.default_registry,
    };
    given.map(|it| it.trim_end_matches('/').to_owned()).ok_or_else(|| {
        Fault::usage("no registry is known")
            .mend("--registry URL   names one for this command")
            .mend("muxi set default registry URL   names one for all")
    })
}

/// An address as it is remembered: it means the same wherever it is used.
pub(in super::super) fn kept_address(address: &str, context: &Context) -> Result<String, Fault> {
    if let Some(folder) = folder(address, context) {
        let folder = folder.canonicalize().map_err(|it| Fault::file("use", &folder, it))?;
        return Ok(folder.display().to_string());
    }
    if repository(address).is_none() {
        url(address)?;
    }
    Ok(address.trim_end_matches('/').to_owned())
}

/// One that lies on this machine.
pub(super) fn folder(address: &str, context: &Context) -> Option<PathBuf> {
    let path = context.folder.join(address.strip_prefix("file://").unwrap_or(address));
    (address.starts_with("file://") || (!address.contains("://") && path.is_dir())).then_some(path)
}

// === private helpers ===

fn repository(address: &str) -> Option<&str> {
    let is_git = Path::new(address).extension().is_some_and(|it| it == "git");
    address.strip_prefix("git+").or(is_git.then_some(address))
}

async fn cloned(repository: &str) -> Result<tempfile::TempDir, Fault> {
    let failed = |why: String| Fault::failed(format!("{repository} cannot be cloned: {why}"));
    let scratch = tempfile::tempdir().map_err(|it| failed(it.to_string()))?;
    let cloning = tokio::process::Command::new("git")
        .args(["clone", "--quiet", "--depth", "1", "--", repository])
        .arg(scratch.path().join("clone"))
        // Nobody could answer a question of its own.
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = cloning.await.map_err(|error| {
        failed(error.to_string()).mend("install git, or use an address that is no repository")
    })?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(failed(crate::terminal::format::cut(&why, 300))
            .mend("look at the address; git must reach it without asking"));
    }
    Ok(scratch)
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let size = std::fs::metadata(path).map_err(|it| Fault::file("read", path, it))?.len();
    if size > bytes_max as u64 {
        return Err(Fault::file("read", path, format!("it has more than {bytes_max} bytes")));
    }
    std::fs::read(path).map_err(|it| Fault::file("read", path, it))
}
