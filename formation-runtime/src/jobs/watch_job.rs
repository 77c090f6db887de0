//! `watch_job`: an agent has a slow job elsewhere watched and is told when it is done.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_contract::ids::nanoid;
use muxi_llm::ToolSpec;
use muxi_memory::{NewTask, OpenMax, StoreError, TaskKind};
use muxi_orchestration::json_path::JsonPath;
use muxi_orchestration::watch::{Condition, Pace, WrittenCondition};
use muxi_tools::{Call, Danger, Origin, Outcome, Tool};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::watching::{self, Spec};
use super::{CHAIN_MAX, Served, chain, telling};
use crate::app::App;
use crate::events::EventKind;

#[derive(Debug)]
pub(super) struct WatchJob {
    spec: ToolSpec,
    served: Served,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    tool: String,
    #[serde(default)]
    args: Map<String, Value>,
    done_when: WrittenCondition,
    result: Option<String>,
    label: Option<String>,
}

const LABEL_CHARS_MAX: usize = 200;

// === impl WatchJob ===

impl WatchJob {
    pub(super) fn new(served: Served) -> Self {
        let spec = ToolSpec {
            name: "watch_job".to_owned(),
            description: "Watch a slow job that another tool has begun, such as a build or an export: \
                          the given tool is called from time to time until its answer says that the \
                          job is done. Returns at once; this conversation is told of the end by itself, \
                          so do not wait and do not ask again. Only tools that change nothing can be \
                          used for it."
                .to_owned(),
            parameters: Arc::new(json!({
                "type": "object",
                "properties": {
                    "tool": {
                        "type": "string",
                        "description": "The tool that tells the state of the job, as it is named here",
                    },
                    "args": {"type": "object", "description": "Its arguments"},
                    "done_when": {
                        "type": "object",
                        "description": "When the job is done: what stands at `path` in the tool's \
                                        answer is `equals`, or one of `in`. Name the states of a \
                                        failed job, too.",
                        "properties": {
                            "path": {"type": "string", "description": "Like `build.status`"},
                            "equals": {"description": "The value of a job that is done"},
                            "in": {"type": "array", "description": "Values of which one must be there"},
                        },
                        "required": ["path"],
                        "additionalProperties": false,
                    },
                    "result": {
                        "type": "string",
                        "description": "The part of the last answer to be told, as a path",
                    },
                    "label": {"type": "string", "description": "What people call the job"},
                },
                "required": ["tool", "done_when"],
                "additionalProperties": false,
            })),
        };
        Self { spec, served }
    }

    async fn watch(&self, call: Call) -> Result<Outcome, StoreError> {
        let refused = |message: String| Ok(Outcome::refused(message));
        let arguments: Arguments = match serde_json::from_value(call.arguments.clone().into()) {
            Ok(arguments) => arguments,
            Err(error) => return refused(format!("The arguments do not fit: {error}.")),
        };
        let Some((app, watch)) = self.served.app().and_then(|app| {
            let watch = app.jobs.watch?;
            Some((app, watch))
        }) else {
            return refused("The formation is stopping.".to_owned());
        };
        if let Err(fault) = Condition::try_from(&arguments.done_when) {
            return refused(format!("`done_when`: {fault}."));
        }
        if let Some(Err(fault)) = arguments.result.as_deref().map(str::parse::<JsonPath>) {
            return refused(format!("`result` {fault}."));
        }
        let Some(chain) = chain(&app, &call).await? else {
            return refused(too_far());
        };
        let pace = Pace {
            interval_ms: i64::from(watch.interval_seconds) * 1_000,
            timeout_ms: i64::from(watch.timeout_seconds) * 1_000,
            failures_max: watch.max_consecutive_failures,
        };
        let label = arguments.label.as_deref().unwrap_or(&arguments.tool);
        let label: String = label.chars().take(LABEL_CHARS_MAX).collect();
        let spec = Spec {
            agent: call.agent.clone(),
            tool: arguments.tool,
            args: arguments.args,
            done_when: arguments.done_when,
            result: arguments.result,
            pace,
            chain,
        };
        if let Err(fault) = watching::may_look(&app, &call.user, &call.session, &spec).await {
            return refused(format!("{fault}."));
        }
        self.begin(&app, call, &spec, label, watch.max_concurrent).await
    }

    async fn begin(
        &self,
        app: &App,
        call: Call,
        spec: &Spec,
        label: String,
        open_max: u32,
    ) -> Result<Outcome, StoreError> {
        let now_ms = app.clock.now_ms();
        let task = NewTask {
            id: format!("watch_{}", nanoid()),
            kind: TaskKind::Watch,
            session: call.session,
            request_id: call.request,
            label,
            spec_json: serde_json::to_string(spec).expect("our own types always serialise"),
            next_ms: now_ms,
            at_ms: now_ms,
        };
        let id = task.id.clone();
        let store = app.store.for_user(&call.user);
        if !store.create_task(task, OpenMax::OfUser(open_max)).await? {
            return Ok(Outcome::refused(format!(
                "{open_max} jobs of this user are watched already, which is as many as can be. Tell \
                 the user; one that is not needed any more can be cancelled."
            )));
        }
        if let Some(task) = store.task(&id).await? {
            let event = app.event(EventKind::BackgroundJobStarted, "a job is watched");
            app.events.tell(telling::about(event, &task));
        }
        app.jobs.look();
        let told = json!({
            "job_id": id,
            "status": "watching",
            "status_url": format!("/v1/jobs/{id}"),
        });
        Ok(Outcome { structured: Some(told.clone()), ..Outcome::told(told.to_string()) })
    }
}

impl Tool for WatchJob {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &Origin::Builtin
    }

    fn danger(&self) -> Danger {
        // The tool that is called for it is judged by itself, as if the conversation were tainted.
        Danger::ReadOnly
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Outcome> {
        let watching = async move {
            self.watch(call).await.unwrap_or_else(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "a watch was not kept");
                Outcome::refused("The watch could not be written down; try again later.")
            })
        };
        watching.boxed()
    }
}

/// Why work that leads to work that leads to work does not go on for ever.
pub(super) fn too_far() -> String {
    format!(
        "{CHAIN_MAX} background jobs in a row have led to one another without a word of the user. Ask \
         the user whether it is to go on."
    )
}
