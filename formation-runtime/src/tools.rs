//! All tools of the formation, and which of them each agent has.
//!
//! An agent has the tools of the servers that it attaches and of those that nobody does, what this program
//! does itself, the other agents, and those of other systems.

mod builtin;
mod colleague;
mod entrusted;
mod entrusting;
mod rules;
mod servers;
mod skills;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use muxi_contract::{SessionId, UserId};
use muxi_formation::manifest::Selection;
use muxi_formation::{EffectiveFilter, Loaded};
use muxi_tools::builtin::GenerateFile;
use muxi_tools::{Origin, Tool, a2a, mcp};
use secrecy::SecretString;

pub use self::builtin::all as builtin;
pub use self::colleague::Colleague;
pub use self::entrusted::Entrusted;
use self::entrusting::Connect;
pub use self::entrusting::Entrusting;
pub use self::servers::servers;
pub use self::skills::Place;
use self::skills::Skilled;
use crate::agents::Agent;
use crate::redact::{Depth, Redactor};
use crate::remote_agents;

/// On whose behalf tools are called.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: UserId,
    pub session: SessionId,
    /// How many agents have asked each other on the way here.
    pub depth: u8,
}

#[derive(Debug)]
pub struct Tools {
    servers: mcp::Servers,
    /// The servers of each agent, with what it may use of them.
    attached: HashMap<String, Vec<(String, EffectiveFilter)>>,
    /// What this program does itself.
    builtin: Vec<Arc<dyn Tool>>,
    /// The tools that each server had last.
    known: Mutex<BTreeMap<String, Vec<Arc<dyn Tool>>>>,
    skilled: HashMap<String, Skilled>,
    /// The other agents, as each agent may ask them.
    colleagues: HashMap<String, Vec<Arc<dyn Tool>>>,
    /// The agents elsewhere, and who may ask them.
    remote: Vec<Arc<dyn Tool>>,
    worldly: HashSet<String>,
    /// What approval rules are about.
    rules: Vec<String>,
    /// What servers say of their faults may quote a secret that they were given.
    redactor: Redactor,
}

/// Agents that ask each other further than this would hardly come back.
pub const DEPTH_MAX: u8 = 3;

// === impl Tools ===

impl Tools {
    /// `secret` fills in what skills refer to.
    pub fn new(
        loaded: &Loaded,
        servers: mcp::Servers,
        mut builtin: Vec<Arc<dyn Tool>>,
        place: &Place<'_>,
        secret: &dyn Fn(&str) -> Option<SecretString>,
        redactor: Redactor,
    ) -> Result<Self, String> {
        let attached = muxi_formation::tool_table(loaded)
            .into_iter()
            .map(|row| (row.agent, row.servers))
            .collect();
        builtin.push(Arc::new(GenerateFile::new()));
        let mut tell = |fault: String| crate::report::warn(&fault);
        let skilled = skills::of_all(loaded, place, secret, &mut tell)?;
        let chosen = &loaded.manifest.runtime.built_in_mcps;
        let is_chosen = |tool: &Arc<dyn Tool>| match chosen {
            Selection::All => true,
            Selection::Nothing => false,
            Selection::Only(names) => names.contains(&tool.spec().name),
        };
        let colleagues = colleague::of_all(&loaded.agents);
        let block = &loaded.manifest.a2a;
        let remote = if block.enabled && block.outbound.enabled {
            let tools = remote_agents::tools(&loaded.remote_agents, place.tasks);
            tools.map_err(|error| error.to_string())?
        } else {
            Vec::new()
        };
        let rules = &loaded.manifest.approvals.rules;
        let rules: Vec<String> = rules.iter().map(|rule| rule.tool.clone()).collect();
        let others = colleagues.values().flatten().chain(&remote);
        let of_skills = skilled.values().flat_map(|it| &it.tools);
        let all = builtin.iter().chain(others).chain(of_skills);
        let connects = servers.ids().map(Connect::name);
        let ours = all.map(|tool| tool.spec().name.clone()).chain(connects).collect();
        let names = rules::Names { ours, servers: servers.ids().map(str::to_owned).collect() };
        let mut faults = names.dead(rules.iter().map(String::as_str));
        faults.extend(names.unknown(chosen));
        if !faults.is_empty() {
            return Err(faults.join("; "));
        }
        let builtin = builtin.into_iter().filter(is_chosen).collect();
        let worldly = loaded.agents.iter().filter(|agent| agent.a2a.external);
        let worldly = worldly.map(|agent| agent.id.clone()).collect();
        let known = Mutex::default();
        Ok(Self {
            servers,
            attached,
            builtin,
            known,
            skilled,
            colleagues,
            remote,
            worldly,
            rules,
            redactor,
        })
    }

