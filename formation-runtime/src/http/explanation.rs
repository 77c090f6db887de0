//! Why a request went as it did, from what was written down while it was worked on.

use axum::extract::State;
use muxi_contract::chat::Usage;
use muxi_contract::formation::explanation::{
    Decision as DecisionView, Explanation, ModelCall as CallView, TaskOutcome, ToolCalled,
};
use muxi_memory::{Decision, ModelCall, RequestStatus};

use super::answer::Answer;
use super::auth::Caller;
use super::error::Problem;
use super::path::Id;
use super::requests::{self, Found};
use super::users::time;
use crate::app::App;
use crate::conversation::trace::{TOOL, TOOL_BEGUN};
use crate::conversation::waiting::PLAN_PART;
use crate::usage::money;

pub(crate) async fn get(
    caller: Caller,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let data = match requests::find(&app, &caller, &id).await? {
        // Nothing is decided of one that waits for its session.
        Found::Waiting { id, .. } => Explanation {
            request_id: id,
            status: RequestStatus::Pending.as_str().to_owned(),
            agent_id: None,
            decisions: Vec::new(),
            tools_called: Vec::new(),
            model_calls: Vec::new(),
            usage: sum(&[]),
            tasks: Vec::new(),
            went_on_in: Vec::new(),
        },
        Found::Stored(request) => {
            let store = app.store.for_user(&request.user);
            let calls = store.calls_of(&request.id, request.created_ms).await?;
            let (tools, decisions): (Vec<_>, Vec<_>) =
                store.decisions(request.seq).await?.into_iter().partition(|it| it.step == TOOL);
            let kept = store.task_results(request.seq).await?.into_iter();
            let tasks = kept.filter(|it| it.task != PLAN_PART).map(|it| TaskOutcome {
                id: it.task,
                status: it.status.as_str().to_owned(),
                at: time(it.at_ms),
            });
            Explanation {
                status: request.status.as_str().to_owned(),
                agent_id: request.agent,
                decisions: decisions.into_iter().map(decided).collect(),
                tools_called: ended_once(tools),
                usage: sum(&calls),
                model_calls: calls.into_iter().map(call).collect(),
                tasks: tasks.collect(),
                went_on_in: store.went_on_in(request.seq).await?,
                request_id: request.id,
            }
        }
    };
    Ok(Answer::new("request_explanation", "request.explained", &data))
}

// === private helpers ===

fn decided(decision: Decision) -> DecisionView {
    DecisionView {
        detail: decision.detail_json.and_then(|it| serde_json::from_str(&it).ok()),
        step: decision.step,
        choice: decision.choice,
        reason: decision.reason,
        at: time(decision.at_ms),
    }
}

/// Of a call that was written down before it was made only its end, if that is there.
fn ended_once(tools: Vec<Decision>) -> Vec<ToolCalled> {
    let is_begun = tools.iter().map(|it| it.reason == TOOL_BEGUN).collect::<Vec<_>>();
    let called: Vec<ToolCalled> = tools.into_iter().map(called).collect();
    let call = |called: &ToolCalled| called.detail.as_ref()?.get("call").cloned();
    let ended = called.iter().zip(&is_begun).filter(|(_, begun)| !**begun);
    let ended: Vec<_> = ended.filter_map(|(it, _)| call(it)).collect();
    let shown = called.into_iter().zip(is_begun);
    let shown =
        shown.filter(|(it, begun)| !begun || call(it).is_none_or(|it| !ended.contains(&it)));
    shown.map(|(it, _)| it).collect()
}

fn called(decision: Decision) -> ToolCalled {
    ToolCalled {
        detail: decision.detail_json.and_then(|it| serde_json::from_str(&it).ok()),
        tool: decision.choice,
        outcome: decision.reason,
        at: time(decision.at_ms),
    }
}

fn call(call: ModelCall) -> CallView {
    CallView {
        model: call.model,
        agent_id: call.agent,
        prompt_tokens: call.prompt_tokens,
        completion_tokens: call.completion_tokens,
        cost: call.cost_nano.map(money),
        is_estimated: call.is_estimated,
        at: time(call.at_ms),
    }
}

fn sum(calls: &[ModelCall]) -> Usage {
    let total = |tokens: fn(&ModelCall) -> u64| calls.iter().map(tokens).sum::<u64>();
    let prompt_tokens = total(|it| it.prompt_tokens);
    let completion_tokens = total(|it| it.completion_tokens);
    Usage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
}
