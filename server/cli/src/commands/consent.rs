//! What destroys asks first.

use clap::Args;

use crate::context::Context;
use crate::fault::Fault;

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Consent {
    /// Do not ask
    #[arg(short, long, alias = "force")]
    yes: bool,
}

// === impl Consent ===

impl Consent {
    pub(crate) fn obtain(self, question: &str, context: &Context) -> Result<(), Fault> {
        if self.yes || context.terminal.confirm(question, "--yes")? {
            return Ok(());
        }
        Err(Fault::failed("nothing was changed"))
    }
}
