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
use crate::check::check;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::{Bundle, error_chain};
use crate::files::document;

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    at: RegistryArgs,
    /// Check, and tell what would be written
    #[arg(long)]
    dry_run: bool,
}

// === impl PushArgs ===

impl PushArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
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
        let packed = without_secrets(&bundle.folder, id)?;
        let name = format!("{id}-{version}.tar.gz");
        let value = json!({"name": id, "version": version, "file": name, "bytes": packed.len(), "dry_run": self.dry_run});
        if self.dry_run {
            return Ok(context.show(&value, |_| {
                format!(
                    "Would write {name} and list it in {}; nothing was written.\n",
                    file.display()
                )
            }));
        }
        let bundle_file = registry.join(&name);
        std::fs::write(&bundle_file, &packed)
            .map_err(|it| Fault::file("write", &bundle_file, it))?;
        index.formations.push(Entry {
            name: id.to_string(),
            version: version.clone(),
            description: loaded.manifest.description.clone(),
            tags: loaded.manifest.tags.clone(),
            url: name.clone(),
            sha256: hex::encode(Sha256::digest(&packed)),
        });
        let text =
            serde_json::to_string_pretty(&index).map_err(|it| Fault::file("write", &file, it))?;
        // Whatever serves the folder must be able to read it.
        std::fs::write(&file, format!("{text}\n")).map_err(|it| Fault::file("write", &file, it))?;
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

fn without_secrets(folder: &Path, id: &muxi_contract::FormationId) -> Result<Vec<u8>, Fault> {
    let failed = |error: &dyn std::error::Error| {
        Fault::failed(format!("{} cannot be packed: {}", folder.display(), error_chain(error)))
    };
    let mut files = super::super::diff::local(folder, id)?;
    files.remove(muxi_vault::SECRETS_FILE);
    let scratch = tempfile::tempdir().map_err(|it| failed(&it))?;
    for (path, content) in &files {
        let path = scratch.path().join(path);
        let parent = path.parent().unwrap_or(scratch.path());
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, content))
            .map_err(|it| failed(&it))?;
    }
    let mut packed = Vec::new();
    pack(scratch.path(), id, PackOptions::default(), &mut packed).map_err(|it| failed(&it))?;
    Ok(packed)
}
