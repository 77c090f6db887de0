//! The formation's procedures, and which of them a message is about.

use muxi_formation::Procedure;
use muxi_orchestration::procedure::{self, Entry};
use muxi_orchestration::routing;
use tokio::sync::OnceCell;

use crate::agents::Agents;
use crate::conversation::course::Matched;

#[derive(Debug)]
pub struct Procedures {
    all: Vec<Procedure>,
    entries: Vec<Entry>,
    catalogue: Vec<routing::Procedure>,
    /// Of the entries, in their order; made when the first message is compared.
    vectors: OnceCell<Vec<Vec<f32>>>,
}

// === impl Procedures ===

impl Procedures {
    pub fn new(all: Vec<Procedure>) -> Self {
        let entry = |it: &Procedure| Entry {
            id: it.id.clone(),
            name: it.name.clone(),
            description: it.description.clone(),
            tags: it.tags.clone(),
        };
        let listed = |it: &Procedure| routing::Procedure {
            id: it.id.clone(),
            name: it.name.clone(),
            description: it.description.clone(),
        };
        Self {
            entries: all.iter().map(entry).collect(),
            catalogue: all.iter().map(listed).collect(),
            vectors: OnceCell::new(),
            all,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn all(&self) -> &[Procedure] {
        &self.all
    }

    pub fn find(&self, id: &str) -> Option<&Procedure> {
        self.all.iter().find(|procedure| procedure.id == id)
    }

    pub fn catalogue(&self) -> &[routing::Procedure] {
        &self.catalogue
    }

    /// The procedure that the message begins with, as `/name`.
    pub fn named(&self, message: &str) -> Option<&str> {
        let slash = procedure::slash(message)?;
        let named = |it: &&Procedure| it.id == slash.name || it.name == slash.name;
        self.all.iter().find(named).map(|procedure| procedure.id.as_str())
    }

    /// The procedure that is most like the message: by meaning where the formation has a model for that,
    /// else by words.
    pub async fn matched(&self, message: &str, agents: &Agents) -> Option<Matched> {
        if let Some(by_meaning) = self.by_meaning(message, agents).await {
            return by_meaning;
        }
        let best = procedure::match_lexical(message, &self.entries).into_iter().next()?;
        Some(matched(best))
    }

    /// Nothing if nobody can tell.
    async fn by_meaning(&self, message: &str, agents: &Agents) -> Option<Option<Matched>> {
        let voices = agents.voices();
        let embedding = voices.embedding.as_ref()?;
        let embed = async |texts: &[String]| match embedding.embed(texts).await {
            Ok((embeddings, _)) => Some(embeddings.vectors),
            Err(error) => {
                tracing::warn!(%error, "procedures are compared by their words");
                None
            }
        };
        let described = || async {
            let texts: Vec<String> = self.entries.iter().map(Entry::to_embedding_text).collect();
            embed(&texts).await.ok_or(())
        };
        let vectors = self.vectors.get_or_try_init(described).await.ok()?;
        let asked = embed(&[message.to_owned()]).await?.into_iter().next()?;
        let ids = self.entries.iter().map(|entry| entry.id.as_str());
        let vectors: Vec<(&str, &[f32])> = ids.zip(vectors.iter().map(Vec::as_slice)).collect();
        Some(procedure::match_vectors(&asked, &vectors).into_iter().next().map(matched))
    }
}

// === private helpers ===

fn matched(best: procedure::Match) -> Matched {
    let (threshold, method) = (best.threshold(), best.method);
    Matched {
        procedure: best.id,
        score: best.score,
        threshold,
        method: match method {
            procedure::Method::Lexical => "lexical",
            procedure::Method::Vector => "embedding",
        },
    }
}

/// The step of a procedure's file as its plan takes it.
pub fn step(step: &muxi_formation::Step) -> procedure::Step {
    procedure::Step {
        number: step.number,
        title: step.title.clone(),
        text: step.text.clone(),
        agent: step.agent.clone(),
        tools: step.tools.clone(),
        skills: step.skills.clone(),
        model: step.model.as_ref().map(ToString::to_string),
        is_parallel: step.is_parallel,
        is_critical: step.is_critical,
    }
}