    /// What an agent is told of what it can look up, such as skills.
    pub fn catalogue(&self, agent: &str) -> Option<String> {
        self.skilled.get(agent)?.catalogue.clone()
    }

    /// The patterns of tools that the agent's skills allow beside them, by skill.
    pub fn allowed_by_skills(&self, agent: &str) -> HashMap<String, Vec<String>> {
        self.skilled.get(agent).map(|it| it.allowed.clone()).unwrap_or_default()
    }

    pub fn servers(&self) -> &mcp::Servers {
        &self.servers
    }

    /// Servers of the agent, whether they answer or not.
    pub fn attached(&self, agent: &str) -> &[(String, EffectiveFilter)] {
        self.attached.get(agent).map_or(&[], Vec::as_slice)
    }

    /// Asks every server once what it has, so that the first message need not wait for that, and tells what
    /// became of it.
    pub async fn discover(&self, tell: impl Fn(&str, Result<String, String>)) {
        let asking =
            self.servers.ids().map(|id| async move { (id, self.servers.tools(id, None).await) });
        // As they come: one that hangs does not keep the others' news.
        let mut asking: FuturesUnordered<_> = asking.collect();
        while let Some((id, found)) = asking.next().await {
            match found {
                Ok(tools) => {
                    self.remember(id, &tools);
                    tell(id, Ok(format!("{id} has {} tools", tools.len())));
                    for fault in self.unmatched(id, &tools) {
                        tell(id, Err(fault));
                    }
                }
                // It is asked again with the user's own.
                Err(error) if error.wanted_of_user().is_some() => {}
                Err(error) => {
                    let fault = format!("the tools of `{id}` are missing: {error}");
                    tell(id, Err(self.redactor.text(&fault).into_owned()));
                }
            }
        }
    }

    /// Filters and rules of the bundle that fit nothing, and filters that leave nothing.
    fn unmatched(&self, server: &str, tools: &[Arc<dyn Tool>]) -> Vec<String> {
        let own: Vec<&str> = tools.iter().filter_map(|tool| own_name(tool)).collect();
        let mut faults = Vec::new();
        for (agent, attached) in &self.attached {
            for (_, filter) in attached.iter().filter(|(id, _)| id == server) {
                let filtered = filter.apply(own.iter().copied());
                for unmatched in filtered.unmatched {
                    let meant = unmatched.meant.map(|it| format!("; did you mean `{it}`?"));
                    let (name, meant) = (unmatched.name, meant.unwrap_or_default());
                    faults.push(format!("agent `{agent}`: `{server}` has no tool `{name}`{meant}"));
                }
                if filtered.tools.is_empty() && !own.is_empty() {
                    faults
                        .push(format!("agent `{agent}`: the filters of `{server}` leave no tool"));
                }
            }
        }
        faults.sort();
        faults.dedup();
        faults.extend(self.rules.iter().filter_map(|it| rules::unmatched(it, server, &own)));
        faults
    }

