//! What a turn may use, and what it has used.

use std::sync::PoisonError;

use muxi_formation::manifest::Usage as UsageConfig;
use muxi_llm::CompletionRequest;
use muxi_memory::{NewUsage, Outcome, UsageFilter};

use super::running::{Running, chain, memory_failed};
use crate::conversation::turn::{End, Failure};
use crate::usage;

// === impl Running ===

impl Running {
    /// Turns that run at the same moment may go beyond a budget together; the next one may not.
    pub(super) async fn over_budget(&self) -> Option<Failure> {
        let UsageConfig { budgets, currency, .. } = &*self.context.usage;
        let user = Some(self.question.user.clone());
        let held = [("formation's", budgets.formation, None), ("user's", budgets.user, user)];
        for (whose, budget, user) in held {
            let Some(budget) = budget else { continue };
            let now = self.context.clock.now();
            let (begin, end) = usage::period(budget.per, now);
            let from_ms = Some(begin.as_millisecond());
            let filter = UsageFilter { user, from_ms, to_ms: None };
            let spent = match self.context.store.spent(filter).await {
                Ok(spent) => spent,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "a budget could not be looked at");
                    return Some(memory_failed(&error));
                }
            };
            if let Err(exceeded) = usage::check(whose, &budget, currency, &spent, end) {
                let seconds = end.duration_since(now).as_secs().max(1);
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                return Some(Failure::Budget { message: exceeded.to_string(), seconds });
            }
        }
        None
    }

    /// What the calls of the turn used: those that were told by their providers, and those that were not
    /// because they ended before. Nothing if no model answered and none was cut short.
    pub(super) fn used(&self, end: &End, asked: &CompletionRequest) -> Vec<NewUsage> {
        let mut used =
            std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        let untold = end.untold;
        let model = match (self.served.get(), &end.outcome) {
            (Some(model), _) => model,
            // Whoever ends a call early still owes for what it was asked.
            (None, Outcome::Cancelled | Outcome::Interrupted) if untold.calls > 0 => {
                &self.model().name
            }
            (None, _) => return used,
        };
        let estimated = usage::estimate(asked, untold.calls, untold.said_bytes);
        let total = end.usage.plus(estimated);
        let (prompt, completion) = (total.prompt_tokens, total.completion_tokens);
        used.push(NewUsage {
            cost_nano: usage::cost_nano(&self.context.usage, model, prompt, completion),
            model: model.clone(),
            prompt_tokens: prompt,
            completion_tokens: completion,
            is_estimated: untold.calls > 0,
        });
        used
    }
}
