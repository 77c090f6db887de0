//! From a bundle on the disk to a formation that can serve, or to everything that is in the way.

mod known;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muxi_formation::interpolate::placeholders;
use muxi_formation::manifest::logging::{LogStream, LogTransport};
use muxi_formation::manifest::{Capability, ChosenModel, ModelName, OverlordRole};
use muxi_formation::{
    Agent as Config, Diagnostic, Loaded, MANIFEST_NAMES, Resolve, Source, Trigger,
};
use muxi_llm::{Endpoint, HttpClients, Llm, RetryPolicy, Target};
use muxi_local_llm::files;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::agents::{Agent, Agents, FileLimits, Model, Voices};
use crate::document;
use crate::redact::Redactor;
use crate::scheduler::Scheduler;
use crate::secrets::{Opened, Secrets, Uses};
use crate::{usage, webhooks};

/// A checked bundle with its models connected.
#[derive(Debug)]
pub struct Formation {
    pub loaded: Loaded,
    pub agents: Agents,
    pub scheduler: Scheduler,
    /// The manifest as JSON for the operator: placeholders as written, keys masked.
    pub document: Value,
    /// Its persona with the placeholders.
    pub soul_written: String,
    pub secrets: Secrets,
}

/// What the process around the bundle offers.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub environment: fn(&str) -> Option<String>,
    /// The socket of the host that serves the models of this machine.
    pub model_host: PathBuf,
    /// Where secrets that were set through the API lie; they win over the bundle's.
    pub data_dir: PathBuf,
    /// Is told every secret that is read.
    pub redactor: Redactor,
}

/// Why a bundle was refused, one line a fault: `file:line:column: what; mend`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub faults: Vec<String>,
    /// Remarks that may explain a fault, in the same form.
    pub warnings: Vec<String>,
}

/// The folder and the manifest's name for what the command line calls the bundle.
pub fn locate(path: &Path) -> Result<PathBuf, Refusal> {
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if path.is_file() && MANIFEST_NAMES.contains(&name) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        return Ok(folder.unwrap_or(Path::new(".")).to_owned());
    }
    let names = MANIFEST_NAMES.join(", ");
    let fault = if path.exists() {
        format!("{}:1:1: is no manifest; name the bundle's folder or its {names}", path.display())
    } else {
        format!("{}:1:1: does not exist; name the bundle's folder or its {names}", path.display())
    };
    Err(Refusal::of(vec![fault]))
}

/// Reads, checks and connects the bundle in `folder`. Blocks for as long as the disk takes.
pub fn load(folder: &Path, around: &Surroundings) -> Result<Formation, Refusal> {
    let opened = open_secrets(folder, around)?;
    let look_up = |source: Source, name: &str| match source {
        Source::Secrets => secret(&opened, around, name),
        Source::Env => (around.environment)(name),
    };
    let loaded =
        muxi_formation::load(folder, Resolve::With(&look_up)).map_err(|found| refusal(&found))?;
    // Once more with its placeholders, for the operator's eyes.
    let written = muxi_formation::load(folder, Resolve::Keep).map_err(|found| refusal(&found))?;
    let manifest_name = MANIFEST_NAMES.into_iter().find(|name| folder.join(name).is_file());
    let manifest_name = manifest_name.unwrap_or(MANIFEST_NAMES[0]);
    let at_manifest = |fault: String| format!("{manifest_name}:1:1: {fault}");
    let unpriced = unpriced(&loaded);
    if !unpriced.is_empty() {
        return Err(Refusal::of(unpriced.into_iter().map(at_manifest).collect()));
    }
    let refused = refused_webhooks(&loaded.triggers);
    if !refused.is_empty() {
        return Err(Refusal::of(refused));
    }
    around.redactor.learn(&known::secrets(&loaded, &opened, around.environment));
    let refused = refused_streams(&loaded);
    if !refused.is_empty() {
        return Err(Refusal::of(refused.into_iter().map(at_manifest).collect()));
    }
    let agents = connect(&loaded, &written.agents, around)
        .map_err(|faults| Refusal::of(faults.into_iter().map(at_manifest).collect()))?;
    let scheduler = Scheduler::new(loaded.manifest.scheduler.clone())
        .map_err(|error| Refusal::of(vec![at_manifest(format!("{error}; correct it"))]))?;
    let mut document = document::read(&folder.join(manifest_name))
        .map_err(|error| Refusal::of(vec![at_manifest(format!("{error}; check the file"))]))?;
    let uses = uses(&loaded, &written.triggers, &document);
    document::mask_keys(&mut document);
    let secrets = Secrets::new(folder.to_owned(), around.clone(), uses, opened);
    Ok(Formation { loaded, agents, scheduler, document, soul_written: written.soul, secrets })
}

