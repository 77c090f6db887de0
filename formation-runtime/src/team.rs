//! Who answers, and with what: the agents, the procedures, and the tools that each of them has.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use muxi_formation::Loaded;
use muxi_formation::manifest::{
    ApprovalAction, Approvals, Clarification, ClarificationStyle, ComplexityMethod, ErrorRecovery,
    Mcp, TaintedAction, Workflow,
};
use muxi_orchestration::approval::{Action, Pattern, Policy, Rule};
use muxi_orchestration::clarification;
use muxi_orchestration::complexity::{self, Method, Weights};
use muxi_orchestration::routing::{Cache, Candidate};
use muxi_orchestration::workflow::{self, FailureKind, Recovery, Replanning, Retry};
use muxi_tools::{Tool, mcp};

use crate::agents::{Agent, Agents};
use crate::procedures::Procedures;
use crate::toolbox::{Caps, Toolbox};
use crate::tools::{Caller, Tools};

/// What all turns of the formation share.
#[derive(Debug)]
pub struct Team {
    pub agents: Agents,
    pub procedures: Procedures,
    pub workflow: Workflow,
    /// How often the user may be asked back.
    pub clarification: clarification::Limits,
    /// How the model that asks back puts its questions.
    pub question_style: &'static str,
    /// What a model is told of the form of its words.
    pub form: Option<&'static str>,
    /// Who was chosen for the same message before.
    pub routing: Mutex<Cache>,
    /// How long a session waits for an answer.
    pub pending_ms: i64,
    pub tools: Tools,
    policy: Arc<Policy>,
    caps: Caps,
    /// Whether a model is shown only the tools that seem to matter.
    shows_relevant_tools: bool,
}

/// What a team is made of.
#[derive(Debug)]
pub struct Parts {
    pub agents: Agents,
    pub procedures: Procedures,
    pub overlord: muxi_formation::manifest::Overlord,
    pub approvals: Approvals,
    pub mcp: Mcp,
    pub tool_output_bytes: usize,
    pub tools: Tools,
}

/// More tools than this are shown by relevance only.
const TOOLS_SHOWN: usize = 24;
/// So many decisions who answers are remembered.
const ROUTES_REMEMBERED: usize = 1_000;

// === impl Team ===

impl Team {
    /// The bundle's team.
    pub fn of(loaded: &Loaded, agents: Agents, tools: Tools) -> Result<Self, String> {
        let manifest = &loaded.manifest;
        Self::new(Parts {
            agents,
            procedures: Procedures::new(loaded.procedures.clone()),
            overlord: manifest.overlord.clone(),
            approvals: manifest.approvals.clone(),
            mcp: manifest.mcp.clone(),
            tool_output_bytes: manifest.input_limits.max_tool_output_size,
            tools,
        })
    }

    pub fn new(parts: Parts) -> Result<Self, String> {
        let Parts { agents, procedures, overlord, approvals, mcp, tool_output_bytes, tools } =
            parts;
        let caching = overlord.caching;
        let remembered = if caching.enabled { ROUTES_REMEMBERED } else { 0 };
        let ttl_ms = u64::from(caching.ttl_seconds) * 1_000;
        Ok(Self {
            agents,
            procedures,
            form: overlord.response.instruction(),
            workflow: overlord.workflow,
            clarification: rounds(&overlord.clarification),
            question_style: question_style(overlord.clarification.style),
            routing: Mutex::new(Cache::new(remembered, ttl_ms)),
            pending_ms: i64::from(approvals.expires_minutes) * 60_000,
            policy: Arc::new(policy(&approvals)?),
            caps: Caps {
                rounds: mcp.max_tool_iterations,
                calls: mcp.max_tool_calls,
                repeated_errors: mcp.max_repeated_errors,
                total: Duration::from_secs(u64::from(mcp.max_timeout_seconds)),
                output_bytes: tool_output_bytes,
            },
            shows_relevant_tools: mcp.enhance_user_prompts,
            tools,
        })
    }

    /// The agents as those who choose among them see them.
    pub fn candidates(&self) -> Vec<Candidate> {
        let candidate = |agent: &Arc<Agent>| {
            let config = &agent.config;
            let own = &config.specialization;
            let domains = [&own.domain, &own.subdomain, &config.specialization_domain];
            let keywords = own.keywords.iter().chain(&config.specialization_keywords);
            Candidate {
                id: config.id.clone(),
                name: config.name.clone().unwrap_or_default(),
                description: config.description.clone(),
                role: config.role.clone().unwrap_or_default(),
                specialties: config
                    .specialties
                    .iter()
                    .cloned()
                    .chain(domains.into_iter().flatten().cloned())
                    .collect(),
                keywords: keywords.cloned().collect(),
                tools: self.tools.names_of(&config.id),
            }
        };
        self.agents.all().iter().map(candidate).collect()
    }

    /// What the agent may use to answer this message.
    pub async fn toolbox(&self, agent: &Arc<Agent>, caller: &Caller, message: &str) -> Toolbox {
        let (tools, faults) = self.tools.of(agent, caller).await;
        if tools.is_empty() {
            let policy = Arc::clone(&self.policy);
            return Toolbox::new(tools, &[], policy, self.caps, faults, None);
        }
        let shown = self.shown(&tools, message);
        let catalogue = self.tools.catalogue(&agent.config.id);
        let allowed = self.tools.allowed_by_skills(&agent.config.id);
        Toolbox::new(tools, &shown, Arc::clone(&self.policy), self.caps, faults, catalogue)
            .restricted_by(allowed)
    }

