//! `muxi new agent`, `mcp`, `a2a`, `sop`, `trigger` and `skill`: one piece of a formation that is there.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{PieceArgs, list, named, quoted, texts, title, write};
use crate::check::check;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::files::document;

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    piece: PieceArgs,
    /// Its role: generalist, specialist, researcher, …
    #[arg(long, default_value = "specialist")]
    role: String,
}

#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    #[command(flatten)]
    piece: PieceArgs,
    /// Program that is the server
    #[arg(long, value_name = "PROGRAM", conflicts_with = "url")]
    command: Option<String>,
    /// One of its arguments; can be given again
    #[arg(long = "arg", value_name = "ARG", requires = "command", allow_hyphen_values = true)]
    arguments: Vec<String>,
    /// Address of a server that runs elsewhere
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoteArgs {
    #[command(flatten)]
    piece: PieceArgs,
    /// Its address
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// A piece that is to be written.
struct Piece<'a> {
    args: &'a PieceArgs,
    bundle: Bundle,
    description: String,
}

// === impl AgentArgs ===

impl AgentArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let name = self.piece.name.clone();
        let piece =
            self.piece.begin("an agent", format!("{} of the team.", title(&name)), context)?;
        let message =
            format!("You are {}. Say plainly what you know, and what you do not.", title(&name));
        let text = texts::agent(&name, &piece.description, &self.role, &message);
        piece.finish(&format!("agents/{name}.afs"), &text, Some("agents"), context)
    }
}

// === impl McpArgs ===

impl McpArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let name = self.piece.name.clone();
        let piece = self.piece.begin("a server", format!("Tools of {name}."), context)?;
        let transport = match (&self.command, &self.url) {
            (Some(program), _) => command(program, &self.arguments),
            (None, Some(url)) => http(url)?,
            (None, None) if context.terminal.can_ask() && !self.piece.no_wizard => {
                let answer = context.terminal.ask(
                    "Its address, or the command that starts it",
                    None,
                    "--url",
                )?;
                if answer.starts_with("http://") || answer.starts_with("https://") {
                    http(&answer)?
                } else {
                    let mut words = answer.split_whitespace().map(str::to_owned);
                    let program = words.next().unwrap_or_default();
                    command(&program, &words.collect::<Vec<_>>())
                }
            }
            (None, None) => {
                return Err(Fault::usage("how is the server reached?")
                    .mend("--command PROGRAM --arg ARG   starts it as a program")
                    .mend("--url URL   names one that runs elsewhere"));
            }
        };
        let description = quoted(&piece.description);
        let text =
            format!("schema: \"1.0.0\"\nid: {name}\ndescription: {description}\n{transport}");
        // Older bundles have it under another name, and may have only one.
        let folder = if piece.bundle.folder.join("mcps").is_dir() { "mcps" } else { "mcp" };
        let manifest = document::text(&piece.bundle.manifest)?.unwrap_or_default();
        let block = if manifest.lines().any(|it| it.starts_with("mcps:")) { "mcps" } else { "mcp" };
        let list = format!("{block}.servers");
        piece.finish(&format!("{folder}/{name}.afs"), &text, Some(&list), context)
    }
}

// === impl RemoteArgs ===

impl RemoteArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let name = self.piece.name.clone();
        let piece =
            self.piece.begin("an agent", format!("{} elsewhere.", title(&name)), context)?;
        let url = match &self.url {
            Some(url) => url.clone(),
            None if self.piece.no_wizard => {
                return Err(Fault::usage("how is it reached?").mend("--url URL"));
            }
            None => context.terminal.ask("Its address", None, "--url")?,
        };
        crate::client::url(&url)?;
        let (title, description) = (quoted(&title(&name)), quoted(&piece.description));
        let url = quoted(&url);
        let text = format!(
            "schema: \"1.0.0\"\nid: {name}\nname: {title}\ndescription: {description}\nurl: {url}\n"
        );
        let list = "a2a.outbound.services";
        piece.finish(&format!("a2a/{name}.afs"), &text, Some(list), context)
    }
}

