//! The skills of each agent, as tools.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_contract::{SessionId, UserId};
use muxi_formation::{Loaded, Skill, interpolate};
use muxi_memory::Store;
use muxi_service::{Clock, TaskGroup};
use muxi_tools::Tool;
use muxi_tools::sandbox::{Launcher, Limits, Sandbox};
use muxi_tools::skills::{ActivationFault, Activations, SkillConfig, Skills};
use secrecy::SecretString;

/// What one agent has of skills.
#[derive(Debug, Default)]
pub(super) struct Skilled {
    pub(super) tools: Vec<Arc<dyn Tool>>,
    /// A line for each, for the prompt.
    pub(super) catalogue: Option<String>,
    /// The patterns of tools that a skill allows beside it, by its name.
    pub(super) allowed: HashMap<String, Vec<String>>,
}

/// The skills of all agents. `secret` fills in what their texts refer to; what is missing is told.
pub(super) fn of_all(
    loaded: &Loaded,
    place: &Place<'_>,
    secret: &dyn Fn(&str) -> Option<SecretString>,
    tell: &mut dyn FnMut(String),
) -> Result<HashMap<String, Skilled>, String> {
    if loaded.skills.is_empty() {
        return Ok(HashMap::new());
    }
    let hidden = [".key", "secrets.enc"].map(|name| place.folder.join(name));
    let hidden = hidden.into_iter().chain([place.data_dir.to_owned()]).collect();
    let root = place.data_dir.join("skills");
    let sandbox = Arc::new(Sandbox::new(Launcher::this_program(), root, hidden, Limits::default()));
    let noted: Arc<dyn Activations> =
        Arc::new(Noted { store: place.store.clone(), clock: place.clock.clone() });
    let mut configs: HashMap<String, Arc<SkillConfig>> = HashMap::new();
    let mut all = HashMap::new();
    for agent in &loaded.agents {
        let mut own = Vec::new();
        let mut allowed = HashMap::new();
        for skill in loaded.skills_of(&agent.id) {
            let config = configs
                .entry(skill.folder.clone())
                .or_insert_with(|| Arc::new(config(skill, place.folder, secret, tell)));
            own.push(Arc::clone(config));
            if let Some(patterns) = &skill.allowed_tools {
                allowed.insert(skill.name.clone(), patterns.clone());
            }
        }
        let skills = Skills::new(own).map_err(|error| error.to_string())?;
        if skills.is_empty() {
            continue;
        }
        let catalogue = format!(
            "Skills, which you can read in full with `activate_skill` when one fits:\n{}",
            skills.catalogue()
        );
        let tools = skills.tools(Arc::clone(&noted), Some(Arc::clone(&sandbox)));
        let skilled = Skilled { tools, catalogue: Some(catalogue), allowed };
        all.insert(agent.id.clone(), skilled);
    }
    Ok(all)
}

/// Where skills lie and what tools leave.
#[derive(Debug)]
pub struct Place<'a> {
    pub folder: &'a Path,
    pub data_dir: &'a Path,
    pub store: &'a Store,
    pub clock: &'a Clock,
    /// Of what outlasts the turn that began it.
    pub tasks: &'a TaskGroup,
}

/// What sessions have read, on the disk.
#[derive(Debug)]
struct Noted {
    store: Store,
    clock: Clock,
}

impl Activations for Noted {
    fn activate<'a>(
        &'a self,
        user: &'a UserId,
        session: &'a SessionId,
        skill: &'a str,
    ) -> BoxFuture<'a, Result<bool, ActivationFault>> {
        async move {
            let (store, now_ms) = (self.store.for_user(user), self.clock.now_ms());
            let noted = store.activate_skill(session, skill, now_ms);
            noted.await.map_err(|error| ActivationFault(error.to_string()))
        }
        .boxed()
    }
}

// === private helpers ===

fn config(
    skill: &Skill,
    folder: &Path,
    secret: &dyn Fn(&str) -> Option<SecretString>,
    tell: &mut dyn FnMut(String),
) -> SkillConfig {
    let (body, missing) = interpolate::fill_secrets(&skill.body, secret);
    for name in missing {
        let file = format!("{}/SKILL.md", skill.folder);
        tell(format!("{file}: the secret `{name}` is missing; the skill is read without it"));
    }
    SkillConfig {
        name: skill.name.clone(),
        description: skill.description.clone(),
        body,
        folder: folder.join(&skill.folder),
        resources: skill.resources.clone(),
        scripts: skill.scripts.clone(),
        allowed_tools: skill.allowed_tools.clone().unwrap_or_default(),
    }
}
