//! `muxi diff`: what a deploy of this folder would change.

mod compare;

use clap::Args;
use serde_json::{Value, json};

pub(super) use self::compare::{Change, changes, local};
use crate::client::archive::{Wanted, download};
use crate::client::manager::ManagerArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;

#[derive(Debug, Args)]
#[command(after_help = "Ends with 0 when nothing differs, and with 1 when something does.")]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    manager: ManagerArgs,
    /// Compare with this generation [default: the one that serves]
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// Only the names of the files
    #[arg(long)]
    name_only: bool,
}

// === impl DiffArgs ===

impl DiffArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let bundle = Bundle::required(&context.folder)?;
        let id = bundle.id()?;
        let manager = self.manager.manager(context)?;
        let wanted = Wanted { generation: self.generation, with_database: false };
        let deployed = download(&manager, id.as_str(), wanted).await.map_err(|fault| {
            if fault.exit() != Exit::NotFound {
                return fault;
            }
            match self.generation {
                Some(_) => fault.mend(format!("muxi remote get {id}   shows its generations")),
                None => fault.mend("muxi deploy   deploys it for the first time"),
            }
        })?;
        let changes = changes(&deployed, &local(&bundle.folder, &id)?);
        let items: Vec<Value> = changes.iter().map(Change::to_json).collect();
        let value = json!({"id": id, "generation": self.generation, "differs": !changes.is_empty(), "files": items});
        context.show(&value, |_| {
            if changes.is_empty() {
                return "Nothing differs from what is deployed.\n".to_owned();
            }
            let one = |it: &Change| if self.name_only { it.line() } else { it.text() };
            changes.iter().map(one).collect()
        });
        Ok(if changes.is_empty() { Exit::Done } else { Exit::Failed })
    }
}

/// The files alone, indented, for those who deploy.
pub(super) fn short(changes: &[Change]) -> String {
    const SHOWN_MAX: usize = 20;
    let mut text: String =
        changes.iter().take(SHOWN_MAX).map(|it| format!("  {}", it.line())).collect();
    if let Some(more) = changes.len().checked_sub(SHOWN_MAX).filter(|it| *it > 0) {
        text.push_str(&format!("  and {more} more: muxi diff --name-only\n"));
    }
    text
}
