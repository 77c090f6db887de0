//! What a server offers to all callers with one credential: asked for by one of them for all, and after
//! a failure not again before a pause, which grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::config::Limits;
use super::error::{McpError, Said};
use super::tool::RemoteTool;

pub(super) type Answer = Result<Arc<Vec<Arc<RemoteTool>>>, McpError>;

#[derive(Debug, Default)]
pub(super) struct Catalogue {
    last: Option<Answer>,
    /// Where those wait who came while it is asked.
    asking: Option<watch::Receiver<Option<Answer>>>,
    failures: u32,
    /// After a failure.
    again_at: Option<Instant>,
}

/// What becomes of somebody who wants the tools.
#[derive(Debug)]
pub(super) enum Look {
    Known(Answer),
    /// Somebody asks already.
    Wait(Waiting),
    /// To be asked now, and told to all who wait.
    Ask(watch::Sender<Option<Answer>>, Waiting),
}

#[derive(Debug)]
pub(super) struct Waiting {
    answer: watch::Receiver<Option<Answer>>,
    /// It failed when it was asked last.
    has_failed: bool,
}

impl Catalogue {
    /// `is_stale` is taken back when the tools are asked for again.
    pub(super) fn look(&mut self, is_stale: &AtomicBool, now: Instant) -> Look {
        let waiting = |answer| Waiting { answer, has_failed: self.failures > 0 };
        // One whose task is gone will never be answered.
        if let Some(asking) = self.asking.as_ref().filter(|it| it.has_changed().is_ok()) {
            return Look::Wait(waiting(asking.clone()));
        }
        let was_stale = is_stale.swap(false, Ordering::AcqRel);
        match &self.last {
            Some(Ok(tools)) if !was_stale => return Look::Known(Ok(Arc::clone(tools))),
            Some(Err(error)) if self.again_at.is_some_and(|at| now < at) => {
                return Look::Known(Err(error.clone()));
            }
            Some(_) | None => {}
        }
        self.last = None;
        let (sender, receiver) = watch::channel(None);
        self.asking = Some(receiver.clone());
        Look::Ask(sender, waiting(receiver))
    }

    pub(super) fn keep(&mut self, answer: &Answer, now: Instant, limits: &Limits) {
        self.asking = None;
        self.again_at = None;
        self.last = Some(answer.clone());
        match answer {
            Ok(_) => self.failures = 0,
            Err(error) if is_of_server(error) => {
                self.again_at = Some(now + pause_after(self.failures, limits));
                self.failures = self.failures.saturating_add(1);
            }
            Err(_) => self.last = None,
        }
    }
}

impl Waiting {
    /// For nothing: the answer is there.
    pub(super) fn none(answer: Answer) -> Self {
        Self { answer: watch::channel(Some(answer)).1, has_failed: false }
    }

    /// `None` when whoever asked is gone.
    pub(super) async fn answer(mut self) -> Option<Answer> {
        self.answer.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// The same for those who have little time; the asking goes on without them.
    pub(super) async fn soon(self, server: &str, limits: &Limits) -> Option<Answer> {
        let limit = if self.has_failed { limits.wait_after_failure } else { limits.first_wait };
        let late = |_| {
            Some(Err(McpError::Slow {
                server: server.to_owned(),
                act: "the question for its tools",
                limit,
                noticed: "; it is still being asked".to_owned(),
                said: Said::default(),
            }))
        };
        tokio::time::timeout(limit, self.answer()).await.unwrap_or_else(late)
    }
}

/// What the user mends or what is over at once is no reason to leave the server alone.
fn is_of_server(error: &McpError) -> bool {
    match error {
        McpError::Start { .. }
        | McpError::Ended { .. }
        | McpError::Slow { .. }
        | McpError::Protocol { .. }
        | McpError::Refused { .. }
        | McpError::Unreachable { .. }
        | McpError::Unauthorized { .. }
        | McpError::Authorization { .. } => true,
        McpError::UnknownServer { .. }
        | McpError::NeedsAuthorization { .. }
        | McpError::NeedsCredential { .. }
        | McpError::Busy { .. }
        | McpError::Cancelled { .. }
        | McpError::Stopping { .. } => false,
    }
}

fn pause_after(failures: u32, limits: &Limits) -> Duration {
    let doubled = limits.failure_pause.saturating_mul(2_u32.saturating_pow(failures));
    doubled.min(limits.failure_pause_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> Answer {
        Err(McpError::Unreachable { server: "s".to_owned(), fault: "it is off".to_owned() })
    }

    #[test]
    fn pauses_grow_up_to_their_limit() {
        let limits = Limits::default();
        let pauses: Vec<u64> = (0..9).map(|it| pause_after(it, &limits).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(pause_after(u32::MAX, &limits), limits.failure_pause_max);
    }

    #[test]
    fn one_asks_for_all_and_what_was_found_stays_until_it_changes() {
        let (mut catalogue, stale) = (Catalogue::default(), AtomicBool::new(false));
        let (now, limits) = (Instant::now(), Limits::default());
        let Look::Ask(_sender, first) = catalogue.look(&stale, now) else { panic!("asks") };
        assert!(!first.has_failed);
        assert!(matches!(catalogue.look(&stale, now), Look::Wait(_)));
        catalogue.keep(&Ok(Arc::default()), now, &limits);
        assert!(matches!(catalogue.look(&stale, now), Look::Known(Ok(_))));
        stale.store(true, Ordering::Release);
        assert!(matches!(catalogue.look(&stale, now), Look::Ask(..)));
        // The one who asked is gone without an answer: the next one asks.
        assert!(matches!(catalogue.look(&stale, now), Look::Ask(..)));
    }

    #[test]
    fn a_failure_is_kept_for_a_pause_unless_the_user_can_end_it() {
        let (mut catalogue, stale) = (Catalogue::default(), AtomicBool::new(false));
        let (start, limits) = (Instant::now(), Limits::default());
        catalogue.keep(&unreachable(), start, &limits);
        let before = start + limits.failure_pause - Duration::from_millis(1);
        assert!(matches!(catalogue.look(&stale, before), Look::Known(Err(_))));
        let after = start + limits.failure_pause;
        let Look::Ask(_sender, again) = catalogue.look(&stale, after) else { panic!("asks") };
        assert!(again.has_failed, "few wait long for what failed before");
        catalogue.keep(&unreachable(), after, &limits);
        assert!(matches!(
            catalogue.look(&stale, after + limits.failure_pause),
            Look::Known(Err(_))
        ));
        let ungranted = McpError::NeedsAuthorization { server: "s".to_owned() };
        catalogue.keep(&Err(ungranted), after, &limits);
        assert!(matches!(catalogue.look(&stale, after), Look::Ask(..)));
    }
}
