//! Which agent gets the tools of which servers, and which of them.

use crate::filter::EffectiveFilter;
use crate::load::Loaded;
use crate::manifest::{Agent, McpServer};

/// The servers of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentTools {
    pub agent: String,
    /// Those that it attaches in its own order, and then those that are everybody's.
    pub servers: Vec<(String, EffectiveFilter)>,
}

/// For all agents, in the manifest's order.
pub fn tool_table(loaded: &Loaded) -> Vec<AgentTools> {
    loaded.agents.iter().map(|agent| of_agent(agent, &loaded.mcp_servers)).collect()
}

// === private helpers ===

fn of_agent(agent: &Agent, servers: &[McpServer]) -> AgentTools {
    let attached = agent.mcp_servers.iter().filter_map(|attachment| {
        let server = servers.iter().find(|it| it.id == attachment.server)?;
        let layers = vec![server.tools.clone(), attachment.tools.clone()];
        Some((server.id.clone(), EffectiveFilter { layers }))
    });
    let global = servers.iter().filter(|it| it.is_global);
    let global =
        global.map(|it| (it.id.clone(), EffectiveFilter { layers: vec![it.tools.clone()] }));
    AgentTools { agent: agent.id.clone(), servers: attached.chain(global).collect() }
}
