//! `delegate_coding`: an agent hands work on code to a command-line agent and goes on.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_contract::UserId;
use muxi_contract::ids::nanoid;
use muxi_formation::Coding;
use muxi_formation::coding::SessionWay;
use muxi_llm::ToolSpec;
use muxi_memory::{NewTask, OpenMax, StoreError, TaskKind};
use muxi_tools::{Call, Danger, Origin, Outcome, Tool};
use serde::Deserialize;
use serde_json::json;

use super::coding::Spec;
use super::watch_job::too_far;
use super::{CodingJobs, Served, chain, telling};
use crate::app::{App, Parts};
use crate::events::EventKind;

#[derive(Debug)]
pub(super) struct DelegateCoding {
    spec: ToolSpec,
    served: Served,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    prompt: String,
    workdir: Option<String>,
    model: Option<String>,
    continue_job_id: Option<String>,
}

/// What one argument of a program may be long on every machine that we build for.
const PROMPT_BYTES_MAX: usize = 100 * 1024;
const MODEL_CHARS_MAX: usize = 128;
const LABEL_CHARS_MAX: usize = 120;
/// Tasks of a user that are looked through for one in the same place; more are never open.
const TASKS_LOOKED_AT: u32 = 1_000;

// === impl DelegateCoding ===

impl DelegateCoding {
    pub(super) fn new(coding: &Coding, served: Served) -> Self {
        let mut properties = json!({
            "prompt": {
                "type": "string",
                "description": "What is to be done, with everything that must be known for it: the \
                                coding agent sees neither this conversation nor its files, and starts \
                                in an empty folder. Say what it is to report.",
            },
            "workdir": {
                "type": "string",
                "enum": coding.workdirs,
                "description": "Where its folder is made; without it the first one",
            },
        });
        if !coding.adapter.args.model.is_empty() {
            properties["model"] = json!({
                "type": "string",
                "description": "A model by the coding agent's own name for it; only if the user asks",
            });
        }
        if coding.adapter.args.session != SessionWay::None {
            properties["continue_job_id"] = json!({
                "type": "string",
                "description": "An earlier coding job of this user that has ended, to go on with it",
            });
        }
        let spec = ToolSpec {
            name: "delegate_coding".to_owned(),
            description: "Hand work on code to a coding agent that can read, write and run things in a \
                          folder of its own. Returns at once with the id of the job; this conversation \
                          is told of the end by itself, so do not wait and do not ask again."
                .to_owned(),
            parameters: Arc::new(json!({
                "type": "object",
                "properties": properties,
                "required": ["prompt"],
                "additionalProperties": false,
            })),
        };
        Self { spec, served }
    }

    async fn delegate(&self, call: Call) -> Result<Outcome, StoreError> {
        let refused = |message: String| Ok(Outcome::refused(message));
        let arguments: Arguments = match serde_json::from_value(call.arguments.clone().into()) {
            Ok(arguments) => arguments,
            Err(error) => return refused(format!("The arguments do not fit: {error}.")),
        };
        let Some(app) = self.served.app() else {
            return refused("The formation is stopping.".to_owned());
        };
        let Some(coding) = &app.jobs.coding else {
            return refused("The formation has no coding agent.".to_owned());
        };
        if let Err(fault) = fits(&arguments, &coding.config) {
            return refused(fault);
        }
        let workdir = match place(&app, coding, &call.user, &arguments).await? {
            Ok(workdir) => workdir,
            Err(fault) => return refused(fault),
        };
        let Some(chain) = chain(&app, &call).await? else { return refused(too_far()) };
        let spec = Spec {
            agent: call.agent.clone(),
            prompt: prompt(arguments.prompt),
            model: arguments.model,
            workdir,
            continues: arguments.continue_job_id,
            chain,
        };
        begin(&app, coding, call, &spec).await
    }
}

impl Tool for DelegateCoding {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &Origin::Builtin
    }

    fn danger(&self) -> Danger {
        // What the coding agent does cannot be told from here.
        Danger::Unknown
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Outcome> {
        let delegating = async move {
            self.delegate(call).await.unwrap_or_else(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "a job was not kept");
                Outcome::refused("The job could not be written down; try again later.")
            })
        };
        delegating.boxed()
    }
}

// === private helpers ===

fn fits(arguments: &Arguments, coding: &Coding) -> Result<(), String> {
    let Arguments { prompt, model, continue_job_id, .. } = arguments;
    if prompt.trim().is_empty() || prompt.len() > PROMPT_BYTES_MAX || prompt.contains('\0') {
        return Err(format!("`prompt` must be a text of 1 to {PROMPT_BYTES_MAX} bytes."));
    }
    let name = &coding.adapter.name;
    if let Some(model) = model {
        if coding.adapter.args.model.is_empty() {
            return Err(format!("`{name}` takes no `model`; leave it out."));
        }
        let is_plain = |it: char| it.is_ascii_alphanumeric() || "._-:/@+".contains(it);
        let is_name = !model.is_empty() && !model.starts_with('-') && model.chars().all(is_plain);
        if !is_name || model.len() > MODEL_CHARS_MAX {
            return Err(format!("`model` must be a name of up to {MODEL_CHARS_MAX} characters."));
        }
    }
    if continue_job_id.is_some() && coding.adapter.args.session == SessionWay::None {
        return Err(format!("`{name}` keeps no sessions, so no job of it can be continued."));
    }
    Ok(())
}

