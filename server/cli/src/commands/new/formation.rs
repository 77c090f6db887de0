//! `muxi new formation`: a folder that can be deployed as it is.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use muxi_contract::FormationId;
use muxi_formation::ModelName;
use muxi_vault::Vault;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::texts::{self, AgentText, LOCAL_MODEL, ManifestText};
use super::write;
use crate::check::check;
use crate::client::manager::now_s;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::{MANIFEST, error_chain};

/// Of the two keys that are made.
const KEY_BYTES: usize = 24;

/// Providers that the wizard offers, each with a model to begin with.
const PROVIDERS: [(&str, &str); 6] = [
    ("This machine: small, no key, no network", LOCAL_MODEL),
    ("OpenAI", "openai/gpt-4o-mini"),
    ("Anthropic", "anthropic/claude-haiku-4-5"),
    ("Google", "google/gemini-2.0-flash"),
    ("Mistral", "mistral/mistral-small-latest"),
    ("Ollama on this machine", "ollama/qwen2.5:7b"),
];

/// These need no key.
const KEYLESS: [&str; 3] = ["local", "llama_cpp", "ollama"];

#[derive(Debug, Args)]
pub(crate) struct FormationArgs {
    /// Its id, and the folder that is made: lower-case letters, digits and hyphens
    name: String,
    /// What it is for, in a sentence
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Model that answers, as PROVIDER/MODEL [default: a small one on this machine, which needs no key]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// What to begin with
    #[arg(long, default_value = "basic")]
    template: Template,
    /// Folder to make [default: NAME]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Ask nothing, and write what is usual
    #[arg(long)]
    no_wizard: bool,
    /// Replace files of a formation that is there; its secrets stay
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Template {
    /// One agent
    Basic,
    /// Three agents that share the work: researcher, analyst, writer
    Team,
}

/// What the wizard or the flags say.
struct Answers {
    description: String,
    model: ModelName,
    /// Of the provider: the name of its secret, and the value if it was told.
    secret: Option<(String, Option<SecretString>)>,
}

// === impl FormationArgs ===

impl FormationArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let id = self.id()?;
        let folder = context.folder.join(self.output.as_deref().unwrap_or(self.name.as_ref()));
        let is_there = std::fs::read_dir(&folder).is_ok_and(|mut it| it.next().is_some());
        if is_there && !self.force {
            let shown = context.relative(&folder).display();
            return Err(Fault::new(
                Exit::Conflict,
                "FolderExists",
                format!("{shown} is there and not empty"),
            )
            .mend("choose another folder with --output")
            .mend("--force writes into it and replaces the files of a formation"));
        }
        let answers = self.answers(context)?;
        let agents: &[AgentText] = match self.template {
            Template::Basic => &texts::BASIC,
            Template::Team => &texts::TEAM,
        };
        let text = ManifestText {
            id: id.as_str(),
            description: &answers.description,
            model: answers.model.as_str(),
            secret: answers.secret.as_ref().map(|(name, _)| name.as_str()),
            agents,
        };
        let mut files = vec![
            (MANIFEST.to_owned(), text.manifest()),
            ("SOUL.md".to_owned(), text.soul()),
            ("README.md".to_owned(), text.readme()),
            (".gitignore".to_owned(), texts::IGNORED.to_owned()),
        ];
        files.extend(agents.iter().map(|it| (format!("agents/{}.afs", it.id), it.file())));
        for (name, text) in &files {
            write(&folder.join(name), text, self.force, context)?;
        }
        let names = keep_secrets(&folder, &answers)?;
        let (template, _) = super::super::secrets::template("", &names);
        write(&folder.join("secrets"), &template, true, context)?;
        let checked = check(&folder);
        super::super::validate::sound(&folder, "used as it is", &checked)?;
        let shown = context.relative(&folder).display().to_string();
        for it in checked.warnings() {
            context.terminal.caution(it);
        }
        let mut written: Vec<String> = files.into_iter().map(|(name, _)| name).collect();
        written.extend(["secrets.enc", ".key", "secrets"].map(str::to_owned));
        let value = json!({"id": id, "folder": folder.display().to_string(), "model": answers.model.as_str(), "files": written});
        Ok(context.show(&value, |_| {
            let (tick, model) = (context.terminal.tick(), &answers.model);
            let is_ready = checked.placeholders.iter().all(|it| it.is_set);
            let before = if is_ready { "" } else { "muxi secrets setup && " };
            format!("{tick} Made formation {id} in {shown}; {model} answers\n  cd {shown} && {before}muxi up && muxi chat\n")
        }))
    }

    fn id(&self) -> Result<FormationId, Fault> {
        self.name.parse::<FormationId>().map_err(|error| {
            let fault = Fault::usage(error.to_string());
            let meant = super::normal(&self.name);
            if meant.parse::<FormationId>().is_ok() {
                return fault.mend(format!("muxi new formation {meant}"));
            }
            fault.mend("use three to fifty lower-case letters, digits and hyphens, such as my-team")
        })
    }

    fn answers(&self, context: &Context) -> Result<Answers, Fault> {
        let asks = context.terminal.can_ask() && !self.no_wizard;
        let usual = format!("{}, a formation of agents.", super::title(&self.name));
        let description = match &self.description {
            Some(text) => text.clone(),
            None if asks => {
                context.terminal.ask("What is it for?", Some(&usual), "--description")?
            }
            None => usual,
        };
        let model = match &self.model {
            Some(model) => model.clone(),
            None if asks => {
                let names = PROVIDERS.map(|(name, _)| name);
                let (_, usual) =
                    PROVIDERS[context.terminal.choose("Who answers?", &names, "--model")?];
                if usual == LOCAL_MODEL {
                    usual.to_owned()
                } else {
                    context.terminal.ask("Which model?", Some(usual), "--model")?
                }
            }
            None => LOCAL_MODEL.to_owned(),
        };
        let model: ModelName = model.parse().map_err(|error| {
            Fault::usage(format!("`{model}` is no model: {error}"))
                .mend("--model openai/gpt-4o-mini")
        })?;
        let secret = if KEYLESS.contains(&model.provider()) {
            None
        } else {
            let name = muxi_vault::normalize_name(&format!("{}_API_KEY", model.provider()));
            let value = if asks {
                let question = format!("{name} (Enter: later)");
                let value = context.terminal.ask_secret(&question, "--no-wizard")?;
                Some(value).filter(|it| !it.expose_secret().is_empty())
            } else {
                None
            };
            Some((name, value))
        };
        Ok(Answers { description, model, secret })
    }
}