// === impl PieceArgs ===

impl PieceArgs {
    /// Everything that can be refused or asked.
    fn begin(&self, what: &str, usual: String, context: &Context) -> Result<Piece<'_>, Fault> {
        named(&self.name, what)?;
        let bundle = super::super::validate::at(self.output.as_deref(), context)?;
        let description = match &self.description {
            Some(text) => text.clone(),
            None if context.terminal.can_ask() && !self.no_wizard => {
                context.terminal.ask("What is it for?", Some(&usual), "--description")?
            }
            None => usual,
        };
        Ok(Piece { args: self, bundle, description })
    }
}

pub(super) fn sop(args: &PieceArgs, context: &Context) -> Result<Exit, Fault> {
    let name = &args.name;
    let piece = args.begin("a procedure", format!("{}, step by step", title(name)), context)?;
    let text = texts::sop(name, &piece.description);
    piece.finish(&format!("sops/{name}.md"), &text, None, context)
}

pub(super) fn trigger(args: &PieceArgs, context: &Context) -> Result<Exit, Fault> {
    let name = &args.name;
    let usual = "Say in two sentences what happened and what should be done about it.".to_owned();
    let piece = args.begin("a trigger", usual, context)?;
    let text = texts::trigger(&piece.description);
    piece.finish(&format!("triggers/{name}.md"), &text, None, context)
}

pub(super) fn skill(args: &PieceArgs, context: &Context) -> Result<Exit, Fault> {
    let name = &args.name;
    let piece =
        args.begin("a skill", format!("How {} is done", title(name).to_lowercase()), context)?;
    let text = texts::skill(name, &piece.description);
    // Skills load because they are there, unless the manifest lists them.
    let manifest = document::text(&piece.bundle.manifest)?.unwrap_or_default();
    let root = serde_yaml::from_str::<serde_yaml::Value>(&manifest).unwrap_or_default();
    let listed = root.get("skills").map(|it| {
        if it.is_sequence() { Some("skills") } else { it.get("names").map(|_| "skills.names") }
    });
    piece.finish(&format!("skills/{name}/SKILL.md"), &text, listed.flatten(), context)
}

// === impl Piece ===

impl Piece<'_> {
    /// The manifest first: what cannot be listed is not written either.
    fn finish(
        self,
        path: &str,
        text: &str,
        listed: Option<&str>,
        context: &Context,
    ) -> Result<Exit, Fault> {
        let Self { args, bundle, .. } = self;
        let file: PathBuf = bundle.folder.join(path);
        let changed = match listed {
            Some(list) => {
                let manifest = document::text(&bundle.manifest)?.unwrap_or_default();
                Some(list::add(&manifest, list, &args.name)?).filter(|it| *it != manifest)
            }
            None => None,
        };
        write(&file, text, args.force, context)?;
        if let Some(manifest) = &changed {
            document::replace(&bundle.manifest, manifest)?;
        }
        let shown = context.relative(&file).display().to_string();
        let manifest = context.relative(&bundle.manifest).display().to_string();
        for it in check(&bundle.folder).found.iter().filter(|it| it.file == path) {
            context.terminal.caution(it);
        }
        let value = json!({"name": args.name, "file": shown, "listed_in": changed.as_ref().map(|_| &manifest)});
        let also = listed.filter(|_| changed.is_some());
        let also = also
            .map_or_else(String::new, |list| format!(", and listed it in `{list}` of {manifest}"));
        Ok(context.done(&value, &format!("Wrote {shown}{also}")))
    }
}

// === private helpers ===

fn command(program: &str, arguments: &[String]) -> String {
    let listed: String = arguments.iter().map(|it| format!("  - {}\n", quoted(it))).collect();
    let arguments = if listed.is_empty() { listed } else { format!("args:\n{listed}") };
    format!("type: command\ncommand: {}\n{arguments}", quoted(program))
}

fn http(url: &str) -> Result<String, Fault> {
    crate::client::url(url)?;
    Ok(format!("type: http\nendpoint: {}\n", quoted(url)))
}
