//! Procedures and skills.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::procedures::{AgentSkillList, Skill, SkillList, Sop, SopList};

/// The procedures
#[utoipa::path(get, path = "/v1/sops", tag = "agents", operation_id = "list_sops",
    security(("client" = [])),
    extensions(("x-answer" = json!("sop_list sops.list"))),
    responses((status = 200, description = "By name", body = Envelope<SopList>)))]
pub(super) fn sops() {}

/// One procedure
#[utoipa::path(get, path = "/v1/sops/{name}", tag = "agents", operation_id = "get_sop",
    security(("client" = [])), params(("name" = String, Path, description = "The procedure's name")),
    extensions(("x-answer" = json!("sop sop.retrieved"))),
    responses(
        (status = 200, description = "It is there", body = Envelope<Sop>),
        (status = 404, description = "`SOP_NOT_FOUND`", body = Failure),
    ))]
pub(super) fn sop() {}

/// The skills
#[utoipa::path(get, path = "/v1/skills", tag = "agents", operation_id = "list_skills",
    security(("client" = [])),
    extensions(("x-answer" = json!("skill_list skills.list"))),
    responses((status = 200, description = "By name", body = Envelope<SkillList>)))]
pub(super) fn skills() {}

/// One skill
#[utoipa::path(get, path = "/v1/skills/{name}", tag = "agents", operation_id = "get_skill",
    security(("client" = [])), params(("name" = String, Path, description = "The skill's name")),
    extensions(("x-answer" = json!("skill skill.retrieved"))),
    responses((status = 200, description = "It is there", body = Envelope<Skill>)))]
pub(super) fn skill() {}

/// The skills of an agent
#[utoipa::path(get, path = "/v1/agents/{id}/skills", tag = "agents", operation_id = "list_agent_skills",
    security(("client" = [])), params(("id" = String, Path, description = "The agent's id")),
    extensions(("x-answer" = json!("skill_list agent.skills.list"))),
    responses((status = 200, description = "By name", body = Envelope<AgentSkillList>)))]
pub(super) fn skills_of_agent() {}
