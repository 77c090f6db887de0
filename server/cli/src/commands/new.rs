//! `muxi new`: files that can be deployed as they are.

mod formation;
mod list;
mod pieces;
mod texts;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;

#[derive(Debug, Subcommand)]
pub(crate) enum NewCommand {
    /// A folder with a formation: manifest, agents, persona, keys
    Formation(formation::FormationArgs),
    /// An agent, which the manifest then lists
    Agent(pieces::AgentArgs),
    /// A server with tools, which the manifest then lists
    Mcp(pieces::McpArgs),
    /// An agent elsewhere that is spoken to over A2A, which the manifest then lists
    #[command(alias = "a2a-service")]
    A2a(pieces::RemoteArgs),
    /// A procedure: steps that are followed when a request fits
    Sop(PieceArgs),
    /// A trigger: what is done when another system calls
    Trigger(PieceArgs),
    /// A skill: knowledge of how something is done
    Skill(PieceArgs),
}

/// What every piece of a formation has.
#[derive(Debug, Args)]
pub(crate) struct PieceArgs {
    /// Its name: lower-case letters, digits and hyphens
    name: String,
    /// What it is for, in a sentence
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Ask nothing, and write what is usual
    #[arg(long)]
    no_wizard: bool,
    /// Formation's folder [default: the one of this folder]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

// === impl NewCommand ===

impl NewCommand {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        match self {
            Self::Formation(args) => args.run(context),
            Self::Agent(args) => args.run(context),
            Self::Mcp(args) => args.run(context),
            Self::A2a(args) => args.run(context),
            Self::Sop(args) => pieces::sop(&args, context),
            Self::Trigger(args) => pieces::trigger(&args, context),
            Self::Skill(args) => pieces::skill(&args, context),
        }
    }
}

// === private helpers ===

/// A word that can be a file's name and an id.
pub(super) fn named(name: &str, what: &str) -> Result<(), Fault> {
    let inner = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-' || it == '_';
    let is_fit = name.starts_with(|it: char| it.is_ascii_lowercase())
        && name.chars().all(inner)
        && !name.ends_with(['-', '_'])
        && name.len() <= 64;
    if is_fit {
        return Ok(());
    }
    let fault = Fault::usage(format!("`{name}` cannot be {what}'s name"));
    let meant = normal(name);
    if meant.is_empty() {
        return Err(fault.mend("begin with a letter; use lower-case letters, digits and hyphens"));
    }
    Err(fault.mend(format!("use lower-case letters, digits and hyphens, such as {meant}")))
}

/// The nearest name that fits.
fn normal(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let words = name.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    let joined = words.collect::<Vec<_>>().join("-");
    joined.trim_start_matches(|it: char| !it.is_ascii_lowercase()).to_owned()
}

/// `research-team` as people write it: Research team.
fn title(name: &str) -> String {
    let spaced = name.replace(['-', '_'], " ");
    let mut chars = spaced.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A text between double quotes, in YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(crate::terminal::format::one_line(text)).to_string()
}

fn write(path: &Path, text: &str, is_forced: bool, context: &Context) -> Result<(), Fault> {
    if path.exists() && !is_forced {
        let shown = context.relative(path).display();
        return Err(Fault::new(Exit::Conflict, "FileExists", format!("{shown} is there already"))
            .mend("choose another name, or replace it with --force"));
    }
    // Sources are for whoever may read the folder, unlike what this program keeps for its user.
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| Fault::file("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mended_and_titled() {
        assert_eq!(normal("My Team!"), "my-team");
        assert_eq!(normal("1st"), "st");
        assert_eq!(title("research-team"), "Research team");
        assert!(named("a", "x").is_ok() && named("A b", "x").is_err() && named("a-", "x").is_err());
        assert_eq!(quoted("say \"hi\""), r#""say \"hi\"""#);
    }
}