// === impl Refusal ===

impl Refusal {
    fn of(faults: Vec<String>) -> Self {
        Self { faults, ..Self::default() }
    }
}

// === private helpers ===

fn refusal(found: &[Diagnostic]) -> Refusal {
    let (faults, warnings): (Vec<_>, Vec<_>) = found.iter().partition(|it| it.is_error());
    let lines = |found: Vec<&Diagnostic>| found.into_iter().map(ToString::to_string).collect();
    Refusal { faults: lines(faults), warnings: lines(warnings) }
}

/// A budget of money holds only if everything that is called has a price.
fn unpriced(loaded: &Loaded) -> Vec<String> {
    let llm = &loaded.manifest.llm;
    let chosen = loaded.agents.iter().flat_map(|agent| {
        Capability::ALL.into_iter().filter_map(|capability| llm.choose(agent, capability))
    });
    let mut models: Vec<ModelName> =
        chosen.flat_map(|it| [Some(it.model), it.fallback_model]).flatten().collect();
    models.sort();
    models.dedup();
    usage::unpriced(&loaded.manifest.usage, models.iter())
        .into_iter()
        .map(|model| {
            let model = model.as_str();
            format!("a budget of money needs the price of `{model}`; add it to `usage.prices`")
        })
        .collect()
}

fn open_secrets(folder: &Path, around: &Surroundings) -> Result<Opened, Refusal> {
    Opened::read(folder, &around.data_dir).map_err(|error| {
        let mend = "check .key, or write the secrets anew";
        let error = anyhow::Error::from(error);
        Refusal::of(vec![format!("{}:1:1: {error:#}; {mend}", muxi_vault::SECRETS_FILE)])
    })
}

/// The parts that [`Agents`] are made of can be made again, all others are read once.
fn uses(loaded: &Loaded, triggers: &[Trigger], document: &Value) -> Uses {
    const MADE_AGAIN: [&str; 2] = ["llm", "agents"];
    let secrets = loaded.references.iter().filter(|it| it.source == Source::Secrets);
    let all = secrets.map(|it| muxi_vault::normalize_name(&it.name)).collect();
    let parts = document.as_object().into_iter().flatten();
    let read_once = parts.filter(|(name, _)| !MADE_AGAIN.contains(&name.as_str()));
    let mut until_restart = document::secrets_of(read_once.map(|(_, part)| part));
    let webhooks = triggers.iter().filter_map(|trigger| trigger.webhook.as_ref());
    for webhook in webhooks {
        let secrets = placeholders(webhook.expose_secret()).into_iter();
        let secrets = secrets.filter(|(source, _)| *source == Source::Secrets);
        until_restart.extend(secrets.map(|(_, name)| muxi_vault::normalize_name(name)));
    }
    Uses { all, until_restart }
}

/// What a secret made of an address can only be seen here.
fn refused_webhooks(triggers: &[Trigger]) -> Vec<String> {
    let check = |trigger: &Trigger| {
        let why = webhooks::check_url(trigger.webhook.as_ref()?.expose_secret()).err()?;
        Some(format!("triggers/{}.md:1:1: `webhook` {why}; correct it", trigger.name))
    };
    triggers.iter().filter_map(check).collect()
}

