//! Verbs of the published command line that mean nothing here, each refused with what to do instead.

use clap::Subcommand;

use crate::exit::Exit;
use crate::fault::Fault;

#[derive(Debug, Subcommand)]
pub(crate) enum PublishedCommand {
    #[command(hide = true)]
    Console,
    #[command(hide = true)]
    Upgrade,
}

// === impl PublishedCommand ===

impl PublishedCommand {
    pub(crate) fn refuse(self) -> Fault {
        let refused = |message: &str| Fault::new(Exit::NotBuilt, "NotBuilt", message);
        match self {
            Self::Console => refused("there is no console for a browser")
                .mend("muxi remote list   shows what is deployed")
                .mend("muxi info          shows one formation at a glance")
                .mend("muxi chat          talks with it"),
            Self::Upgrade => refused("programs here do not replace themselves").mend(
                "put muxi, muxi-server and formation-runtime of the newer release in the place of these",
            ),
        }
    }
}
