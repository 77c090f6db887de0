//! The tables of `overlord`.

use super::Shape::{
    Bool, Literal, Map, Model, PlanApproval, Real, Text, Texts, Weights, Whole, Word,
};
use super::State::{Built, Inert, Removed, Stale, Unbuilt};
use super::models::MODEL_SETTINGS;
use super::values::routing_strategy;
use super::{Shape, Table};

pub(crate) static OVERLORD: Table = Table {
    required: &[],
    keys: &[
        ("soul", Built(Text)),
        ("llm", Built(Map(&OVERLORD_LLM))),
        ("caching", Built(Map(&CACHING))),
        ("response", Built(Map(&RESPONSE))),
        ("workflow", Built(Map(&WORKFLOW))),
        ("clarification", Built(Map(&CLARIFICATION))),
        ("persona", Stale("its name is `overlord.soul`")),
        ("routing", Stale("it is no longer part of the schema")),
        ("agent_selection", Stale("did you mean `overlord.workflow.routing_strategy`?")),
        ("complexity_threshold", Stale("did you mean `overlord.workflow.complexity_threshold`?")),
        ("auto_decomposition", Stale("did you mean `overlord.workflow.auto_decomposition`?")),
    ],
};

static OVERLORD_LLM: Table = Table {
    required: &[],
    keys: &[
        ("base", Built(Map(&OVERLORD_MODEL))),
        ("synthesis", Built(Map(&OVERLORD_MODEL))),
        ("max_extraction_tokens", Unbuilt),
        ("model", Removed("write `overlord.llm.base: {model: provider/model}`")),
        ("text", Stale("did you mean `overlord.llm.base`?")),
    ],
};

static OVERLORD_MODEL: Table = Table {
    required: &["model"],
    keys: &[
        ("model", Built(Model)),
        ("api_key", Built(Text)),
        ("settings", Built(Map(&MODEL_SETTINGS))),
    ],
};

static CACHING: Table =
    Table { required: &[], keys: &[("enabled", Built(Bool)), ("ttl", Built(SECONDS))] };

static RESPONSE: Table = Table {
    required: &[],
    keys: &[
        ("format", Built(Word { words: &["markdown", "text", "json"], unbuilt: &["html"] })),
        ("streaming", Built(Bool)),
        ("stream_tokens", Built(Bool)),
        ("progress", Built(Bool)),
        ("widgets", Built(Bool)),
        ("retry_async", Unbuilt),
    ],
};

static WORKFLOW: Table = Table {
    required: &[],
    keys: &[
        ("auto_decomposition", Built(Bool)),
        (
            "complexity_method",
            Built(Word { words: &["heuristic", "llm", "hybrid"], unbuilt: &["custom"] }),
        ),
        ("complexity_weights", Built(Weights(&WEIGHTS))),
        ("complexity_threshold", Built(SCORE)),
        ("plan_approval_threshold", Built(PlanApproval)),
        ("routing_strategy", Built(Literal(routing_strategy))),
        ("enable_agent_affinity", Built(Bool)),
        (
            "error_recovery",
            Built(Word {
                words: &[
                    "retry_with_backoff",
                    "fail_fast",
                    "retry_with_alternate",
                    "skip_and_continue",
                ],
                unbuilt: &["compensate", "manual_intervention"],
            }),
        ),
        ("retry", Built(Map(&RETRY))),
        ("timeouts", Built(Map(&TIMEOUTS))),
        ("max_timeout_seconds", Built(Whole { min: 1, max: 86_400 })),
        ("parallel_execution", Built(Bool)),
        ("max_parallel_tasks", Built(Whole { min: 1, max: 20 })),
        ("partial_results", Built(Bool)),
        ("replanning", Built(Map(&REPLANNING))),
        ("log_workflows", Stale("workflows are told in events, see `logging`")),
        ("min_tasks_for_parallel", Stale("did you mean `max_parallel_tasks`?")),
    ],
};

/// The third one is documented, and there is nothing that it could weigh.
static WEIGHTS: Table = Table {
    required: &[],
    keys: &[
        ("heuristic", Built(SHARE)),
        ("llm", Built(SHARE)),
        ("custom", Inert(Some("the other shares are used in proportion"))),
    ],
};

static RETRY: Table = Table {
    required: &[],
    keys: &[
        ("max_attempts", Built(Whole { min: 1, max: 10 })),
        ("initial_delay", Built(Real { min: 0.0, max: 3_600.0 })),
        ("max_delay", Built(Real { min: 0.0, max: 3_600.0 })),
        ("backoff_factor", Built(Real { min: 1.0, max: 10.0 })),
        ("retry_on_errors", Built(Texts)),
    ],
};

static TIMEOUTS: Table = Table {
    required: &[],
    keys: &[
        ("task_timeout", Built(Whole { min: 1, max: 86_400 })),
        ("workflow_timeout", Built(Whole { min: 1, max: 86_400 })),
        ("enable_adaptive_timeout", Unbuilt),
    ],
};

static REPLANNING: Table = Table {
    required: &[],
    keys: &[
        ("enabled", Built(Bool)),
        ("max_attempts", Built(Whole { min: 1, max: 10 })),
        ("plan_similarity_threshold", Built(SHARE)),
        ("preserve_successful_outputs", Built(Bool)),
        ("replan_timeout_seconds", Built(Whole { min: 1, max: 3_600 })),
        ("non_replannable_error_patterns", Built(Texts)),
    ],
};

static CLARIFICATION: Table = Table {
    required: &[],
    keys: &[
        ("style", Built(Word { words: &["conversational", "formal", "brief"], unbuilt: &[] })),
        ("max_rounds", Built(Map(&ROUNDS))),
        ("persist_learned_info", Unbuilt),
        ("enabled", Stale("rounds of 0 ask nothing: see `max_rounds`")),
        ("max_questions", Stale("did you mean `max_rounds`?")),
        ("question_style", Stale("did you mean `style`?")),
    ],
};

static ROUNDS: Table = Table {
    required: &[],
    keys: &[
        ("direct", Built(COUNT)),
        ("brainstorm", Built(COUNT)),
        ("planning", Built(COUNT)),
        ("execution", Built(COUNT)),
        ("other", Built(COUNT)),
    ],
};

const SECONDS: Shape = Whole { min: 0, max: 31_536_000 };
const SCORE: Shape = Real { min: 1.0, max: 10.0 };
const SHARE: Shape = Real { min: 0.0, max: 1.0 };
const COUNT: Shape = Whole { min: 0, max: 50 };
