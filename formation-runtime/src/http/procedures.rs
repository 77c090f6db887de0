//! Procedures and skills, as the bundle has them.

use std::collections::BTreeMap;

use axum::extract::State;
use muxi_contract::ErrorCode;
use muxi_contract::formation::procedures::{
    AgentSkillList, Skill as SkillView, SkillList, SkillSummary, Sop, SopList, SopMetadata,
    SopStep, SopSummary,
};
use muxi_formation::{Procedure, Skill, SkillScope};

use super::answer::Answer;
use super::auth::Client;
use super::error::Problem;
use super::path::Id;
use crate::app::{App, Parts};

pub(crate) async fn sops(_: Client, State(app): State<App>) -> Answer {
    let summary = |procedure: &Procedure| SopSummary {
        name: procedure.id.clone(),
        title: procedure.name.clone(),
        kind: procedure.mode.as_str().to_owned(),
        steps: procedure.steps.len(),
        agents_used: agents_used(procedure),
    };
    let sops: Vec<SopSummary> = app.procedures.iter().map(summary).collect();
    Answer::new("sop_list", "sops.list", &SopList { count: sops.len(), sops })
}

pub(crate) async fn sop(
    _: Client,
    State(app): State<App>,
    Id(name): Id,
) -> Result<Answer, Problem> {
    let procedure = app.procedures.iter().find(|it| it.id == name).ok_or_else(|| {
        Problem::new(ErrorCode::SopNotFound, format!("procedure '{name}' was not found"))
    })?;
    let files = procedure.steps.iter().flat_map(|step| step.files.iter().cloned());
    let data = Sop {
        name: procedure.id.clone(),
        title: procedure.name.clone(),
        kind: procedure.mode.as_str().to_owned(),
        content: procedure.body.clone(),
        metadata: SopMetadata {
            description: procedure.description.clone(),
            tags: procedure.tags.clone(),
            bypass_approval: procedure.bypass_approval,
            synthesis: procedure.synthesis,
        },
        references: files.collect(),
        agents_used: agents_used(procedure),
        steps: procedure
            .steps
            .iter()
            .map(|step| SopStep {
                number: step.number,
                title: step.title.clone(),
                text: step.text.clone(),
                agent: step.agent.clone(),
                is_parallel: step.is_parallel,
                is_critical: step.is_critical,
            })
            .collect(),
    };
    Ok(Answer::new("sop", "sop.retrieved", &data))
}

pub(crate) async fn skills(_: Client, State(app): State<App>) -> Answer {
    let skills = summaries(&app, |_| true);
    Answer::new("skill_list", "skills.list", &SkillList { count: skills.len(), skills })
}

/// One that several agents have is the same for all of them, unless it is an agent's own.
pub(crate) async fn skill(
    _: Client,
    State(app): State<App>,
    Id(name): Id,
) -> Result<Answer, Problem> {
    let mut found = app.skills.iter().filter(|it| it.name == name).collect::<Vec<_>>();
    found.sort_by_key(|it| it.scope != SkillScope::Formation);
    let skill = found.first().ok_or_else(|| {
        Problem::new(ErrorCode::ResourceNotFound, format!("skill '{name}' was not found"))
    })?;
    let data = SkillView {
        name: skill.name.clone(),
        description: skill.description.clone(),
        scope: scope(skill),
        license: skill.license.clone(),
        compatibility: skill.compatibility.clone(),
        allowed_tools: skill.allowed_tools.clone(),
        metadata: skill.metadata.clone(),
        resources: skill.resources.clone(),
        scripts: skill.scripts.clone(),
    };
    Ok(Answer::new("skill", "skill.retrieved", &data))
}

pub(crate) async fn skills_of_agent(
    _: Client,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let agent = app.agents.find(&id).ok_or_else(|| Problem::agent_not_found(&id))?;
    let agent_id = agent.config.id.clone();
    let skills = summaries(&app, |scope| match scope {
        SkillScope::Formation => true,
        SkillScope::Agent(owner) => *owner == agent_id,
    });
    let data = AgentSkillList { count: skills.len(), skills, agent_id };
    Ok(Answer::new("skill_list", "agent.skills.list", &data))
}

// === private helpers ===

/// In the order of the steps, each once.
fn agents_used(procedure: &Procedure) -> Vec<String> {
    let mut agents: Vec<String> = Vec::new();
    for agent in procedure.steps.iter().filter_map(|step| step.agent.as_ref()) {
        if !agents.contains(agent) {
            agents.push(agent.clone());
        }
    }
    agents
}

/// By name and scope, each once.
fn summaries(app: &Parts, takes: impl Fn(&SkillScope) -> bool) -> Vec<SkillSummary> {
    let by_name: BTreeMap<_, _> = app
        .skills
        .iter()
        .filter(|skill| takes(&skill.scope))
        .map(|skill| ((skill.name.clone(), scope(skill)), skill))
        .collect();
    by_name
        .into_iter()
        .map(|((name, scope), skill)| SkillSummary {
            name,
            description: skill.description.clone(),
            scope,
        })
        .collect()
}

fn scope(skill: &Skill) -> String {
    match &skill.scope {
        SkillScope::Formation => "formation".to_owned(),
        SkillScope::Agent(agent) => agent.clone(),
    }
}
