//! The other agents of the formation, as tools of an agent.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_formation::Agent as Config;
use muxi_llm::ToolSpec;
use muxi_tools::{Call, Danger, Origin, Outcome, Tool};
use serde_json::json;

/// An agent that others may ask. The turn in which it is asked does the work, since it has the models and
/// the tools; see [`Running::ask_colleague`](crate::conversation).
#[derive(Debug)]
pub struct Colleague {
    spec: ToolSpec,
    origin: Origin,
}

pub(super) fn of_all(agents: &[Config]) -> HashMap<String, Vec<Arc<dyn Tool>>> {
    let sociable: Vec<&Config> = agents.iter().filter(|agent| agent.a2a.internal).collect();
    let others = |agent: &Config| {
        let others = sociable.iter().filter(|it| it.id != agent.id);
        others.map(|it| Arc::new(Colleague::new(it)) as Arc<dyn Tool>).collect()
    };
    sociable.iter().map(|agent| (agent.id.clone(), others(agent))).collect()
}

// === impl Colleague ===

impl Colleague {
    fn new(agent: &Config) -> Self {
        let name: String = agent.id.chars().take(NAME_CHARS_MAX).collect();
        let who = agent.name.as_deref().unwrap_or(&agent.id);
        Self {
            spec: ToolSpec {
                name: format!("ask_{}", name.replace('.', "_")),
                description: format!(
                    "Ask {who}, another agent, to do something or to answer. {}",
                    agent.description
                ),
                parameters: Arc::new(json!({
                    "type": "object",
                    "properties": {
                        "task": {
                            "type": "string",
                            "description": "What is to be done, with everything that must be known \
                                            for it: the other agent does not see this conversation.",
                        },
                    },
                    "required": ["task"],
                    "additionalProperties": false,
                })),
            },
            origin: Origin::Agent(agent.id.clone()),
        }
    }
}

/// Leaves room for the prefix within the 64 characters that providers take.
const NAME_CHARS_MAX: usize = 56;

impl Tool for Colleague {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn danger(&self) -> Danger {
        // What the other agent does is judged call by call.
        Danger::ReadOnly
    }

    fn call(&self, _: Call) -> BoxFuture<'_, Outcome> {
        async { Outcome::refused("Another agent can only be asked within an answer.") }.boxed()
    }
}