/// The same of the receivers of logs.
fn refused_streams(loaded: &Loaded) -> Vec<String> {
    let check = |stream: &LogStream| {
        let LogTransport::Http { url, .. } = &stream.transport else { return None };
        let why = webhooks::check_url(url).err()?;
        Some(format!("the destination of a stream of logs {why}; correct it"))
    };
    loaded.manifest.logging.streams.iter().filter_map(check).collect()
}

fn secret(opened: &Opened, around: &Surroundings, name: &str) -> Option<String> {
    if let Some(secret) = opened.get(name) {
        return Some(secret.expose_secret().to_owned());
    }
    let variable = (around.environment)(&muxi_vault::normalize_name(name))?;
    Some(variable).filter(|value| !value.is_empty())
}

/// `written` holds the same agents with their placeholders.
fn connect(
    loaded: &Loaded,
    written: &[Config],
    around: &Surroundings,
) -> Result<Agents, Vec<String>> {
    let clients = HttpClients::default();
    let connector = Connector { loaded, around, clients: &clients };
    let mut agents = Vec::new();
    let mut faults = Vec::new();
    for (config, written) in loaded.agents.iter().zip(written) {
        match connector.agent(config, written) {
            Ok(agent) => agents.extend(agent),
            Err(found) => {
                let named =
                    found.into_iter().map(|fault| format!("agent `{}`: {fault}", config.id));
                faults.extend(named);
            }
        }
    }
    let voices = match connector.voices() {
        Ok(voices) => voices,
        Err(found) => {
            faults.extend(found.into_iter().map(|fault| format!("`overlord.llm`: {fault}")));
            None
        }
    };
    match voices {
        Some(voices) if faults.is_empty() => Ok(Agents::new(agents, voices)),
        _ => Err(faults),
    }
}

struct Connector<'a> {
    loaded: &'a Loaded,
    around: &'a Surroundings,
    clients: &'a HttpClients,
}

// === impl Connector ===

