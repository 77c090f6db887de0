//! Other agents: what they read of the formation, and how they call it.

use muxi_contract::envelope::Failure;

/// What the formation is to other agents
///
/// The agent card of the A2A protocol, in the words of the versions 1.0 and 0.3; no envelope. It says how callers
/// prove who they are, so no key is asked for. `RESOURCE_NOT_FOUND` without `a2a.inbound` in the manifest.
#[utoipa::path(get, path = "/.well-known/agent-card.json", tag = "agents", operation_id = "get_agent_card",
    responses(
        (status = 200, description = "The card", body = serde_json::Value),
        (status = 404, description = "`RESOURCE_NOT_FOUND`: no other agent may call", body = Failure),
    ))]
pub(super) fn card() {}

/// The same where older agents look for it
#[utoipa::path(get, path = "/.well-known/agent.json", tag = "agents", operation_id = "get_older_agent_card",
    responses(
        (status = 200, description = "The card", body = serde_json::Value),
        (status = 404, description = "`RESOURCE_NOT_FOUND`: no other agent may call", body = Failure),
    ))]
pub(super) fn older_card() {}

/// Calls of other agents
///
/// JSON-RPC 2.0 of the A2A protocol. Version 1.0: `SendMessage`, `SendStreamingMessage`, `GetTask`, `CancelTask`,
/// `SubscribeToTask`; version 0.3: `message/send`, `message/stream`, `tasks/get`, `tasks/cancel`,
/// `tasks/resubscribe`. A task is a request and a context a session of this API, kept for the caller alone; tasks go
/// on when their callers leave. Failures of a call are answered with 200 and the protocol's own numbers. Callers
/// prove who they are as the agent card says; what their calls say is treated as the text of somebody elsewhere.
#[utoipa::path(post, path = "/a2a", tag = "agents", operation_id = "call_agent",
    request_body(content = serde_json::Value, description = "One call of JSON-RPC"),
    responses(
        (status = 200, description = "The answer, or the events of a stream",
            content((serde_json::Value = "application/json"), (String = "text/event-stream"))),
        (status = 401, description = "`UNAUTHORIZED`: the call does not prove who makes it", body = Failure),
        (status = 403, description = "`FORBIDDEN`: not from this address", body = Failure),
        (status = 404, description = "`RESOURCE_NOT_FOUND`: no other agent may call", body = Failure),
        (status = 408, description = "`TIMEOUT`: the body did not arrive in time", body = Failure),
        (status = 413, description = "`PAYLOAD_TOO_LARGE`", body = Failure),
        (status = 503, description = "`SERVICE_UNAVAILABLE`: in a moment perhaps", body = Failure),
    ))]
pub(super) fn call() {}
