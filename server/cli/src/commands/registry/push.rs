//! `muxi push`: into a registry that is a folder, which any web server or git can then serve.

use std::path::Path;

use clap::Args;
use muxi_formation::manifest::Capability;
use muxi_formation::{Loaded, PackOptions, Resolve, pack};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::RegistryArgs;
use super::access::{INDEX, address, folder};
use super::index::{Entry, Index};
use crate::addresses::has_password;
use crate::check::check;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::{Bundle, error_chain};
use crate::files::document;
use crate::terminal::plain;

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    at: RegistryArgs,
    /// Check, and tell what would be written
    #[arg(long)]
    dry_run: bool,
    /// Of the published command line.
    #[arg(long, value_name = "NAME", hide = true)]
    org: Option<String>,
}

/// A bundle for others, and what of the folder is no part of it.
struct Packed {
    packed: Vec<u8>,
    left_out: Vec<String>,
}

/// Files and folders that make up a formation for others, as the published command line has them, and those that
/// came since. Names that end with `*` are beginnings.
const INCLUDED: [&str; 17] = [
    "formation.",
    "SOUL.md",
    "README*",
    "LICENSE*",
    "NOTICE*",
    "CHANGELOG*",
    "secrets",
    "agents/",
    "mcp/",
    "mcps/",
    "a2a/",
    "sops/",
    "triggers/",
    "skills/",
    "knowledge/",
    "evals/",
    "coding/",
];
/// Of a list that is only a reminder.
const SHOWN_MAX: usize = 10;

// === impl PushArgs ===

impl PushArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        if self.org.is_some() {
            return Err(super::no_organisations().mend("leave --org out"));
        }
        let bundle = Bundle::required(&context.folder)?;
        let address = address(&self.at, context)?;
        let Some(registry) = folder(&address, context) else {
            let message = format!("{address} is an index that is only read");
            return Err(Fault::new(Exit::NotBuilt, "ReadOnlyRegistry", message)
                .mend("muxi push --registry FOLDER   writes into a copy of it, such as a clone")
                .mend("put that folder onto the web server, or commit and push it with git"));
        };
        let registry = registry.canonicalize().map_err(|it| Fault::file("open", &registry, it))?;
        let checked = check(&bundle.folder);
        super::super::validate::sound(&bundle.folder, "pushed", &checked)?;
        let loaded = checked.sound().expect("what has no faults is loaded");
        no_keys(&bundle)?;
        let (id, version) = (&loaded.manifest.id, loaded.manifest.version.clone());
        let file = registry.join(INDEX);
        let mut index: Index = match document::text(&file)? {
            Some(text) => {
                serde_json::from_str(&text).map_err(|it| Fault::file("read", &file, it))?
            }
            None => Index::default(),
        };
        if index.formations.iter().any(|it| it.name == id.as_str() && it.version == version) {
            let message = format!("{id} {version} is in the registry already");
            return Err(Fault::new(Exit::Conflict, "VersionExists", message)
                .mend("muxi bump   raises the version"));
        }
        let Packed { packed, left_out } = published(&bundle.folder, id)?;
        if !left_out.is_empty() {
            let count = super::super::validate::count(left_out.len(), "file");
            let shown = left_out.iter().take(SHOWN_MAX).map(String::as_str);
            let shown = shown.collect::<Vec<_>>().join(", ");
            let more = if left_out.len() > SHOWN_MAX { ", …" } else { "" };
            context
                .terminal
                .note(&plain(&format!("{count} that no formation has stay here: {shown}{more}")));
        }
        let name = format!("{id}-{version}.tar.gz");
        let value = json!({"name": id, "version": version, "file": name, "bytes": packed.len(), "left_out": &left_out, "dry_run": self.dry_run});
        if self.dry_run {
            return Ok(context.show(&value, |_| {
                format!(
                    "Would write {name} and list it in {}; nothing was written.\n",
                    file.display()
                )
            }));
        }
        let bundle_file = registry.join(&name);
        document::replace(&bundle_file, &packed)?;
        index.formations.push(Entry {
            name: id.to_string(),
            version: version.clone(),
            description: loaded.manifest.description.clone(),
            tags: loaded.manifest.tags.clone(),
            url: name.clone(),
            sha256: hex::encode(Sha256::digest(&packed)),
            others: serde_json::Map::new(),
        });
        let text =
            serde_json::to_string_pretty(&index).map_err(|it| Fault::file("write", &file, it))?;
        document::replace(&file, format!("{text}\n"))?;
        Ok(context.done(
            &value,
            &format!("Pushed {id} {version} as {}, without its secrets", bundle_file.display()),
        ))
    }
}

