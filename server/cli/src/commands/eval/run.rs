//! One run of one case: its conversation, and what of it does not hold.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::chat::talk::{self, Message, Talk, request_id};
use super::super::chat::turn::{End, Turn};
use super::cases::Case;
use super::check::Heard;
use super::judge::Judge;
use crate::client::formation::Formation;
use crate::exit::Exit;
use crate::fault::{Fault, NO_FORMATION};

/// Of a whole conversation, when the case names no other.
const LIMIT: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) heard: Heard,
    pub(super) session: Option<String>,
    /// None when it passed.
    pub(super) failures: Vec<String>,
}

/// A formation that cannot be spoken to at all ends everything; what else goes wrong is a failure of the case.
pub(super) async fn run(
    case: &Case,
    formation: &Formation,
    judge: Option<&Judge>,
) -> Result<Run, Fault> {
    let formation = formation.of_user(case.user.as_deref().unwrap_or(&formation.user));
    let mut talk = Talk { formation, session: case.session.clone(), agent: case.agent.clone() };
    let (mut run, begun) = (Run::default(), Instant::now());
    let limit = case.expect.max_seconds.map_or(LIMIT, Duration::from_secs_f64);
    let request = request_id()?;
    let talked =
        tokio::time::timeout(limit, converse(case, &mut talk, &request, &mut run.heard)).await;
    run.heard.seconds = begun.elapsed().as_secs_f64();
    run.session.clone_from(&talk.session);
    match talked {
        Ok(Ok(())) => run.failures = case.expect.failures(&run.heard),
        Ok(Err(fault)) if ends_all(&fault) => return Err(fault),
        Ok(Err(fault)) => run.failures = vec![fault.to_text().replace('\n', " ")],
        Err(_) => {
            // Whether it could be cancelled or not, the case has failed.
            drop(talk.cancel(&request).await);
            run.failures =
                vec![format!("it took longer than {} s and was cancelled", limit.as_secs_f64())];
        }
    }
    if let (Some(criterion), Some(judge), true) =
        (&case.expect.judge, judge, run.failures.is_empty())
    {
        let verdict = judge.ask(criterion, case, &run.heard.text, &talk.formation).await?;
        if !verdict.passes {
            run.failures.push(format!("judged: {}", verdict.reason));
        }
    }
    Ok(run)
}

async fn converse(
    case: &Case,
    talk: &mut Talk,
    request: &str,
    heard: &mut Heard,
) -> Result<(), Fault> {
    let mut files = case.files.iter().map(|it| talk::file(it)).collect::<Result<Vec<_>, _>>()?;
    for (at, text) in case.turns.iter().enumerate() {
        let message =
            Message { text: text.clone(), files: std::mem::take(&mut files), ui_response: None };
        // The last one is the one that a limit cancels; those before have ended.
        let id = if at + 1 == case.turns.len() { request.to_owned() } else { request_id()? };
        let turn = answer(talk, &message, &id).await?;
        let completed = &turn.completed;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        heard.text = text(&completed["content"]);
        heard.agent = text(&completed["agent_used"]);
        heard.asks = completed["approval_required"] == true;
        let tools = completed["tools_called"].as_array().into_iter().flatten();
        heard.tools.extend(tools.map(|it| text(&it["tool"])));
    }
    Ok(())
}

async fn answer(talk: &mut Talk, message: &Message, request: &str) -> Result<Turn, Fault> {
    let mut events = talk.stream(message, request).await?;
    let mut turn = Turn::default();
    while let Some(frame) = events.next().await? {
        turn.take(&frame);
    }
    if turn.session.is_some() {
        talk.session.clone_from(&turn.session);
    }
    match turn.end.take() {
        Some(End::Answered) => Ok(turn),
        Some(End::Failed(fault)) => Err(fault),
        Some(End::Cancelled) => Err(Fault::failed("somebody cancelled the answer")),
        None => Err(Fault::failed("the formation broke off before its answer was whole")),
    }
}

fn ends_all(fault: &Fault) -> bool {
    matches!(fault.exit(), Exit::Unreachable | Exit::Refused) || fault.code() == NO_FORMATION
}