    fn remember(&self, server: &str, tools: &[Arc<dyn Tool>]) {
        self.known().insert(server.to_owned(), tools.to_vec());
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Arc<dyn Tool>>>> {
        // The map is whole even if a holder panicked: nothing here can stop halfway.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that agents can call, with those who may, as far as servers have told it.
    pub fn listed(&self) -> Vec<(Arc<dyn Tool>, Vec<String>)> {
        let mut everybody: Vec<String> = self.attached.keys().cloned().collect();
        everybody.sort();
        let known = self.known();
        let of_servers = known.iter().flat_map(|(server, tools)| {
            let may = |tool: &Arc<dyn Tool>, agent: &str| {
                let mut filters = self.attached(agent).iter().filter(|(id, _)| id == server);
                filters.any(|(_, filter)| passes(filter, tool))
            };
            let access = |tool: &Arc<dyn Tool>| {
                everybody.iter().filter(|agent| may(tool, agent)).cloned().collect()
            };
            tools.iter().map(|tool| (Arc::clone(tool), access(tool))).collect::<Vec<_>>()
        });
        let ours = self.builtin.iter().map(|tool| (Arc::clone(tool), everybody.clone()));
        ours.chain(of_servers).collect()
    }

    /// What the agent may call now, and what of it is missing.
    pub async fn of(&self, agent: &Agent, caller: &Caller) -> (Vec<Arc<dyn Tool>>, Vec<String>) {
        let (mut tools, mut faults): (Vec<Arc<dyn Tool>>, _) = (Vec::new(), Vec::new());
        let attached = self.attached(&agent.config.id);
        let finding = attached.iter().map(|(server, filter)| async move {
            (server, filter, self.found(server, &caller.user).await)
        });
        for (server, filter, found) in futures_util::future::join_all(finding).await {
            let error = match found {
                Ok(found) => {
                    tools.extend(found.into_iter().filter(|it| passes(filter, it)));
                    continue;
                }
                Err(error) => error,
            };
            if let Some(service) = error.wanted_of_user() {
                let wanted = self.servers.wanted(service);
                let description = self.servers.description(server);
                tools.push(Arc::new(Connect::new(server, description, wanted)));
            } else {
                let fault = format!("the tools of `{server}` are missing: {}", error.for_users());
                faults.push(self.redactor.scope(Depth::Secrets).text(&fault).into_owned());
            }
        }
        if caller.depth < DEPTH_MAX {
            tools.extend(self.colleagues.get(&agent.config.id).into_iter().flatten().cloned());
        }
        if caller.depth < a2a::DEPTH_MAX && self.worldly.contains(&agent.config.id) {
            tools.extend(self.remote.iter().cloned());
        }
        let skilled = self.skilled.get(&agent.config.id);
        tools.extend(skilled.into_iter().flat_map(|it| it.tools.iter().cloned()));
        // A small model with a small window is better off without tools that nobody asked for.
        if !agent.text.is_local || !attached.is_empty() {
            tools.extend(self.builtin.iter().cloned());
        }
        (tools, faults)
    }

    /// For those who choose between agents.
    pub fn names_of(&self, agent: &str) -> Vec<String> {
        let known = self.known();
        let mut names = Vec::new();
        for (server, filter) in self.attached(agent) {
            let tools = known.get(server).into_iter().flatten();
            names.extend(tools.filter(|it| passes(filter, it)).map(|it| it.spec().name.clone()));
        }
        names
    }

    async fn found(
        &self,
        server: &str,
        user: &UserId,
    ) -> Result<Vec<Arc<dyn Tool>>, mcp::McpError> {
        let found = self.servers.tools_soon(server, user).await?;
        self.remember(server, &found);
        Ok(found)
    }
}

fn own_name(tool: &Arc<dyn Tool>) -> Option<&str> {
    match tool.origin() {
        Origin::Mcp { tool, .. } => Some(tool),
        Origin::Builtin | Origin::Agent(_) | Origin::Remote(_) => None,
    }
}

fn passes(filter: &EffectiveFilter, tool: &Arc<dyn Tool>) -> bool {
    match tool.origin() {
        Origin::Mcp { tool, .. } => filter.allows(tool),
        Origin::Builtin | Origin::Agent(_) | Origin::Remote(_) => true,
    }
}
