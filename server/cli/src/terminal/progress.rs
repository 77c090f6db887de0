//! Work that takes a while: a bar of what is sent, and one line for each stage.

use std::time::Duration;

use console::Style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Terminal;

const TICK: Duration = Duration::from_millis(100);

/// Stages of one piece of work. Where nobody watches, each is told once, when it begins.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    terminal: &'a Terminal,
    spinner: ProgressBar,
    current: Option<String>,
}

// === impl Terminal ===

impl Terminal {
    /// A bar over `bytes`; it draws nothing where nobody watches.
    pub(crate) fn upload_bar(&self, what: &str, bytes: u64) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(bytes), self.draw_target());
        let style = ProgressStyle::with_template(
            "  {msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        );
        bar.set_style(style.expect("the template is well-formed").progress_chars("=> "));
        bar.set_message(what.to_owned());
        bar
    }

    pub(crate) fn steps(&self) -> Steps<'_> {
        let spinner = ProgressBar::with_draw_target(None, self.draw_target());
        let style = ProgressStyle::with_template("  {spinner} {msg}");
        spinner.set_style(style.expect("the template is well-formed"));
        Steps { terminal: self, spinner, current: None }
    }

    fn draw_target(&self) -> ProgressDrawTarget {
        if self.is_live() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
    }
}

// === impl Steps ===

impl Steps<'_> {
    /// The stage before is done.
    pub(crate) fn begin(&mut self, text: &str) {
        if self.current.as_deref() == Some(text) {
            return;
        }
        self.end_current(&self.terminal.tick());
        if self.terminal.is_live() {
            self.spinner.reset();
            self.spinner.set_message(text.to_owned());
            self.spinner.enable_steady_tick(TICK);
        }
        self.current = Some(text.to_owned());
    }

    /// All stages are done.
    pub(crate) fn finish(mut self) {
        self.end_current(&self.terminal.tick());
    }

    /// The last stage is the one that failed.
    pub(crate) fn fail(mut self) {
        self.end_current(&self.terminal.cross());
    }

    fn end_current(&mut self, mark: &str) {
        let Some(text) = self.current.take() else { return };
        let line = format!("  {mark} {}", Style::new().dim().apply_to(text));
        if self.terminal.is_live() {
            self.spinner.disable_steady_tick();
            self.spinner.suspend(|| self.terminal.note(&line));
            self.spinner.finish_and_clear();
        } else {
            self.terminal.note(&line);
        }
    }
}