impl Connector<'_> {
    /// None without a model for text: a formation with such an agent does not load.
    fn agent(&self, config: &Config, written: &Config) -> Result<Option<Agent>, Vec<String>> {
        let mut faults = Vec::new();
        let mut connect = |capability| {
            let chosen = self.loaded.manifest.llm.choose(config, capability)?;
            self.model(&chosen, capability).map_err(|found| faults.extend(found)).ok()
        };
        let [text, vision, documents, audio] = Capability::ALL.map(&mut connect);
        if !faults.is_empty() {
            return Err(faults);
        }
        let bytes_max = |capability| self.loaded.manifest.llm.file_bytes_max(config, capability);
        Ok(text.map(|text| Agent {
            config: config.clone(),
            written: written.clone(),
            text,
            vision,
            documents,
            audio,
            file_limits: FileLimits {
                image_bytes: bytes_max(Capability::Vision),
                document_bytes: bytes_max(Capability::Documents),
                audio_bytes: bytes_max(Capability::Audio),
            },
        }))
    }

    /// What speaks for the formation; where it has no model of its own, the first agent's does. None
    /// without any, which is told elsewhere.
    fn voices(&self) -> Result<Option<Voices>, Vec<String>> {
        let manifest = &self.loaded.manifest;
        let chosen = |role| {
            let own = manifest.llm.choose_overlord(&manifest.overlord.llm, role);
            own.or_else(|| manifest.llm.choose(self.loaded.agents.first()?, Capability::Text))
        };
        let [base, synthesis] = [OverlordRole::Base, OverlordRole::Synthesis].map(chosen);
        let (Some(base), Some(synthesis)) = (base, synthesis) else { return Ok(None) };
        let embedding = manifest.llm.choose_embedding();
        Ok(Some(Voices {
            base: self.model(&base, Capability::Text)?,
            synthesis: self.model(&synthesis, Capability::Text)?,
            embedding: embedding.map(|chosen| self.llm(&chosen)).transpose()?,
            named: self.named()?,
        }))
    }

    fn named(&self) -> Result<BTreeMap<String, Model>, Vec<String>> {
        let procedures = self.loaded.procedures.iter();
        let wanted = procedures.flat_map(|procedure| {
            let steps = procedure.steps.iter().filter_map(|step| step.model.as_ref());
            procedure.model.iter().chain(steps)
        });
        let mut models = BTreeMap::new();
        for name in wanted {
            let chosen = self.loaded.manifest.llm.choose_named(name);
            models.insert(name.to_string(), self.model(&chosen, Capability::Text)?);
        }
        Ok(models)
    }

    fn model(&self, chosen: &ChosenModel, capability: Capability) -> Result<Model, Vec<String>> {
        let is_local = |model: &ModelName| model.is_local();
        let (model, fallback) = (&chosen.model, chosen.fallback_model.as_ref());
        if capability != Capability::Text && is_local(model) {
            let name = capability.name();
            return Err(vec![format!(
                "`{model}` reads text only and cannot be the `{name}` model; name another one"
            )]);
        }
        Ok(Model {
            llm: self.llm(chosen)?,
            name: model.to_string(),
            temperature: chosen.temperature,
            max_tokens: chosen.max_tokens,
            silence_max: silence_max(chosen, model),
            needs_model_host: is_local(model) || fallback.is_some_and(is_local),
            is_local: is_local(model),
            language: chosen.language.clone(),
        })
    }

    /// The model and its fallback; the faults of both are told together.
    fn llm(&self, chosen: &ChosenModel) -> Result<Llm, Vec<String>> {
        let silence_max = |model| silence_max(chosen, model);
        let key = chosen.api_key.clone();
        let primary = self.target(&chosen.model, key, silence_max(&chosen.model));
        let fallback = chosen.fallback_model.as_ref().map(|model| {
            let same_provider = model.provider() == chosen.model.provider();
            let own_key = chosen.api_key.clone().filter(|_| same_provider);
            let provider_key = || self.loaded.manifest.llm.api_keys.get(model.provider()).cloned();
            let key = own_key.or_else(provider_key);
            self.target(model, key, silence_max(model))
        });
        let retry = RetryPolicy { retries_max: chosen.max_retries, ..RetryPolicy::default() };
        match (primary, fallback.transpose()) {
            (Ok(primary), Ok(fallback)) => Ok(Llm::new(primary, fallback, retry)),
            (primary, fallback) => {
                Err([primary.err(), fallback.err()].into_iter().flatten().collect())
            }
        }
    }

    fn target(
        &self,
        model: &ModelName,
        api_key: Option<SecretString>,
        timeout: Duration,
    ) -> Result<Target, String> {
        let provider = model.provider();
        if model.is_local() {
            let name: files::ModelName = model
                .as_str()
                .parse()
                .map_err(|error: files::InvalidModelName| error.to_string())?;
            let endpoint =
                Endpoint { timeout, ..Endpoint::over_unix_socket(&self.around.model_host) };
            return self.connect(provider, endpoint, name.to_string());
        }
        let variable = |suffix: &str| {
            let name = format!("{}_{suffix}", provider.to_uppercase().replace('-', "_"));
            (self.around.environment)(&name).filter(|value| !value.trim().is_empty())
        };
        let base_url = self.loaded.manifest.llm.base_urls.get(provider).cloned();
        let endpoint = Endpoint {
            base_url: base_url.or_else(|| variable("BASE_URL")),
            // A placeholder may stand for an empty secret.
            api_key: api_key
                .filter(|key| !key.expose_secret().trim().is_empty())
                .or_else(|| variable("API_KEY").map(SecretString::from)),
            timeout,
            ..Endpoint::default()
        };
        self.connect(provider, endpoint, model.model().to_owned())
    }

    fn connect(&self, provider: &str, endpoint: Endpoint, model: String) -> Result<Target, String> {
        muxi_llm::connect(provider, endpoint, self.clients)
            .map(|provider| Target { provider, model })
            .map_err(|error| error.to_string())
    }
}

const LOCAL_SILENCE: Duration = Duration::from_mins(2);

/// A local model loads its file and reads long prompts without a word.
fn silence_max(chosen: &ChosenModel, model: &ModelName) -> Duration {
    let asked = Duration::from_secs(u64::from(chosen.timeout_seconds));
    if model.is_local() { asked.max(LOCAL_SILENCE) } else { asked }
}
