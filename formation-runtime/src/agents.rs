//! The agents of the formation: who they are and which model speaks for them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use muxi_contract::formation::agents::{Agent as Shown, AgentSettings, AgentSpecialization};
use muxi_formation::Agent as Config;
use muxi_llm::Llm;

use crate::conversation::files::{File, Kind};
use crate::document;

/// One agent, ready to answer.
#[derive(Debug)]
pub struct Agent {
    pub config: Config,
    /// The same with its placeholders, to be shown.
    pub written: Config,
    pub text: Model,
    /// Answers in the place of `text` where there are images.
    pub vision: Option<Model>,
    /// Answers in the place of `text` where there are documents and no images.
    pub documents: Option<Model>,
    /// Writes down what is said.
    pub audio: Option<Model>,
    pub file_limits: FileLimits,
}

/// A model, as it is asked on behalf of an agent.
#[derive(Debug)]
pub struct Model {
    pub llm: Llm,
    /// `provider/model`, as the manifest names it.
    pub name: String,
    pub temperature: f64,
    pub max_tokens: u32,
    /// How long the model may say nothing.
    pub silence_max: Duration,
    /// It or its fallback is asked through the model host.
    pub needs_model_host: bool,
    /// The model runs on this machine, with a small window, and reads text only.
    pub is_local: bool,
    /// Of what is said, if it is known.
    pub language: Option<String>,
}

/// How large files may be, by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    pub image_bytes: usize,
    pub document_bytes: usize,
    pub audio_bytes: usize,
}

/// All agents, in the manifest's order, and what speaks for all of them. Clones share them.
#[derive(Debug, Clone)]
pub struct Agents(Arc<RwLock<Crew>>);

#[derive(Debug, Clone)]
struct Crew {
    agents: Vec<Arc<Agent>>,
    voices: Arc<Voices>,
}

/// The models of the formation itself.
#[derive(Debug)]
pub struct Voices {
    /// Routes and plans.
    pub base: Model,
    /// Makes one answer of several.
    pub synthesis: Model,
    /// Says how much texts are alike; without it their words are compared.
    pub embedding: Option<Llm>,
    /// Those that procedures and their steps name, by their names.
    pub named: BTreeMap<String, Model>,
}

// === impl Agents ===

impl Agents {
    /// `agents` holds at least one: a bundle without agents does not load.
    pub fn new(agents: Vec<Agent>, voices: Voices) -> Self {
        let agents = agents.into_iter().map(Arc::new).collect();
        Self(Arc::new(RwLock::new(Crew { agents, voices: Arc::new(voices) })))
    }

    pub fn voices(&self) -> Arc<Voices> {
        Arc::clone(&self.crew().voices)
    }

    pub fn find(&self, id: &str) -> Option<Arc<Agent>> {
        self.all().into_iter().find(|agent| agent.config.id == id)
    }

    /// The agent that answers a message which names none.
    pub fn default_agent(&self) -> Option<Arc<Agent>> {
        self.all().into_iter().next()
    }

    pub fn all(&self) -> Vec<Arc<Agent>> {
        self.crew().agents.clone()
    }

    /// The same agents with other secrets take the place of these; who has one of these keeps it.
    pub fn replace_by(&self, others: &Self) {
        let others = others.crew().clone();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = others;
    }

    fn crew(&self) -> RwLockReadGuard<'_, Crew> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Agent ===

impl Agent {
    /// The model that answers a message with such files.
    pub fn model_for(&self, files: &[File]) -> &Model {
        let has = |kind| files.iter().any(|file| file.kind() == Some(kind));
        let special = if has(Kind::Image) {
            self.vision.as_ref()
        } else if has(Kind::Document) {
            self.documents.as_ref()
        } else {
            None
        };
        special.unwrap_or(&self.text)
    }

    /// All models that it may be asked through.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        let others = [&self.vision, &self.documents, &self.audio];
        std::iter::once(&self.text).chain(others.into_iter().flatten())
    }

    /// As the formation API shows it: no secret is in it.
    pub fn shown(&self) -> Shown {
        let config = &self.written;
        let own = &config.specialization;
        let mut metadata = config.metadata.clone();
        document::mask_keys(&mut metadata);
        let keywords = own.keywords.iter().chain(&config.specialization_keywords);
        Shown {
            id: config.id.clone(),
            name: config.name.clone(),
            description: config.description.clone(),
            system_message: config.system_message.clone(),
            role: config.role.clone(),
            specialties: config.specialties.clone(),
            specialization: AgentSpecialization {
                domain: own.domain.clone().or_else(|| config.specialization_domain.clone()),
                subdomain: own.subdomain.clone(),
                expertise_level: own.expertise_level.clone(),
                keywords: keywords.cloned().collect(),
            },
            model: self.text.name.clone(),
            settings: AgentSettings {
                temperature: self.text.temperature,
                max_tokens: self.text.max_tokens,
            },
            version: config.version.clone(),
            author: config.author.clone(),
            url: config.url.clone(),
            license: config.license.clone(),
            metadata,
            source: "formation".to_owned(),
        }
    }
}
