//! Triggers.

use muxi_contract::UserId;
use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::triggers::{
    Trigger, TriggerAccepted, TriggerCompleted, TriggerFiring, TriggerList,
};
use utoipa::IntoParams;

use super::parameters::Repeatable;

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
struct NamedTrigger {
    /// The trigger's name
    #[param(pattern = "^[0-9A-Za-z_-]+$", example = "new-issue")]
    name: String,
}

/// The triggers' names
#[utoipa::path(get, path = "/v1/triggers", tag = "triggers", operation_id = "list_triggers",
    security(("client" = [])),
    extensions(("x-answer" = json!("list list.retrieved"))),
    responses((status = 200, description = "By name", body = Envelope<TriggerList>)))]
pub(super) fn list() {}

/// One trigger
#[utoipa::path(get, path = "/v1/triggers/{name}", tag = "triggers", operation_id = "get_trigger",
    security(("client" = [])), params(NamedTrigger),
    extensions(("x-answer" = json!("trigger trigger.retrieved"))),
    responses((status = 200, description = "Its text, and the data that it needs", body = Envelope<Trigger>)))]
pub(super) fn get() {}

/// Fire a trigger
///
/// The data is filled into the trigger's text, and that is asked. What another system sends may be the
/// whole body, without `data` around it; `?async=` then says whether the answer comes later.
#[utoipa::path(post, path = "/v1/triggers/{name}", tag = "triggers", operation_id = "fire_trigger",
    security(("client" = [])),
    params(NamedTrigger, Repeatable,
        ("X-Muxi-User-ID" = Option<UserId>, Header, description = "On whose behalf it is asked; nobody's if it is left out",
            example = "alice"),
        ("async" = Option<bool>, Query, description = "Whether the answer comes later, as it does unless it is `false`")),
    request_body(content = TriggerFiring, content_type = "application/json"),
    extensions(("x-answer" = json!({
        "200": "request request.completed",
        "202": "request request.processing",
    }))),
    responses(
        (status = 200, description = "The answer", body = Envelope<TriggerCompleted>),
        (status = 202, description = "It is answered later", body = Envelope<TriggerAccepted>),
        (status = 400, description = "`PARSE_ERROR`, or `INVALID_REQUEST`: also if the data lacks what the text needs, with every \
                                      path of it in `error.data.missing`",
            body = Failure),
        (status = 429, description = "`BUDGET_EXCEEDED`: what may be spent on models is spent", body = Failure),
        (status = 499, description = "`CANCELLED`: somebody cancelled the request while its caller waited", body = Failure),
        (status = 502, description = "`LLM_ERROR`: the model's provider failed", body = Failure),
    ))]
pub(super) fn fire() {}
