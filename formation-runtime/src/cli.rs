//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use muxi_service::cors::{CorsPolicy, ORIGINS_VAR};
use muxi_tools::sandbox;

/// Serve one formation: chat, sessions and streams over HTTP
#[derive(Debug, Parser)]
#[command(
    name = "formation-runtime",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  formation-runtime formations/hello
      serve the bundle in this folder on 127.0.0.1:8271
  formation-runtime formations/hello --port 0
      serve it on a free port, which is printed
  OPENAI_API_KEY=sk-... formation-runtime my-bundle --data-dir /var/lib/my-bundle
      keep its memory and its generated keys outside of the bundle
  formation-runtime models import SmolLM2-135M-Instruct.Q4_1.gguf
      make the embedded model `local/smollm2-135m-instruct` available

  curl http://127.0.0.1:8271/v1/chat -H \"X-Muxi-Client-Key: $KEY\" \\
      -d '{\"message\": \"Hello!\"}'

Environment:
  <PROVIDER>_API_KEY, <PROVIDER>_BASE_URL  used where the bundle names none
  any ${{ secrets.NAME }} of the bundle    used where no secrets.enc has it
  MUXI_MODELS_DIR    where local models lie (default ~/.cache/muxi/models)
  MUXI_MODEL_HOST    socket of a model host; without it local models run in this process
  MUXI_LOG           what is logged, such as debug or info,hyper=warn (default info)"
)]
pub struct Cli {
    #[command(flatten)]
    pub serve: Option<Serve>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The bundle's folder, or its formation.afs
    pub path: PathBuf,
    /// The port to listen on; 0 takes a free one [default: the bundle's, else 8271]
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// The address to listen on [default: the bundle's, else 127.0.0.1]
    #[arg(long, value_name = "H")]
    pub host: Option<String>,
    /// Where memory, generated keys and secrets set through the API are kept [default: the bundle's folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How long open requests may go on after a signal to stop
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub grace_ms: u64,
    /// Origins whose pages may call from a browser, by commas; `*` is every one, "" none
    #[arg(long, value_name = "ORIGINS", env = ORIGINS_VAR, default_value = "*")]
    pub cors_origins: CorsPolicy,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve local models to every formation of this machine, on a Unix socket
    ModelHost(ModelHost),
    /// See and import the models that run on this machine
    #[command(subcommand)]
    Models(Models),
    /// Become a program with few rights; the sandbox of scripts starts this
    #[command(name = sandbox::ARGUMENT, hide = true)]
    Confine(Confine),
}

#[derive(Debug, Clone, Args)]
pub struct Confine {
    /// What to apply, as JSON
    pub spec: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Clone, Args)]
pub struct ModelHost {
    /// The socket to listen on; a manager passes an open one instead
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// End when no request came for so long
    #[arg(long, value_name = "S")]
    pub idle_exit_s: Option<u64>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Models {
    /// List the models and whether they are ready
    List,
    /// Check, convert and install a downloaded model file
    Import {
        /// The .gguf file as it was downloaded
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let parsed = |args: &[&str]| Cli::try_parse_from(args);
        assert!(parsed(&["formation-runtime", "hello", "--port", "0"]).unwrap().serve.is_some());
        let list = parsed(&["formation-runtime", "models", "list"]).unwrap();
        assert!(list.serve.is_none() && list.command.is_some());
        assert!(parsed(&["formation-runtime", "hello", "--cors-origins", "https://a/"]).is_err());
        assert!(parsed(&["formation-runtime"]).is_err());
        // A program's own options are not the launcher's.
        let confine = parsed(&["formation-runtime", "__confine", "{}", "ls", "--help", "--", "-l"]);
        let Some(Command::Confine(Confine { command, .. })) = confine.unwrap().command else {
            panic!("the launcher's argument is its own command");
        };
        assert_eq!(command, ["ls", "--help", "--", "-l"]);
    }
}
