//! Models: which there are, and which one an agent gets for what.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use secrecy::SecretString;
use serde::Deserialize;

use super::{Agent, MIB, OverlordLlm, OverlordRole, secret, secrets};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Llm {
    /// By provider.
    #[serde(deserialize_with = "secrets")]
    pub api_keys: BTreeMap<String, SecretString>,
    /// By provider; without a slash at the end.
    pub base_urls: BTreeMap<String, String>,
    pub settings: ModelSettings,
    /// Already followed wherever a model is named.
    pub aliases: BTreeMap<String, ModelName>,
    pub models: Models,
}

/// By what they are for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Models {
    pub text: Option<Box<Model>>,
    /// Answers messages with images, in the place of `text`.
    pub vision: Option<Box<Model>>,
    /// Answers messages with PDF files, in the place of `text`.
    pub documents: Option<Box<Model>>,
    /// Writes down what is said.
    pub audio: Option<Box<Model>>,
    /// Compares texts by their meaning.
    pub embedding: Option<Box<Model>>,
}

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    Text,
    Vision,
    Documents,
    Audio,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Model {
    pub model: ModelName,
    #[serde(default, deserialize_with = "secret")]
    pub api_key: Option<SecretString>,
    #[serde(default)]
    pub settings: ModelSettings,
}

/// What is not set comes from the next wider place, see [`Llm::choose`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ModelSettings {
    pub temperature: Option<f64>,
    pub max_tokens: Option<u32>,
    pub timeout_seconds: Option<u32>,
    pub max_retries: Option<u32>,
    pub fallback_model: Option<ModelName>,
    /// Of a file for this model, as of documents and audio.
    pub max_size_mb: Option<usize>,
    /// Of vision.
    pub image: ImageSettings,
    /// Of what is said; found out where it is absent or `auto`.
    pub language: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ImageSettings {
    pub max_size_mb: Option<usize>,
}

/// `provider/model`. In a manifest whose placeholders were kept it may be one of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct ModelName(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a model is named `provider/model`")]
pub struct InvalidModelName;

/// A model of an agent with every setting decided.
#[derive(Debug, Clone)]
pub struct ChosenModel {
    pub model: ModelName,
    /// The entry's own key, else the provider's; the environment is left to the caller.
    pub api_key: Option<SecretString>,
    pub temperature: f64,
    pub max_tokens: u32,
    pub timeout_seconds: u32,
    pub max_retries: u32,
    pub fallback_model: Option<ModelName>,
    pub language: Option<String>,
}

// === impl Llm ===

impl Llm {
    /// The agent's model, else the formation's; `None` when there is neither.
    pub fn choose(&self, agent: &Agent, capability: Capability) -> Option<ChosenModel> {
        let entry = self.entry(agent, capability)?;
        let of_agent = agent.models.of(capability).is_some().then_some(&agent.llm_settings);
        // What is second best for text may not hear.
        let has_fallback = capability != Capability::Audio;
        Some(self.decided(entry, of_agent, has_fallback))
    }

    /// The overlord's own model for a role, else that of its base, else the formation's for text.
    pub fn choose_overlord(
        &self,
        overlord: &OverlordLlm,
        role: OverlordRole,
    ) -> Option<ChosenModel> {
        let base = || overlord.base.as_deref();
        let own = match role {
            OverlordRole::Base => base(),
            OverlordRole::Synthesis => overlord.synthesis.as_deref().or_else(base),
        };
        let entry = own.or(self.models.text.as_deref())?;
        Some(self.decided(entry, None, true))
    }

    /// The formation's model for comparing texts by their meaning.
    pub fn choose_embedding(&self) -> Option<ChosenModel> {
        Some(self.decided(self.models.embedding.as_deref()?, None, false))
    }

    /// A model that a procedure or a step names, with the formation's settings.
    pub fn choose_named(&self, model: &ModelName) -> ChosenModel {
        let settings = ModelSettings::default();
        let entry = Model { model: model.clone(), api_key: None, settings };
        self.decided(&entry, None, true)
    }

