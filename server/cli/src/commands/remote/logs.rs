//! `muxi remote logs`: what a formation's processes wrote.

use clap::{Args, ValueEnum};

use super::{OneArgs, known, path};
use crate::client::{query, unreachable};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::plain;

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    one: OneArgs,
    /// How many lines from the end
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    lines: u32,
    /// Only what was written to one of them
    #[arg(long, value_name = "STREAM")]
    stream: Option<Stream>,
    /// Go on with what is written from now on, until Ctrl-C
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Stream {
    Stdout,
    Stderr,
}

// === impl LogsArgs ===

impl LogsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Fault> {
        let id = self.one.id(context)?;
        let manager = self.one.manager.manager(context)?;
        let stream = self.stream.map(|it| match it {
            Stream::Stdout => "stdout".to_owned(),
            Stream::Stderr => "stderr".to_owned(),
        });
        let asked = query([
            ("lines", Some(self.lines.to_string())),
            ("stream", stream),
            ("follow", self.follow.then(|| "true".to_owned())),
        ]);
        let mut response =
            manager.raw(&format!("{}{asked}", path(&id, "logs"))).await.map_err(known)?;
        // Pieces may end within a character.
        let mut rest = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|it| unreachable(&manager.url, &it))?
        {
            rest.extend_from_slice(&chunk);
            let whole = rest.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
            context.terminal.print(&plain(&String::from_utf8_lossy(&rest[..whole])));
            rest.drain(..whole);
        }
        context.terminal.print(&plain(&String::from_utf8_lossy(&rest)));
        Ok(Exit::Done)
    }
}
