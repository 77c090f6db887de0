//! `overlord`: what speaks for the formation, chooses agents and runs workflows.

use serde::{Deserialize, Deserializer, de};

use super::Model;

/// The soul is read with SOUL.md.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Overlord {
    pub llm: OverlordLlm,
    pub response: Response,
    pub workflow: Workflow,
    pub clarification: Clarification,
    /// Of decisions who answers.
    pub caching: RoutingCache,
}

/// What is absent comes from elsewhere, see [`Llm::choose_overlord`](super::Llm::choose_overlord).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct OverlordLlm {
    /// Routes, decomposes and delegates.
    pub base: Option<Box<Model>>,
    /// Writes the answer that the user reads.
    pub synthesis: Option<Box<Model>>,
}

/// What the overlord needs a model for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlordRole {
    Base,
    Synthesis,
}

/// How answers look, and what a stream of events tells besides its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a documented switch of its own")]
pub struct Response {
    pub format: ResponseFormat,
    /// Whether a request that does not say gets a stream.
    pub streaming: bool,
    /// The pieces of the answer.
    pub stream_tokens: bool,
    /// What is being done, and what the model thinks.
    pub progress: bool,
    /// Buttons and links beside an answer.
    pub widgets: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResponseFormat {
    #[default]
    Markdown,
    Text,
    Json,
}

/// When a request becomes a graph of tasks, and how that is worked through.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a documented switch of its own")]
pub struct Workflow {
    /// Off: one agent answers, always.
    pub auto_decomposition: bool,
    pub complexity_method: ComplexityMethod,
    /// Of the hybrid method.
    pub complexity_weights: ComplexityWeights,
    /// The score, from 1 to 10, from which a request becomes a workflow.
    pub complexity_threshold: f64,
    pub plan_approval_threshold: PlanApproval,
    pub routing_strategy: RoutingStrategy,
    /// Whether follow-ups stay with the agent of the turn before.
    pub enable_agent_affinity: bool,
    pub error_recovery: ErrorRecovery,
    pub retry: WorkflowRetry,
    pub timeouts: WorkflowTimeouts,
    /// Whatever else is set, nothing runs longer.
    pub max_timeout_seconds: u32,
    pub parallel_execution: bool,
    pub max_parallel_tasks: u32,
    /// Whether what was done is told when a task failed.
    pub partial_results: bool,
    pub replanning: Replanning,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComplexityMethod {
    #[default]
    Heuristic,
    Llm,
    Hybrid,
}

/// Shares of a hybrid score; their sum need not be 1, since a documented third share is not built.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default)]
pub struct ComplexityWeights {
    pub heuristic: f64,
    pub llm: f64,
}

/// When a plan waits for a yes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlanApproval {
    Never,
    Always,
    /// From this score on.
    At(f64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingStrategy {
    #[default]
    CapabilityBased,
}

/// What becomes of a task that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorRecovery {
    FailFast,
    #[default]
    RetryWithBackoff,
    RetryWithAlternate,
    SkipAndContinue,
}

/// The delay is `initial × factor ^ attempt`, and at most `max_delay`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct WorkflowRetry {
    pub max_attempts: u32,
    #[serde(rename = "initial_delay")]
    pub initial_delay_seconds: f64,
    #[serde(rename = "max_delay")]
    pub max_delay_seconds: f64,
    pub backoff_factor: f64,
    /// Kinds of errors; others are not tried again.
    pub retry_on_errors: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WorkflowTimeouts {
    #[serde(rename = "task_timeout")]
    pub task_seconds: u32,
    #[serde(rename = "workflow_timeout")]
    pub workflow_seconds: u32,
}

/// A second plan for what the first one did not reach.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Replanning {
    pub enabled: bool,
    pub max_attempts: u32,
    /// A plan that is more alike to the one before is not tried.
    pub plan_similarity_threshold: f64,
    pub preserve_successful_outputs: bool,
    pub replan_timeout_seconds: u32,
    /// Errors whose text holds one of these need a person, not another plan.
    pub non_replannable_error_patterns: Vec<String>,
}

/// What is asked back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Clarification {
    pub style: ClarificationStyle,
    pub max_rounds: ClarificationRounds,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClarificationStyle {
    #[default]
    Conversational,
    Formal,
    Brief,
}

/// After so many questions the formation goes ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClarificationRounds {
    pub direct: u32,
    pub brainstorm: u32,
    pub planning: u32,
    pub execution: u32,
    pub other: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoutingCache {
    pub enabled: bool,
    #[serde(rename = "ttl")]
    pub ttl_seconds: u32,
}

// === impl Response ===

impl Response {
    /// Whether an answer is told while it is made. A whole that is wrapped has no pieces.
    pub const fn streams_pieces(&self) -> bool {
        self.stream_tokens && !matches!(self.format, ResponseFormat::Json)
    }

