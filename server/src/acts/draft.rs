//! A draft runs beside its formation, under a name of its own and with a port and data of its own; to
//! the supervisor it is a formation like any other. It ends by a delete, as a formation does.

use std::path::PathBuf;

use super::DeployError;
use crate::bundles::Prepared;
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Runs a bundle as the draft of the formation that it names. `source` is where it was taken from.
    /// Answers the operation's id.
    pub async fn run_draft(
        &self,
        prepared: Prepared,
        source: PathBuf,
    ) -> Result<String, DeployError> {
        let supervisor = self.clone();
        self.to_its_end("dev run", async move {
            let draft = prepared.loaded.manifest.id.draft();
            supervisor.begin_first(draft, prepared, Some(source)).await
        })
        .await
    }
}