// === private helpers ===

/// Whoever pulls it would have them.
fn no_keys(bundle: &Bundle) -> Result<(), Fault> {
    let loaded = muxi_formation::load(&bundle.folder, Resolve::Keep);
    let keys = loaded.map(|it| keys(&it)).unwrap_or_default();
    let written = keys.iter().map(ExposeSecret::expose_secret);
    let count = written.filter(|it| !it.is_empty() && !it.contains("${{")).count();
    if count == 0 {
        return Ok(());
    }
    let count = super::super::validate::count(count, "key");
    Err(Fault::failed(format!("{count} would be published: written into the formation's files"))
        .mend("muxi secrets set NAME, and write \"${{ secrets.NAME }}\" in its place"))
}

fn keys(loaded: &Loaded) -> Vec<SecretString> {
    let (server, llm) = (&loaded.manifest.server.api_keys, &loaded.manifest.llm);
    let of_models = loaded.agents.iter().map(|it| &it.models).chain([&llm.models]);
    let of_models = of_models.flat_map(|models| Capability::ALL.map(|it| models.of(it)));
    let mut keys = loaded.entrusted();
    keys.extend(of_models.flatten().filter_map(|it| it.api_key.clone()));
    keys.extend([&server.admin_key, &server.client_key].into_iter().flatten().cloned());
    keys.extend(llm.api_keys.values().cloned());
    keys
}

fn published(folder: &Path, id: &muxi_contract::FormationId) -> Result<Packed, Fault> {
    let failed = |error: &dyn std::error::Error| {
        Fault::failed(format!("{} cannot be packed: {}", folder.display(), error_chain(error)))
    };
    let files = super::super::diff::local(folder, id)?;
    // What agents look up may lie anywhere.
    let knowledge = super::super::validate::knowledge_paths(folder);
    let within = |path: &str, part: &str| {
        path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_part = |path: &str| is_included(path) || knowledge.iter().any(|it| within(path, it));
    let (files, others): (Vec<_>, Vec<_>) = files
        .into_iter()
        .filter(|(path, _)| path != muxi_vault::SECRETS_FILE)
        .partition(|(path, _)| is_part(path));
    let scratch = tempfile::tempdir().map_err(|it| failed(&it))?;
    for (path, content) in &files {
        if let Some(line) = line_with_password(content) {
            return Err(Fault::failed(format!("{path}:{line} has a password in an address"))
                .mend("muxi secrets set NAME, and write \"${{ secrets.NAME }}\" in its place"));
        }
        let path = scratch.path().join(path);
        let parent = path.parent().unwrap_or(scratch.path());
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, content))
            .map_err(|it| failed(&it))?;
    }
    let mut packed = Vec::new();
    pack(scratch.path(), id, PackOptions::default(), &mut packed).map_err(|it| failed(&it))?;
    Ok(Packed { packed, left_out: others.into_iter().map(|(path, _)| path).collect() })
}

fn is_included(path: &str) -> bool {
    INCLUDED.iter().any(|it| match it.strip_suffix('*') {
        Some(begin) => path.starts_with(begin) && !path.contains('/'),
        None if it.ends_with(['/', '.']) => path.starts_with(it),
        None => path == *it,
    })
}

fn line_with_password(content: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(content).ok()?;
    text.lines().position(has_password).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_up_a_formation_is_published_and_nothing_else() {
        for path in ["formation.afs", "README.md", "agents/a.afs", "skills/x/SKILL.md", "secrets"] {
            assert!(is_included(path), "{path}");
        }
        for path in ["customers.csv", "id_rsa", "out/README.md", "secrets.txt", "memory.db"] {
            assert!(!is_included(path), "{path}");
        }
    }
}
