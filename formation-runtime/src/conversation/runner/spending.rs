//! What a turn may use.

use muxi_formation::manifest::Usage as UsageConfig;
use muxi_memory::UsageFilter;

use super::running::{Running, chain, memory_failed};
use crate::conversation::turn::Failure;
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
}
