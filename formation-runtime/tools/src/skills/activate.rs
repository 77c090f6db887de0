//! The tool that hands a skill's instructions to a model.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use muxi_llm::ToolSpec;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Activations, SkillConfig, Skills};
use crate::tool::{Call, Danger, Origin, Outcome, Tool, arguments};

#[derive(Debug)]
pub(super) struct ActivateSkill {
    spec: ToolSpec,
    skills: Skills,
    activations: Arc<dyn Activations>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    name: String,
    #[serde(default)]
    again: bool,
}

// === impl ActivateSkill ===

impl ActivateSkill {
    pub(super) fn new(skills: Skills, activations: Arc<dyn Activations>) -> Self {
        let parameters = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "enum": skills.names(), "description": "The skill."},
                "again": {
                    "type": "boolean",
                    "description": "Only if its instructions are no longer in this conversation."
                }
            }
        });
        let spec = ToolSpec {
            name: "activate_skill".to_owned(),
            description: "Read a skill's instructions before you do what it is for. Once in a \
                          conversation is enough."
                .to_owned(),
            parameters: Arc::new(parameters),
        };
        Self { spec, skills, activations }
    }

    async fn activate(&self, call: Call) -> Outcome {
        let Arguments { name, again } = match arguments(call.arguments) {
            Ok(arguments) => arguments,
            Err(outcome) => return outcome,
        };
        let skill = match self.skills.find(&name) {
            Ok(skill) => skill,
            Err(outcome) => return outcome,
        };
        let mut outcome = match self.activations.activate(&call.user, &call.session, &name).await {
            Ok(is_new) if is_new || again => Outcome::told(instructions(skill)),
            Ok(_) => Outcome::told(format!(
                "`{name}` is active already; its instructions are above in this conversation"
            )),
            Err(error) => {
                tracing::error!(%error, "a skill could not be activated");
                return Outcome::refused("the skill could not be activated; try it once more");
            }
        };
        outcome.structured = Some(facts(skill));
        outcome
    }
}

impl Tool for ActivateSkill {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &Origin::Builtin
    }

    fn danger(&self) -> Danger {
        Danger::ReadOnly
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Outcome> {
        Box::pin(self.activate(call))
    }
}

fn instructions(skill: &SkillConfig) -> String {
    let lists = [
        ("Files, to be read with read_skill_resource:", &skill.resources),
        ("Scripts, to be run with run_skill:", &skill.scripts),
        ("While you follow this skill, use only these tools:", &skill.allowed_tools),
    ];
    let begin = format!("# Skill {}\n\n{}", skill.name, skill.body.expose_secret().trim());
    let lists = lists.iter().filter(|(_, entries)| !entries.is_empty());
    let lists = lists.map(|(title, entries)| format!("{title}\n- {}", entries.join("\n- ")));
    [begin].into_iter().chain(lists).collect::<Vec<_>>().join("\n\n")
}

/// For the turn, which holds the agent to it.
fn facts(skill: &SkillConfig) -> Value {
    json!({
        "skill": skill.name,
        "allowed_tools": skill.allowed_tools,
        "resources": skill.resources,
        "scripts": skill.scripts,
    })
}
