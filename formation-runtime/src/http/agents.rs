//! The formation's agents.

use axum::extract::State;
use muxi_contract::formation::agents::AgentList;

use super::answer::Answer;
use super::auth::Admin;
use super::error::Problem;
use super::path::Id;
use crate::app::App;

pub(crate) async fn list(_: Admin, State(app): State<App>) -> Answer {
    let agents: Vec<_> = app.agents.all().iter().map(|agent| agent.shown()).collect();
    Answer::new("agent_list", "agent.list", &AgentList { count: agents.len(), agents })
}

pub(crate) async fn get(_: Admin, State(app): State<App>, Id(id): Id) -> Result<Answer, Problem> {
    let agent = app.agents.find(&id).ok_or_else(|| Problem::agent_not_found(&id))?;
    Ok(Answer::new("agent", "agent.retrieved", &agent.shown()))
}