    /// What a model is told of the form of its words.
    pub const fn instruction(&self) -> Option<&'static str> {
        match self.format {
            ResponseFormat::Text => Some("Answer in plain text, without Markdown."),
            ResponseFormat::Markdown | ResponseFormat::Json => None,
        }
    }
}

impl Default for Response {
    fn default() -> Self {
        Self {
            format: ResponseFormat::Markdown,
            streaming: false,
            stream_tokens: true,
            progress: true,
            widgets: true,
        }
    }
}

// === impl Workflow ===

impl Default for Workflow {
    fn default() -> Self {
        Self {
            auto_decomposition: true,
            complexity_method: ComplexityMethod::default(),
            complexity_weights: ComplexityWeights::default(),
            complexity_threshold: 7.0,
            plan_approval_threshold: PlanApproval::default(),
            routing_strategy: RoutingStrategy::default(),
            enable_agent_affinity: true,
            error_recovery: ErrorRecovery::default(),
            retry: WorkflowRetry::default(),
            timeouts: WorkflowTimeouts::default(),
            max_timeout_seconds: 7_200,
            parallel_execution: true,
            max_parallel_tasks: 5,
            partial_results: true,
            replanning: Replanning::default(),
        }
    }
}

// === impl ComplexityWeights ===

impl Default for ComplexityWeights {
    fn default() -> Self {
        Self { heuristic: 0.4, llm: 0.4 }
    }
}

// === impl PlanApproval ===

impl Default for PlanApproval {
    fn default() -> Self {
        Self::At(7.0)
    }
}

impl PlanApproval {
    /// Whether a plan of this score waits for a yes.
    pub fn asks(self, score: f64) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::At(threshold) => score >= threshold,
        }
    }
}

impl<'de> Deserialize<'de> for PlanApproval {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            Score(f64),
        }
        match Written::deserialize(from)? {
            Written::Score(score) => Ok(Self::At(score)),
            Written::Word(word) if word == "never" => Ok(Self::Never),
            Written::Word(word) if word == "always" => Ok(Self::Always),
            Written::Word(_) => Err(de::Error::custom("neither a score nor never nor always")),
        }
    }
}

// === impl WorkflowRetry ===

impl Default for WorkflowRetry {
    fn default() -> Self {
        let kinds = ["timeout", "rate_limit", "temporary_failure"];
        Self {
            max_attempts: 3,
            initial_delay_seconds: 1.0,
            max_delay_seconds: 60.0,
            backoff_factor: 2.0,
            retry_on_errors: kinds.map(str::to_owned).to_vec(),
        }
    }
}

// === impl WorkflowTimeouts ===

impl Default for WorkflowTimeouts {
    fn default() -> Self {
        Self { task_seconds: 300, workflow_seconds: 3_600 }
    }
}

// === impl Replanning ===

impl Default for Replanning {
    fn default() -> Self {
        let patterns = [
            "auth",
            "unauthorized",
            "forbidden",
            "permission",
            "credential",
            "configuration error",
            "invalid api key",
            "data corruption",
        ];
        Self {
            enabled: false,
            max_attempts: 3,
            plan_similarity_threshold: 0.7,
            preserve_successful_outputs: true,
            replan_timeout_seconds: 30,
            non_replannable_error_patterns: patterns.map(str::to_owned).to_vec(),
        }
    }
}

// === impl ClarificationRounds ===

impl Default for ClarificationRounds {
    fn default() -> Self {
        Self { direct: 3, brainstorm: 10, planning: 7, execution: 3, other: 3 }
    }
}

// === impl RoutingCache ===

impl Default for RoutingCache {
    fn default() -> Self {
        Self { enabled: true, ttl_seconds: 3_600 }
    }
}

// === impl ResponseFormat ===

impl ResponseFormat {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}
