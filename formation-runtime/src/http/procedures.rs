//! Procedures and skills. A bundle with any of them is refused, so that none is ever there.

use axum::extract::State;
use muxi_contract::ErrorCode;
use muxi_contract::formation::procedures::{AgentSkillList, SkillList, SopList};

use super::answer::Answer;
use super::auth::Client;
use super::error::Problem;
use super::path::Id;
use crate::app::App;

pub(crate) async fn sops(_: Client) -> Answer {
    Answer::new("sop_list", "sops.list", &SopList { sops: Vec::new(), count: 0 })
}

pub(crate) async fn sop(_: Client, Id(name): Id) -> Problem {
    Problem::new(ErrorCode::SopNotFound, format!("procedure '{name}' was not found"))
}

pub(crate) async fn skills(_: Client) -> Answer {
    Answer::new("skill_list", "skills.list", &SkillList { skills: Vec::new(), count: 0 })
}

pub(crate) async fn skill(_: Client, Id(name): Id) -> Problem {
    Problem::new(ErrorCode::ResourceNotFound, format!("skill '{name}' was not found"))
}

pub(crate) async fn skills_of_agent(
    _: Client,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let agent = app.agents.find(&id).ok_or_else(|| Problem::agent_not_found(&id))?;
    let agent_id = agent.config.id.clone();
    let data = AgentSkillList { skills: Vec::new(), agent_id, count: 0 };
    Ok(Answer::new("skill_list", "agent.skills.list", &data))
}
