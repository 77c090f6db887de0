//! What a turn decides and uses is written down while it goes on, so that a process that dies loses at most
//! what was under way.

use std::sync::Arc;

use muxi_service::TaskKind;
use tokio::sync::oneshot;

use super::running::{Running, chain};

// === impl Running ===

impl Running {
    /// Writes down what is not on the disk yet, beside whatever comes next; the answer comes when it is.
    pub(super) fn write_down(&self) -> Option<oneshot::Receiver<()>> {
        let turn = self.turn.get().copied()?;
        let prices = Arc::clone(&self.context.usage);
        if self.trace.unwritten().is_empty() && self.ledger.unwritten(&prices, false).is_empty() {
            return None;
        }
        let (store, noting) = (self.store.clone(), Arc::clone(&self.noting));
        let (trace, ledger) = (Arc::clone(&self.trace), Arc::clone(&self.ledger));
        let (reply, written) = oneshot::channel();
        // A task of its own: work that is dropped must not leave in doubt what is written and what is not.
        self.context.tasks.spawn(TaskKind::Connection, "notes of a turn", async move {
            let _noting = noting.lock().await;
            let decisions = trace.unwritten();
            let (numbers, calls): (Vec<_>, Vec<_>) =
                ledger.unwritten(&prices, false).into_iter().unzip();
            let rows = decisions.len();
            if rows > 0 || !calls.is_empty() {
                match store.note_progress(turn, decisions, calls).await {
                    Ok(()) => {
                        trace.written(rows);
                        ledger.written(numbers);
                    }
                    // The end of the turn writes it down.
                    Err(error) => {
                        tracing::warn!(error = %chain(&error), "what a turn did is not kept yet");
                    }
                }
            }
            // Whoever began it need not wait.
            let _gone = reply.send(());
        });
        Some(written)
    }

    /// Returns when what has happened so far is on the disk.
    pub(super) async fn written_down(&self) {
        if let Some(written) = self.write_down() {
            // Without an answer the process is ending.
            drop(written.await);
        }
    }
}
