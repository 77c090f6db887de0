//! `muxi registry`, and its verbs in short: formations of others. A registry is an `index.json` on a web
//! server, in a folder or in a git repository, with the bundles beside it.

mod access;
mod index;
mod pull;
mod push;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::access::Registry;
pub(super) use self::access::kept_address;
use self::index::{Entry, newest};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::table;

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Find formations in a registry
    Search(SearchArgs),
    /// One formation of a registry, with its versions
    Show {
        /// Its name, or NAME@VERSION
        reference: String,
        #[command(flatten)]
        at: RegistryArgs,
    },
    /// Fetch a formation from a registry into a folder
    Pull(pull::PullArgs),
    /// Put this folder's formation, without its secrets, into a registry that is a folder
    Push(push::PushArgs),
    /// Keep the token that a registry asks for
    Login(access::LoginArgs),
    /// Forget the token of a registry
    Logout(access::LogoutArgs),
    #[command(hide = true)]
    Orgs,
}

/// Where formations of others are found.
#[derive(Debug, Clone, Args)]
pub(crate) struct RegistryArgs {
    /// Address of an index: https://…, a folder, or git+https://… [default: that of `muxi set default registry`]
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Words that its name, description or tags have [default: all formations]
    words: Vec<String>,
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    #[command(flatten)]
    at: RegistryArgs,
}

// === impl RegistryCommand ===

impl RegistryCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::Search(args) => args.run(context).await,
            Self::Show { reference, at } => show(&reference, &at, context).await,
            Self::Pull(args) => args.run(context).await,
            Self::Push(args) => args.run(context),
            Self::Login(args) => args.run(context),
            Self::Logout(args) => args.run(context),
            Self::Orgs => {
                Err(no_organisations().mend("muxi registry search   shows its formations"))
            }
        }
    }
}

// === impl SearchArgs ===

impl SearchArgs {
    async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let index = Registry::open(&self.at, context).await?.index().await?;
        let fits = |it: &&Entry| {
            self.words.iter().all(|word| it.has(word))
                && self.tag.as_ref().is_none_or(|tag| it.tags.contains(tag))
        };
        let mut found: Vec<Entry> = Vec::new();
        for entry in index.formations.iter().filter(fits) {
            if found.iter().all(|it| it.name != entry.name) {
                found.extend(newest(&index, &entry.name).cloned());
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let items: Vec<Value> = found.iter().map(|it| json!(it)).collect();
        Ok(context.show(&json!({"formations": items}), |_| {
            let columns =
                [("NAME", "name"), ("VERSION", "version"), ("DESCRIPTION", "description")];
            table::list(&items, &columns, "Nothing fits; `muxi search` without words shows all.")
        }))
    }
}

/// Those of the published command line have some.
fn no_organisations() -> Fault {
    Fault::not_built("a registry is an index of formations and knows no organisations")
}

async fn show(reference: &str, at: &RegistryArgs, context: &Context) -> Result<Exit, Fault> {
    let index = Registry::open(at, context).await?.index().await?;
    let entry = index.find(reference)?;
    let versions: Vec<&str> = index
        .formations
        .iter()
        .filter(|it| it.name == entry.name)
        .map(|it| it.version.as_str())
        .collect();
    let mut value = json!(entry);
    value["versions"] = json!(versions);
    Ok(context.show(&value, |value| {
        let facts = [
            ("Name", "name"),
            ("Version", "version"),
            ("Description", "description"),
            ("Tags", "tags"),
            ("Versions", "versions"),
            ("SHA-256", "sha256"),
        ];
        format!("{}\n  muxi pull {}\n", table::facts(value, &facts), entry.name)
    }))
}
