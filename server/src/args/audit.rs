//! `muxi-server audit`: what was asked of the manager, and whether the record of it is whole.

use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;
use muxi_server::audit::line;
use muxi_server::config::Folders;
use muxi_server::local::Local;
use muxi_server::store::audit::{Filter, Seal, Verified};

use super::print;

/// Works on the store itself, whether or not the manager runs.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Walk along the whole chain; exit code 1 if it was changed, with the first place.
    Verify {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show entries, the newest last.
    List(ListArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListArgs {
    /// At most so many, the newest.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Only of this key.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only about this formation, operation or key.
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Only such as `formations.restart`, or all of `formations`.
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// Not before this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Not after this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

// === impl AuditCommand ===

impl AuditCommand {
    pub(crate) fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let mut local = Local::open(folders)?;
        match self {
            Self::Verify { json } => {
                let found = local.verify()?;
                let text = if json {
                    serde_json::to_string_pretty(&found)? + "\n"
                } else {
                    render_verified(&found)
                };
                let printed = print(&text);
                Ok(if found.ok { printed } else { ExitCode::FAILURE })
            }
            Self::List(args) => args.run(&local),
        }
    }
}

// === impl ListArgs ===

impl ListArgs {
    fn run(self, local: &Local) -> anyhow::Result<ExitCode> {
        let Self { limit, actor, target, action, since, until, json } = self;
        let filter = Filter { actor, target, action, outcome: None, since, until };
        let (mut entries, mut before) = (Vec::new(), None);
        while entries.len() < limit {
            let page = local.audit_page(&filter, before, limit - entries.len())?;
            entries.extend(page.entries);
            before = page.next_before;
            if before.is_none() {
                break;
            }
        }
        let mut text = String::new();
        for entry in entries.iter().rev() {
            let line = if json { serde_json::to_string(entry)? } else { line::render(entry) };
            text.push_str(&line);
            text.push('\n');
        }
        Ok(print(&text))
    }
}

fn render_verified(found: &Verified) -> String {
    if let Some(fault) = &found.fault {
        return format!("The audit log was changed at entry {}: {}.\n", fault.seq, fault.reason);
    }
    let seal = match found.seal {
        Seal::Valid => "the seal of manager.key is valid",
        Seal::None => "there is no seal yet",
        Seal::Broken => "the seal is broken",
        Seal::OtherMasterKey => {
            "WARNING: the seal was made with another manager.key, so missing newest entries would not show"
        }
        Seal::Unchecked => "there is no manager.key to check the seal with",
    };
    let Verified { entries, last_seq, last_hash, pruned_to, .. } = found;
    let pruned = if *pruned_to > 0 {
        format!(", those up to {pruned_to} were pruned")
    } else {
        String::new()
    };
    format!("{entries} entries are whole{pruned}; {seal}.\nLast: {last_seq} {last_hash}\n")
}
