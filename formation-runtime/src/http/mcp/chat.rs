//! `chat` as a tool: a turn that tells how far it is, and ends with the call.

use std::time::{Duration, Instant};

use muxi_contract::{RequestId, SessionId, UserId};
use muxi_memory::{RequestKind, RequestMode};
use rmcp::model::{
    CallToolResult, ContentBlock, ErrorData, JsonObject, ProgressNotificationParam, ProgressToken,
};
use rmcp::service::{Peer, RequestContext, RoleServer};
use serde::Deserialize;
use serde_json::{Value, json};

use super::operations::USER;
use crate::app::App;
use crate::conversation::{Answer, Update};
use crate::http::asking::Asking;
use crate::http::auth::User;
use crate::http::chat::ended;
use crate::http::error::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    message: String,
    session_id: Option<String>,
    agent_id: Option<String>,
}

/// Tells the caller how far the turn is, not more often than anybody reads.
struct Progress {
    peer: Peer<RoleServer>,
    token: Option<ProgressToken>,
    steps: u32,
    said_chars: usize,
    last_of_text: Option<Instant>,
}

/// Between two words on how much is said.
const TEXT_INTERVAL: Duration = Duration::from_millis(500);

pub(super) async fn chat(
    app: &App,
    user: Option<UserId>,
    mut arguments: JsonObject,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    arguments.remove(USER);
    let arguments: Arguments = serde_json::from_value(Value::Object(arguments))
        .map_err(|fault| ErrorData::invalid_params(fault.to_string(), None))?;
    let session = arguments.session_id.as_deref().map(str::parse).transpose();
    let session: Option<SessionId> = session
        .map_err(|fault| ErrorData::invalid_params(format!("`session_id`: {fault}"), None))?;
    let named = user.unwrap_or_else(UserId::anonymous);
    let user = match User::of(named, app).await {
        Ok(user) => user,
        Err(problem) => return Ok(refused(&problem)),
    };
    let asking = Asking {
        user: user.id,
        session: session.unwrap_or_else(SessionId::generate),
        request: RequestId::generate(),
        agent: arguments.agent_id,
        text: arguments.message,
        files: Vec::new(),
        kind: RequestKind::Chat,
        mode: RequestMode::Stream,
        depth: 0,
    };
    let (session, request) = (asking.session.clone(), asking.request.clone());
    let progress = Progress::new(&context);
    // Cancel-safe: with the call the turn ends, since nobody hears it any more.
    let answer = tokio::select! {
        biased;
        () = context.ct.cancelled() => return Ok(refused(&Problem::cancelled(""))),
        answer = answer(app, asking, progress) => answer,
    };
    Ok(match answer {
        Ok(answer) => shown(&answer, &session, &request),
        Err(problem) => refused(&problem),
    })
}

async fn answer(app: &App, asking: Asking, mut progress: Progress) -> Result<Answer, Problem> {
    let question = asking.question(app)?;
    let mut updates = app.conversations.start(question)?;
    loop {
        match updates.recv().await {
            Some(update) if !update.is_last() => progress.tell(&update).await,
            end => return ended(end),
        }
    }
}

// === impl Progress ===

impl Progress {
    fn new(context: &RequestContext<RoleServer>) -> Self {
        let token = context.meta.get_progress_token();
        let peer = context.peer.clone();
        Self { peer, token, steps: 0, said_chars: 0, last_of_text: None }
    }

    async fn tell(&mut self, update: &Update) {
        let Some(token) = self.token.clone() else { return };
        let message = match update {
            Update::Text(piece) => {
                self.said_chars += piece.chars().count();
                let is_due = self.last_of_text.is_none_or(|last| last.elapsed() >= TEXT_INTERVAL);
                if !is_due {
                    return;
                }
                self.last_of_text = Some(Instant::now());
                format!("{} characters of the answer are written", self.said_chars)
            }
            Update::Asked { name, .. } => format!("{name} is answering"),
            Update::Progress { message, .. }
            | Update::Planning { message, .. }
            | Update::ToolCall { message, .. } => message.clone(),
            Update::Heard(_) => "the recording was heard".to_owned(),
            Update::Artifact(made) => format!("the file {} was made", made.name),
            Update::Warning(warning) => warning.clone(),
            Update::Thinking(_)
            | Update::Widget(_)
            | Update::Completed(_)
            | Update::Failed(_)
            | Update::Cancelled(_) => return,
        };
        self.steps += 1;
        let told = ProgressNotificationParam::new(token, f64::from(self.steps));
        // A caller that cannot be told is one that left; the call notices that by itself.
        let _gone = self.peer.notify_progress(told.with_message(message)).await;
    }
}

// === private helpers ===

fn shown(answer: &Answer, session: &SessionId, request: &RequestId) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(answer.text.clone())]);
    let mut structured = json!({
        "response": answer.text,
        "session_id": session,
        "request_id": request,
    });
    if !answer.artifacts.is_empty() {
        structured["artifacts"] = json!(answer.artifacts);
    }
    if !answer.warnings.is_empty() {
        structured["warnings"] = json!(answer.warnings);
    }
    result.structured_content = Some(structured);
    result
}

fn refused(problem: &Problem) -> CallToolResult {
    let mut error = json!({"code": problem.code, "message": problem.message});
    if let Some(data) = &problem.data {
        error["data"] = data.clone();
    }
    CallToolResult::structured_error(error)
}
