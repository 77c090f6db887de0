//! The agents of the formation: who they are and which model speaks for them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use muxi_formation::Agent as Config;
use muxi_llm::Llm;
use serde_json::{Value, json};

use crate::document;

/// One agent, ready to answer.
#[derive(Debug)]
pub struct Agent {
    pub config: Config,
    /// The same with its placeholders, to be shown.
    pub written: Config,
    pub llm: Llm,
    /// `provider/model`, as the manifest names it.
    pub model: String,
    pub temperature: f64,
    pub max_tokens: u32,
    /// How long the model may say nothing.
    pub silence_max: Duration,
    /// It or its fallback is asked through the model host.
    pub needs_model_host: bool,
    /// The model runs on this machine, with a small window.
    pub is_local: bool,
}

/// All agents, in the manifest's order; never empty.
#[derive(Debug)]
pub struct Agents(RwLock<Vec<Arc<Agent>>>);

// === impl Agents ===

impl Agents {
    /// `agents` holds at least one: a bundle without agents does not load.
    pub fn new(agents: Vec<Agent>) -> Self {
        Self(RwLock::new(agents.into_iter().map(Arc::new).collect()))
    }

    pub fn find(&self, id: &str) -> Option<Arc<Agent>> {
        self.all().into_iter().find(|agent| agent.config.id == id)
    }

    /// The agent that answers a message which names none.
    pub fn default_agent(&self) -> Option<Arc<Agent>> {
        self.all().into_iter().next()
    }

    pub fn all(&self) -> Vec<Arc<Agent>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same agents with other secrets take the place of these; who has one of these keeps it.
    pub fn replace_by(&self, others: Self) {
        let others = others.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = others;
    }
}

// === impl Agent ===

impl Agent {
    /// As the formation API shows it: no secret is in it.
    pub fn to_json(&self) -> Value {
        let config = &self.written;
        let mut metadata = config.metadata.clone();
        document::mask_keys(&mut metadata);
        json!({
            "id": config.id,
            "name": config.name,
            "description": config.description,
            "system_message": config.system_message,
            "role": config.role,
            "specialties": config.specialties,
            "specialization": {
                "domain": config.specialization.domain.as_ref()
                    .or(config.specialization_domain.as_ref()),
                "subdomain": config.specialization.subdomain,
                "expertise_level": config.specialization.expertise_level,
                "keywords": config.specialization.keywords.iter()
                    .chain(&config.specialization_keywords).collect::<Vec<_>>(),
            },
            "model": self.model,
            "settings": {"temperature": self.temperature, "max_tokens": self.max_tokens},
            "version": config.version,
            "author": config.author,
            "url": config.url,
            "license": config.license,
            "metadata": metadata,
            "source": "formation",
        })
    }
}
