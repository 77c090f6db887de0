//! The secrets that a bundle brings or refers to, so that no log ever shows one.

use muxi_formation::manifest::Capability;
use muxi_formation::manifest::logging::LogTransport;
use muxi_formation::{Loaded, Persistent, Source};
use secrecy::{ExposeSecret as _, SecretString};

use crate::document::holds_secrets;
use crate::secrets::Opened;

pub(super) fn secrets(
    loaded: &Loaded,
    opened: &Opened,
    environment: fn(&str) -> Option<String>,
) -> Vec<SecretString> {
    let manifest = &loaded.manifest;
    let mut secrets: Vec<SecretString> =
        opened.names().into_iter().filter_map(|name| opened.get(name)).cloned().collect();
    let keys = &manifest.server.api_keys;
    secrets.extend([&keys.admin_key, &keys.client_key].into_iter().flatten().cloned());
    secrets.extend(manifest.llm.api_keys.values().cloned());
    let agents = loaded.agents.iter();
    let chosen: Vec<_> = agents
        .flat_map(|agent| Capability::ALL.map(|capability| manifest.llm.choose(agent, capability)))
        .flatten()
        .collect();
    secrets.extend(chosen.iter().filter_map(|it| it.api_key.clone()));
    secrets.extend(loaded.entrusted());
    secrets.extend(loaded.triggers.iter().filter_map(|it| it.webhook.clone()));
    if let Persistent::Postgres { url } = &manifest.memory.persistent {
        secrets.extend(password(url.expose_secret()));
        secrets.push(url.clone());
    }
    for stream in &manifest.logging.streams {
        if let LogTransport::Http { auth, .. } = &stream.transport {
            secrets.extend(auth.secret().cloned());
        }
    }
    let models = chosen.iter().flat_map(|it| [Some(&it.model), it.fallback_model.as_ref()]);
    let of_providers = models
        .flatten()
        .map(|model| format!("{}_API_KEY", model.provider().to_uppercase().replace('-', "_")));
    let referred = loaded.references.iter().filter(|it| match it.source {
        Source::Secrets => true,
        Source::Env => holds_secrets(&it.name),
    });
    let referred = referred.flat_map(|it| [it.name.clone(), muxi_vault::normalize_name(&it.name)]);
    secrets
        .extend(of_providers.chain(referred).filter_map(|name| environment(&name)).map(Into::into));
    secrets
}

fn password(url: &str) -> Option<SecretString> {
    let (_, rest) = url.split_once("://")?;
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    Some(password.into())
}