    /// An entry with everything that it leaves open.
    fn decided(
        &self,
        entry: &Model,
        of_agent: Option<&ModelSettings>,
        has_fallback: bool,
    ) -> ChosenModel {
        let provider_key = || self.api_keys.get(entry.model.provider()).cloned();
        let none = ModelSettings::default();
        let (own, agent, common) = (&entry.settings, of_agent.unwrap_or(&none), &self.settings);
        let usual_tokens = entry.model.max_tokens();
        let max_tokens = own.max_tokens.or(agent.max_tokens).or(common.max_tokens);
        let wider = agent.fallback_model.as_ref().or(common.fallback_model.as_ref());
        ChosenModel {
            model: entry.model.clone(),
            api_key: entry.api_key.clone().or_else(provider_key),
            temperature: own
                .temperature
                .or(agent.temperature)
                .or(common.temperature)
                .unwrap_or(0.7),
            max_tokens: max_tokens.unwrap_or(usual_tokens),
            timeout_seconds: own
                .timeout_seconds
                .or(agent.timeout_seconds)
                .or(common.timeout_seconds)
                .unwrap_or(30),
            max_retries: own.max_retries.or(agent.max_retries).or(common.max_retries).unwrap_or(3),
            fallback_model: own
                .fallback_model
                .clone()
                .or_else(|| wider.filter(|_| has_fallback).cloned()),
            language: own.language.clone().filter(|language| language != "auto"),
        }
    }

    /// How large a file for such a model may be.
    pub fn file_bytes_max(&self, agent: &Agent, capability: Capability) -> usize {
        let settings = self.entry(agent, capability).map(|entry| &entry.settings);
        let (set, usual_mb) = match capability {
            Capability::Text => return usize::MAX,
            Capability::Vision => (settings.and_then(|it| it.image.max_size_mb), 5),
            Capability::Documents => (settings.and_then(|it| it.max_size_mb), 20),
            Capability::Audio => (settings.and_then(|it| it.max_size_mb), 10),
        };
        set.unwrap_or(usual_mb) * MIB
    }

    fn entry<'a>(&'a self, agent: &'a Agent, capability: Capability) -> Option<&'a Model> {
        agent.models.of(capability).or(self.models.of(capability))
    }
}

// === impl Models ===

impl Models {
    pub fn of(&self, capability: Capability) -> Option<&Model> {
        match capability {
            Capability::Text => self.text.as_deref(),
            Capability::Vision => self.vision.as_deref(),
            Capability::Documents => self.documents.as_deref(),
            Capability::Audio => self.audio.as_deref(),
        }
    }
}

// === impl Capability ===

impl Capability {
    pub const ALL: [Self; 4] = [Self::Text, Self::Vision, Self::Documents, Self::Audio];

    /// As the manifest writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Vision => "vision",
            Self::Documents => "documents",
            Self::Audio => "audio",
        }
    }
}

// === impl ModelName ===

impl ModelName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn provider(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(provider, _)| provider)
    }

    /// Whether it runs on this machine, through the model host.
    pub fn is_local(&self) -> bool {
        matches!(self.provider(), "local" | "llama_cpp")
    }

    /// What the provider calls it; may have slashes itself.
    pub fn model(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, model)| model)
    }

    /// What a formation that says nothing gets; long answers of small models are slow and no better.
    fn max_tokens(&self) -> u32 {
        if self.is_local() { 256 } else { 4096 }
    }
}

impl FromStr for ModelName {
    type Err = InvalidModelName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (provider, model) = text.split_once('/').ok_or(InvalidModelName)?;
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let is_model = |c: char| !c.is_whitespace() && !c.is_control();
        let fits = !provider.is_empty() && provider.bytes().all(word);
        if fits && !model.is_empty() && !model.starts_with('/') && model.chars().all(is_model) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidModelName)
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_a_provider_and_a_name() {
        for (text, provider, model) in [
            ("openai/gpt-4o", "openai", "gpt-4o"),
            ("local/owner/repo:main", "local", "owner/repo:main"),
            ("llama_cpp/a.gguf", "llama_cpp", "a.gguf"),
        ] {
            let name: ModelName = text.parse().unwrap();
            assert_eq!((name.provider(), name.model()), (provider, model));
        }
        for bad in ["gpt-4o", "/gpt", "openai/", "http://host/v1/m", "a b/c", "a/b c", ""] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad}");
        }
    }
}
