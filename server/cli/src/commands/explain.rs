//! `muxi explain`: why an answer came out as it did.

use clap::Args;
use serde_json::{Value, json};

use crate::client::formation::{Formation, Key, UserArgs};
use crate::client::segment;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::text_of;
use crate::terminal::table;

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Request, as `muxi requests list` names it [default: the last one]
    request: Option<String>,
    #[command(flatten)]
    user: UserArgs,
}

// === impl ExplainArgs ===

impl ExplainArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let (formation, key) = self.user.open_wide(context)?;
        let request = match self.request {
            Some(request) => request,
            None => last(&formation, key).await?,
        };
        let path = format!("/requests/{}/explanation", segment(&request));
        let told = formation.get(key, &path).await;
        let told =
            told.map_err(|it| it.mend_missing("muxi requests list   shows those that are kept"))?;
        Ok(context.show(&told, story))
    }
}

// === private helpers ===

async fn last(formation: &Formation, key: Key) -> Result<String, Fault> {
    let listed = formation.get(key, "/requests?limit=1").await?;
    let request = table::items(&listed, "requests").first().map(|it| &it["request_id"]);
    request
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| Fault::not_found("nothing was asked yet").mend("muxi chat \"Hello!\""))
}

fn story(told: &Value) -> String {
    let facts = [
        ("Request", "request_id"),
        ("Status", "status"),
        ("Answered by", "agent_id"),
        ("Went on in", "went_on_in"),
        ("Tokens", "usage.total_tokens"),
    ];
    let mut text = table::facts(told, &facts);
    let steps = steps(told);
    if steps.is_empty() {
        text.push_str("\nNothing was decided or called in it.\n");
        return text;
    }
    text.push('\n');
    text.push_str(&table::list(
        &steps,
        &[("TIME", "at|time"), ("WHAT", "what"), ("HOW", "how")],
        "",
    ));
    text
}

/// What was done, and how.
type Told = fn(&Value) -> (String, String);

/// Decisions, calls and tasks in the order in which they came about.
fn steps(told: &Value) -> Vec<Value> {
    let kinds: [(&str, Told); 4] = [
        ("decisions", decision),
        ("tools_called", tool),
        ("tasks", task),
        ("model_calls", model_call),
    ];
    let mut steps = Vec::new();
    for (name, tell) in kinds {
        for step in table::items(told, name) {
            let (what, how) = tell(step);
            steps.push(json!({"at": step["at"], "what": what, "how": how}));
        }
    }
    // Tools and tasks tell when they ended, and calls of models when they began: within one moment the
    // call comes last.
    // Not as text: fractions of a second have as many digits as they need.
    steps.sort_by_cached_key(|it| {
        it["at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok())
    });
    steps
}

fn decision(decision: &Value) -> (String, String) {
    let what =
        format!("decided the {}: {}", text_of(&decision["step"]), text_of(&decision["choice"]));
    (what, text_of(&decision["reason"]))
}

fn model_call(call: &Value) -> (String, String) {
    let about = if call["is_estimated"] == true { "about " } else { "" };
    let cost = call["cost"].as_f64().map_or_else(String::new, |it| format!(", cost {it:.4}"));
    let how = format!(
        "for {}, {about}{} + {} tokens{cost}",
        text_of(&call["agent_id"]),
        call["prompt_tokens"],
        call["completion_tokens"],
    );
    (format!("called the model {}", text_of(&call["model"])), how)
}

fn tool(called: &Value) -> (String, String) {
    let detail = &called["detail"];
    let took = detail["took_ms"].as_u64().map_or_else(String::new, |it| format!(", {it} ms"));
    let by = detail["agent"].as_str().map_or_else(String::new, |it| format!(", for {it}"));
    (
        format!("used the tool {}", text_of(&called["tool"])),
        format!("{}{by}{took}", text_of(&called["outcome"])),
    )
}

fn task(task: &Value) -> (String, String) {
    (format!("did the task {}", text_of(&task["id"])), text_of(&task["status"]))
}
