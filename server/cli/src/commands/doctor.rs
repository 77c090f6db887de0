//! `muxi doctor`: everything that must be right, from this user's side.

mod findings;
mod folder;
mod remote;
mod user;

use clap::Args;

use self::findings::Findings;
use crate::client::formation::{FormationArgs, UserArgs};
use crate::client::manager::ManagerArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;

/// Look at everything that must be right: files, manager, keys, this folder's formation
///
/// A line each: ✓ is right, ! may be meant, ✗ is wrong. Behind → stands what to do. The command ends with 1 when
/// something is wrong, and changes nothing.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    formation: FormationArgs,
}

// === impl DoctorArgs ===

impl DoctorArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let mut findings = Findings::default();
        user::look(context, &mut findings);
        let bundle = Bundle::find(&context.folder);
        if let Some(bundle) = &bundle {
            folder::look(bundle, &mut findings);
        }
        let manager = if self.formation.url.is_some() {
            None
        } else {
            let args = ManagerArgs { profile: self.formation.profile.clone() };
            remote::manager(&args, context, &mut findings).await
        };
        if bundle.is_none() && self.formation.formation.is_none() && self.formation.url.is_none() {
            findings
                .unsure(
                    "formation",
                    "no formation.afs here or above, so no formation was looked at",
                )
                .mend("go into a formation's folder, or name one: --formation ID");
        } else if manager.is_some() || self.formation.url.is_some() {
            let args = UserArgs { formation: self.formation, user: None };
            match args.open(context) {
                Ok(formation) => {
                    remote::formation(&formation, manager.as_ref(), &mut findings).await;
                }
                Err(fault) => findings.fault("formation", &fault),
            }
        }
        context.show(&findings.to_json(), |_| findings.to_text(&context.terminal));
        Ok(if findings.has_wrong() { Exit::Failed } else { Exit::Done })
    }
}
