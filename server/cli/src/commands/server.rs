//! `muxi server`: the words of the manager's own program, for those who look for them here.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;

use crate::exit::Exit;
use crate::fault::Fault;

const PROGRAM: &str = "muxi-server";

/// Hand over to muxi-server: init, start, status, stop and more
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct ServerArgs {
    /// As `muxi-server --help` shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

// === impl ServerArgs ===

impl ServerArgs {
    /// Returns only if it could not be started.
    pub(crate) fn run(self) -> Result<Exit, Fault> {
        // The one of the same release first.
        let beside = std::env::current_exe().ok().map(|it| it.with_file_name(PROGRAM));
        let program = beside.filter(|it| it.is_file()).unwrap_or_else(|| PROGRAM.into());
        let error = Command::new(&program).args(self.arguments).exec();
        Err(Fault::failed(format!("{} could not be started: {error}", program.display()))
            .mend(format!("put {PROGRAM} beside muxi, or into a folder of PATH")))
    }
}