/// What begins like an option would be read as one.
fn prompt(prompt: String) -> String {
    if prompt.starts_with('-') { format!(" {prompt}") } else { prompt }
}

/// The work folder, of the earlier job if this one goes on with it.
async fn place(
    app: &Parts,
    coding: &CodingJobs,
    user: &UserId,
    arguments: &Arguments,
) -> Result<Result<String, String>, StoreError> {
    let workdirs: Vec<&str> = coding.config.workdirs.iter().map(|it| it.as_str()).collect();
    let chosen = arguments.workdir.as_deref();
    if let Some(chosen) = chosen
        && !workdirs.contains(&chosen)
    {
        let known = workdirs.join("`, `");
        return Ok(Err(format!("`{chosen}` is no work folder of this formation; take `{known}`.")));
    }
    let Some(id) = &arguments.continue_job_id else {
        let chosen = chosen.or(workdirs.first().copied());
        return Ok(chosen.map(str::to_owned).ok_or_else(|| "There is no work folder.".to_owned()));
    };
    let store = app.store.for_user(user);
    let earlier = store.task(id).await?.filter(|task| task.kind == TaskKind::Code);
    let Some(earlier) = earlier else {
        return Ok(Err(format!("There is no coding job `{id}` of this user.")));
    };
    if earlier.ended_ms.is_none() {
        return Ok(Err(format!(
            "The job `{id}` is still at work; it can be continued when it has ended."
        )));
    }
    let Some(spec) = serde_json::from_str::<Spec>(&earlier.spec_json).ok() else {
        return Ok(Err(format!("The job `{id}` cannot be read by this version.")));
    };
    let kept = match app.jobs.journals.of(id).read() {
        Ok(kept) => kept.filter(|kept| kept.session.is_some()),
        Err(fault) => return Ok(Err(format!("The job `{id}` cannot be continued: {fault}."))),
    };
    let Some(kept) = kept else {
        return Ok(Err(format!("The job `{id}` left no session, so it cannot be continued.")));
    };
    if chosen.is_some_and(|chosen| chosen != spec.workdir) {
        let workdir = spec.workdir;
        return Ok(Err(format!("The job `{id}` works in `{workdir}`; leave `workdir` out.")));
    }
    // Two that write in one folder would undo each other's work.
    for task in store.tasks(TASKS_LOOKED_AT).await? {
        if task.kind != TaskKind::Code || task.ended_ms.is_some() {
            continue;
        }
        let goes_on =
            serde_json::from_str::<Spec>(&task.spec_json).ok().and_then(|it| it.continues);
        let folder = goes_on.and_then(|id| app.jobs.journals.of(&id).read().ok().flatten());
        if folder.is_some_and(|it| it.folder == kept.folder) {
            let other = task.id;
            return Ok(Err(format!("The job `{other}` goes on with `{id}` already.")));
        }
    }
    Ok(Ok(spec.workdir))
}

async fn begin(
    app: &App,
    coding: &CodingJobs,
    call: Call,
    spec: &Spec,
) -> Result<Outcome, StoreError> {
    let now_ms = app.clock.now_ms();
    let first_line = spec.prompt.trim().lines().next().unwrap_or_default();
    let task = NewTask {
        id: format!("code_{}", nanoid()),
        kind: TaskKind::Code,
        session: call.session,
        request_id: call.request,
        label: first_line.chars().take(LABEL_CHARS_MAX).collect(),
        spec_json: serde_json::to_string(spec).expect("our own types always serialise"),
        next_ms: now_ms,
        at_ms: now_ms,
    };
    let id = task.id.clone();
    let store = app.store.for_user(&call.user);
    let open_max = coding.config.max_concurrent;
    if !store.create_task(task, OpenMax::OfFormation(open_max)).await? {
        return Ok(Outcome::refused(format!(
            "{open_max} coding jobs are at work in this formation, which is as many as can be. Nothing \
             was begun: tell the user, and try again when one has ended."
        )));
    }
    if let Some(task) = store.task(&id).await? {
        let event = app.event(EventKind::BackgroundJobStarted, "a coding job was started");
        app.events.tell(telling::about(event, &task));
    }
    app.jobs.look();
    let told = json!({"job_id": id, "status": "started"});
    Ok(Outcome { structured: Some(told.clone()), ..Outcome::told(told.to_string()) })
}
