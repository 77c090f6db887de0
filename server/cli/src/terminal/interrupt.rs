//! Ctrl-C, and whatever else asks the program to end.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use console::Term;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::Terminal;
use crate::exit::Exit;

/// Whether a question is open.
static ASKS: AtomicBool = AtomicBool::new(false);
static WATCHED: Once = Once::new();

/// Ctrl-C, a CI system that gives up, a terminal that was closed.
pub(crate) async fn asked_to_end() {
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals.map(signal) else {
        // The system's own way to end a program is left.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// While a question is open, the terminal neither echoes nor shows its cursor: Ctrl-C ends the program as ever, and
/// leaves the terminal as it was.
pub(super) fn while_asking<T>(ask: impl FnOnce() -> T) -> T {
    WATCHED.call_once(watch);
    ASKS.store(true, Ordering::SeqCst);
    let answer = ask();
    ASKS.store(false, Ordering::SeqCst);
    answer
}

/// The program is about to end; nothing more may be said.
pub(super) fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}

// === private helpers ===

fn watch() {
    let before = tcgetattr(std::io::stdin()).ok();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        runtime.block_on(async {
            let Ok(mut interrupts) = signal(SignalKind::interrupt()) else { return };
            ready.send(()).ok();
            interrupts.recv().await;
            leave(before.as_ref());
        });
    });
    // Where nobody can watch, the question is asked all the same.
    is_ready.recv().ok();
}

#[expect(clippy::exit, reason = "the thread that asks waits for a key that will not come")]
fn leave(before: Option<&Termios>) {
    if let Some(before) = before {
        tcsetattr(std::io::stdin(), OptionalActions::Now, before).ok();
    }
    Term::stderr().show_cursor().ok();
    let what = if ASKS.load(Ordering::SeqCst) { "nothing was changed" } else { "interrupted" };
    Terminal::new(false).warn(&format!("\nerror: {what}"));
    std::process::exit(Exit::Interrupted as i32);
}