// === private helpers ===

/// Makes the formation's own keys, unless they are there; all names that are used.
fn keep_secrets(folder: &std::path::Path, answers: &Answers) -> Result<Vec<String>, Fault> {
    let mut names: Vec<String> = answers.secret.iter().map(|(name, _)| name.clone()).collect();
    let kept = Vault::change(folder, now_s(), |vault| -> Result<(), NewError> {
        for (name, prefix) in
            [("FORMATION_ADMIN_API_KEY", "fma_"), ("FORMATION_CLIENT_API_KEY", "fmc_")]
        {
            names.push(name.to_owned());
            if vault.get(name).is_none() {
                let mut bytes = [0; KEY_BYTES];
                getrandom::fill(&mut bytes).map_err(|it| NewError(it.to_string()))?;
                vault.set(name, format!("{prefix}{}", hex::encode(bytes)).into())?;
            }
        }
        if let Some((name, Some(value))) = &answers.secret {
            vault.set(name, value.clone())?;
        }
        Ok(())
    });
    kept.map_err(|NewError(message)| Fault::failed(message))?;
    names.sort();
    Ok(names)
}

struct NewError(String);

impl From<muxi_vault::VaultError> for NewError {
    fn from(error: muxi_vault::VaultError) -> Self {
        Self(error_chain(&error))
    }
}
