//! `muxi credentials add`: a secret that is sealed over there.

use clap::Args;
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::client::formation::{Formation, Key};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::terminal::format::text_of;

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// For which service, such as github
    service: String,
    /// Tells credentials for one service apart [default: the service]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Field that the secret is kept in
    #[arg(long, value_name = "FIELD", default_value = "token")]
    field: String,
    /// Read the secret from standard input
    #[arg(long)]
    stdin: bool,
}

// === impl AddArgs ===

impl AddArgs {
    pub(super) async fn run(self, formation: &Formation, context: &Context) -> Result<Exit, Fault> {
        let question = format!("Secret for {}", self.service);
        let secret = context.terminal.secret(self.stdin, &question, "--stdin")?;
        let mut credential = json!({});
        credential[self.field] = Value::from(secret.expose_secret());
        let mut body = json!({"service": self.service, "credential": credential});
        if let Some(name) = &self.name {
            body["name"] = json!(name);
        }
        let kept = formation.ask(Key::Client, Method::POST, "/credentials", Some(&body)).await;
        let kept = kept.map_err(|fault| {
            if fault.exit() != Exit::Conflict {
                return fault;
            }
            fault
                .mend("--name TEXT tells two of one service apart")
                .mend("muxi credentials delete ID   makes room")
        })?;
        let id = text_of(&kept["credential_id"]);
        Ok(context.done(&kept, &format!("Kept {id} of {} for {}", formation.user, self.service)))
    }
}