    /// How big a request is, and why; `told` is what the routing call said of it.
    pub fn complexity(
        &self,
        message: &str,
        candidates: &[Candidate],
        told: Option<f64>,
    ) -> (f64, String) {
        let method = match self.workflow.complexity_method {
            ComplexityMethod::Heuristic => Method::Heuristic,
            ComplexityMethod::Llm => Method::Llm,
            ComplexityMethod::Hybrid => Method::Hybrid,
        };
        let own = self.workflow.complexity_weights;
        let weights = Weights { heuristic: own.heuristic, llm: own.llm };
        let heuristic = complexity::score(message, candidates);
        let score = complexity::combine(method, weights, &heuristic, told);
        (score.value, score.because)
    }

    /// How a plan is worked through. What a procedure says is not planned anew.
    pub fn workflow_policy(&self, is_procedure: bool) -> workflow::Policy {
        let config = &self.workflow;
        let ms = |seconds: u32| u64::from(seconds) * 1_000;
        let delay_ms = |seconds: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "bounded by the manifest's check"
            )]
            let ms = (seconds * 1_000.0) as u64;
            ms
        };
        let replanning = config.replanning.enabled && !is_procedure;
        workflow::Policy {
            max_parallel_tasks: if config.parallel_execution {
                config.max_parallel_tasks as usize
            } else {
                1
            },
            recovery: match config.error_recovery {
                ErrorRecovery::FailFast => Recovery::FailFast,
                ErrorRecovery::RetryWithBackoff => Recovery::RetryWithBackoff,
                ErrorRecovery::RetryWithAlternate => Recovery::RetryWithAlternate,
                ErrorRecovery::SkipAndContinue => Recovery::SkipAndContinue,
            },
            retry: Retry {
                max_attempts: config.retry.max_attempts,
                initial_delay_ms: delay_ms(config.retry.initial_delay_seconds),
                max_delay_ms: delay_ms(config.retry.max_delay_seconds),
                backoff_factor: config.retry.backoff_factor,
                retry_on: config
                    .retry
                    .retry_on_errors
                    .iter()
                    .filter_map(|word| match word.as_str() {
                        "timeout" => Some(FailureKind::Timeout),
                        "rate_limit" => Some(FailureKind::RateLimit),
                        "temporary_failure" => Some(FailureKind::TemporaryFailure),
                        _ => None,
                    })
                    .collect(),
            },
            task_timeout_ms: ms(config.timeouts.task_seconds),
            workflow_timeout_ms: ms(config.timeouts.workflow_seconds),
            ceiling_ms: ms(config.max_timeout_seconds),
            partial_results: config.partial_results,
            replanning: replanning.then(|| Replanning {
                max_attempts: config.replanning.max_attempts,
                plan_similarity_threshold: config.replanning.plan_similarity_threshold,
                preserve_successful_outputs: config.replanning.preserve_successful_outputs,
                timeout_ms: ms(config.replanning.replan_timeout_seconds),
                non_replannable: config.replanning.non_replannable_error_patterns.clone(),
            }),
            ..workflow::Policy::default()
        }
    }

    fn shown(&self, tools: &[Arc<dyn Tool>], message: &str) -> Vec<String> {
        let max = if self.shows_relevant_tools { TOOLS_SHOWN } else { usize::MAX };
        let chosen = mcp::shortlist(tools, message, max);
        chosen.into_iter().map(|tool| tool.spec().name.clone()).collect()
    }
}

// === private helpers ===

fn policy(approvals: &Approvals) -> Result<Policy, String> {
    let pattern = |text: &str| Pattern::new(text).map_err(|fault| fault.to_string());
    let rules = approvals.rules.iter().map(|rule| {
        let when = rule.when.iter().map(|(name, text)| Ok((name.clone(), pattern(text)?)));
        Ok(Rule {
            tool: pattern(&rule.tool)?,
            when: when.collect::<Result<_, String>>()?,
            action: action(rule.action),
        })
    });
    Ok(Policy {
        rules: rules.collect::<Result<_, String>>()?,
        tainted: match approvals.tainted {
            TaintedAction::Ask => Action::Ask,
            TaintedAction::Allow => Action::Allow,
        },
        destructive: action(approvals.destructive),
        trusted_servers: approvals.trusted_servers.clone(),
    })
}

const fn question_style(style: ClarificationStyle) -> &'static str {
    match style {
        ClarificationStyle::Conversational => " as a friendly person would",
        ClarificationStyle::Formal => " in formal, polite words",
        ClarificationStyle::Brief => " in as few words as possible",
    }
}

fn rounds(configured: &Clarification) -> clarification::Limits {
    let rounds = configured.max_rounds;
    clarification::Limits {
        direct: rounds.direct,
        brainstorm: rounds.brainstorm,
        planning: rounds.planning,
        execution: rounds.execution,
        other: rounds.other,
        ..clarification::Limits::default()
    }
}

const fn action(action: ApprovalAction) -> Action {
    match action {
        ApprovalAction::Allow => Action::Allow,
        ApprovalAction::Ask => Action::Ask,
        ApprovalAction::Deny => Action::Deny,
    }
}
