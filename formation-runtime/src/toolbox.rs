//! The tools of one agent for one message: which there are, which of them are shown, and what is allowed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muxi_llm::ToolSpec;
use muxi_orchestration::approval::{self, Called, Policy, Verdict};
use muxi_orchestration::fence::{self, Boundary};
use muxi_orchestration::loop_guard;
use muxi_tools::{Danger, Origin, Outcome, Tool};
use serde_json::{Map, Value};

/// What an agent may ask for while it answers one message.
#[derive(Debug)]
pub struct Toolbox {
    tools: HashMap<String, Arc<dyn Tool>>,
    /// What the model is shown; a tool that is not shown can still be called by who knows its name.
    specs: Vec<ToolSpec>,
    policy: Arc<Policy>,
    caps: Caps,
    /// What the model is told of what it can look up, such as skills.
    catalogue: Option<String>,
    /// The patterns of tools that a skill allows beside it, by skill.
    allowed_by_skills: HashMap<String, Vec<String>>,
    /// Skills of this run that restrict it.
    active_skills: Mutex<Vec<String>>,
    /// In no text that anybody else could have written.
    boundary: Boundary,
    /// Servers whose tools are missing, and why.
    pub faults: Vec<String>,
}

/// How much an agent may do with tools for one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    pub rounds: u32,
    pub calls: u32,
    /// Of the same call in the same way.
    pub repeated_errors: u32,
    pub total: Duration,
    /// Of what a model reads of one result.
    pub output_bytes: usize,
}

// === impl Toolbox ===

impl Toolbox {
    /// `shown` are the ones that the model is offered, by name and in its order.
    pub fn new(
        tools: Vec<Arc<dyn Tool>>,
        shown: &[String],
        policy: Arc<Policy>,
        caps: Caps,
        faults: Vec<String>,
        catalogue: Option<String>,
    ) -> Self {
        let tools: HashMap<String, Arc<dyn Tool>> =
            tools.into_iter().map(|tool| (tool.spec().name.clone(), tool)).collect();
        let boundary = new_boundary();
        let specs = shown.iter().filter_map(|name| Some(tools.get(name)?.spec().clone())).collect();
        let (allowed_by_skills, active_skills) = (HashMap::new(), Mutex::default());
        Self {
            tools,
            specs,
            policy,
            caps,
            catalogue,
            allowed_by_skills,
            active_skills,
            boundary,
            faults,
        }
    }

    /// The same with what its agent's skills allow beside them.
    #[must_use]
    pub fn restricted_by(self, allowed_by_skills: HashMap<String, Vec<String>>) -> Self {
        Self { allowed_by_skills, ..self }
    }

    /// From here on only what the skill allows may be called.
    pub fn skill_is_active(&self, skill: &str) {
        if self.allowed_by_skills.contains_key(skill) {
            self.active_skills
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(skill.to_owned());
        }
    }

    /// The active skill that does not allow the tool.
    fn forbidding_skill(&self, tool: &dyn Tool) -> Option<String> {
        let name = match tool.origin() {
            Origin::Builtin => return None,
            Origin::Mcp { server, tool } => format!("{server}/{tool}"),
            Origin::Agent(_) | Origin::Remote(_) => tool.spec().name.clone(),
        };
        let active = self.active_skills.lock().unwrap_or_else(PoisonError::into_inner);
        let forbids = |skill: &&String| {
            let patterns = self.allowed_by_skills.get(*skill);
            let own = name.rsplit('/').next().unwrap_or(&name);
            !patterns.into_iter().flatten().any(|pattern| {
                let fits = |text| muxi_formation::pattern::matches(pattern, text);
                fits(&name) || fits(own) || fits(&tool.spec().name)
            })
        };
        active.iter().find(forbids).cloned()
    }

    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Whether words of somebody elsewhere may come in.
    pub fn has_foreign(&self) -> bool {
        self.tools.values().any(|tool| *tool.origin() != Origin::Builtin)
    }

    pub fn catalogue(&self) -> Option<&str> {
        self.catalogue.as_deref()
    }

    pub const fn caps(&self) -> Caps {
        self.caps
    }

    pub fn guard(&self, now_ms: u64) -> loop_guard::Guard {
        let Caps { rounds, calls, repeated_errors, total, .. } = self.caps;
        let total_ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
        let caps = loop_guard::Caps { iterations: rounds, calls, repeated_errors, total_ms };
        loop_guard::Guard::new(caps, now_ms)
    }

    pub fn specs(&self) -> Vec<ToolSpec> {
        self.specs.clone()
    }

    pub fn find(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name)
    }

    /// What becomes of such a call; nothing if there is no such tool.
    pub fn judge(
        &self,
        name: &str,
        arguments: &Map<String, Value>,
        is_tainted: bool,
    ) -> Option<Verdict> {
        let tool = self.find(name)?;
        if let Some(skill) = self.forbidding_skill(tool.as_ref()) {
            let because = format!("the skill `{skill}` does not list it among its allowed tools");
            return Some(Verdict { action: approval::Action::Deny, because });
        }
        let danger = danger(tool.danger());
        let origin = origin(tool.origin());
        Some(self.policy.decide(&Called { name, origin, danger, arguments, is_tainted }))
    }

    /// Whether what came back was written by somebody elsewhere.
    pub fn taints(&self, name: &str, outcome: &Outcome) -> bool {
        let Some(tool) = self.find(name) else { return false };
        // What of our own tools is not ours says so itself.
        let is_ours = *tool.origin() == Origin::Builtin;
        !outcome.is_trusted && (is_ours || self.policy.taints(origin(tool.origin())))
    }

    pub const fn boundary(&self) -> &Boundary {
        &self.boundary
    }

    /// The words of somebody elsewhere, as the model reads them.
    pub fn fence(&self, source: &str, text: &str) -> String {
        fence::fence(source, text, &self.boundary, self.caps.output_bytes)
    }
}

/// For the words of somebody else that a prompt is made of.
pub fn new_boundary() -> Boundary {
    let mut random = [0; 16];
    // Without it nobody may write in the name of the program; the system always has some.
    getrandom::fill(&mut random).expect("the system has random numbers");
    Boundary::from_random(u128::from_ne_bytes(random))
}

// === private helpers ===

fn origin(origin: &Origin) -> approval::Origin<'_> {
    match origin {
        Origin::Builtin => approval::Origin::Builtin,
        Origin::Mcp { server, tool } => approval::Origin::Server { server, tool },
        Origin::Agent(_) | Origin::Remote(_) => approval::Origin::Agent,
    }
}

const fn danger(danger: Danger) -> approval::Danger {
    match danger {
        Danger::ReadOnly => approval::Danger::ReadOnly,
        Danger::PresumedReadOnly => approval::Danger::PresumedReadOnly,
        Danger::Additive => approval::Danger::Additive,
        Danger::Unknown => approval::Danger::Unknown,
        Danger::Destructive => approval::Danger::Destructive,
    }
}
