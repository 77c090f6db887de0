//! Verbs of the published command line that have another place here, or none.

use clap::Subcommand;
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;

#[derive(Debug, Subcommand)]
pub(crate) enum PublishedCommand {
    #[command(hide = true)]
    Console,
    #[command(hide = true)]
    Upgrade,
    /// As --version
    #[command(hide = true)]
    Version,
}

// === impl PublishedCommand ===

impl PublishedCommand {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        Err(match self {
            Self::Version => {
                let value = json!({"version": env!("CARGO_PKG_VERSION")});
                let text = concat!("muxi ", env!("CARGO_PKG_VERSION"), "\n");
                return Ok(context.show(&value, |_| text.to_owned()));
            }
            Self::Console => Fault::not_built("there is no console for a browser")
                .mend("muxi remote list   shows what is deployed")
                .mend("muxi info          shows one formation at a glance")
                .mend("muxi chat          talks with it"),
            Self::Upgrade => Fault::not_built("programs here do not replace themselves").mend(
                "put muxi, muxi-server and formation-runtime of the newer release in the place of these",
            ),
        })
    }
}
