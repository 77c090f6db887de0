//! The formation with another model: a copy of its bundle, run by a process of its own that ends with the command.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use serde_yaml::{Mapping, Value};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::formation::Formation;
use crate::client::url;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::files::document;

const PROGRAM: &str = "formation-runtime";
/// A model of this machine is read from the disk first.
const START_LIMIT: Duration = Duration::from_mins(2);
/// Of the last words of one that does not start.
const LINES_MAX: usize = 10;
/// Not part of what a formation runs from.
const LEFT_OUT: [&str; 6] = [".git", ".muxi", "memory.db", "node_modules", "data", "evals"];

/// Killed and removed when dropped.
#[derive(Debug)]
pub(super) struct OtherModel {
    pub(super) formation: Formation,
    _process: Child,
    _folder: TempDir,
}

// === impl OtherModel ===

impl OtherModel {
    pub(super) async fn start(bundle: &Bundle, model: &str, user: &str) -> Result<Self, Fault> {
        model.parse::<muxi_formation::ModelName>().map_err(|error| {
            Fault::usage(format!("`{model}`: {error}")).mend("--model openai/gpt-4o-mini")
        })?;
        let folder = tempfile::Builder::new().prefix("muxi-eval-").tempdir();
        let folder = folder.map_err(|it| Fault::failed(format!("no temporary folder: {it}")))?;
        let copy = folder.path().join("bundle");
        copy_folder(&bundle.folder, &copy)?;
        let copied = Bundle::at(&copy).ok_or_else(|| Fault::failed("the copy has no manifest"))?;
        override_models(&copied, model)?;
        let data = folder.path().join("data");
        let (process, address) = run(&copy, &data).await?;
        let key = copied.keys().1.or_else(|| made_key(&data)).ok_or_else(|| {
            Fault::failed("the formation made no client key")
                .mend("set FORMATION_CLIENT_API_KEY in its secrets")
        })?;
        let mut url = url(&address)?;
        url.set_path("/v1");
        let formation = Formation::own(url, bundle.id()?.to_string(), user.to_owned(), key)?;
        Ok(Self { formation, _process: process, _folder: folder })
    }
}

// === private helpers ===

async fn run(bundle: &Path, data: &Path) -> Result<(Child, String), Fault> {
    let program = program()?;
    let failed = |why: &str| {
        Fault::failed(format!("the formation does not start with this model{why}"))
            .mend("muxi validate   checks the bundle; --model takes provider/model")
    };
    let child = Command::new(&program)
        .arg(bundle)
        .args(["--port", "0", "--data-dir"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|it| failed(&format!(": {}: {it}", program.display())))?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed(": it cannot be listened to"));
    };
    let (mut out, mut err) = (BufReader::new(out).lines(), BufReader::new(err).lines());
    let mut said = Vec::new();
    let starting = async {
        loop {
            // Lines are whole or not there: dropping a wait loses nothing.
            tokio::select! {
                line = out.next_line() => {
                    let line = line.ok().flatten()?;
                    if let Some(address) = address(&line) {
                        return Some(address);
                    }
                    said.push(line);
                }
                Ok(Some(line)) = err.next_line() => said.push(line),
            }
        }
    };
    let address = match tokio::time::timeout(START_LIMIT, starting).await {
        Ok(Some(address)) => address,
        Ok(None) => {
            while let Ok(Some(line)) = err.next_line().await {
                said.push(line);
            }
            said.drain(..said.len().saturating_sub(LINES_MAX));
            return Err(failed(":").details(said));
        }
        Err(_) => return Err(failed(" within two minutes")),
    };
    // A full pipe would stop it.
    drain(out);
    drain(err);
    Ok((child, address))
}

/// Of the line that a formation prints once it serves.
fn address(line: &str) -> Option<String> {
    let words = line.strip_prefix("[  OK  ]")?.split_whitespace();
    words.map(|it| it.trim_end_matches(',')).find(|it| it.starts_with("http://")).map(str::to_owned)
}

#[expect(clippy::disallowed_methods, reason = "it ends with the process whose words it swallows")]
fn drain(
    mut lines: tokio::io::Lines<BufReader<impl tokio::io::AsyncRead + Unpin + Send + 'static>>,
) {
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}

/// Beside this program, else on the search path.
fn program() -> Result<PathBuf, Fault> {
    let beside = std::env::current_exe().ok().and_then(|it| Some(it.parent()?.join(PROGRAM)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|it| it.join(PROGRAM));
    beside.into_iter().chain(on_path).find(|it| it.is_file()).ok_or_else(|| {
        Fault::not_found(format!(
            "--model needs the program {PROGRAM}, which is not on this machine"
        ))
        .mend("install it beside muxi or on the PATH")
        .mend("without --model, cases run against what is deployed, the draft or --url")
    })
}

/// Every text model that the bundle names, of the formation and of its agents.
fn override_models(bundle: &Bundle, model: &str) -> Result<(), Fault> {
    let mut manifest = read(&bundle.manifest)?;
    let llm = manifest.entry("llm".into()).or_insert(Value::Mapping(Mapping::new()));
    if let Some(llm) = llm.as_mapping_mut() {
        let models = llm.entry("models".into()).or_insert(Value::Sequence(Vec::new()));
        if !override_text(models, model) {
            let entry = Mapping::from_iter([("text".into(), model.into())]);
            models
                .as_sequence_mut()
                .into_iter()
                .for_each(|it| it.push(Value::Mapping(entry.clone())));
        }
    }
    for agent in manifest.get_mut("agents").and_then(Value::as_sequence_mut).into_iter().flatten() {
        override_agent(agent, model);
    }
    document::write(&bundle.manifest, &manifest)?;
    for file in std::fs::read_dir(bundle.folder.join("agents")).into_iter().flatten().flatten() {
        let path = file.path();
        if path.extension().is_some_and(|it| it == "afs" || it == "yaml" || it == "yml") {
            let mut agent = Value::Mapping(read(&path)?);
            override_agent(&mut agent, model);
            document::write(&path, &agent)?;
        }
    }
    Ok(())
}

fn override_agent(agent: &mut Value, model: &str) {
    if let Some(models) = agent.get_mut("llm_models") {
        override_text(models, model);
    }
    if let Some(models) = agent.get_mut("llm").and_then(|it| it.get_mut("models")) {
        override_text(models, model);
    }
}

/// Whether one was there.
fn override_text(models: &mut Value, model: &str) -> bool {
    let mut found = false;
    for entry in models.as_sequence_mut().into_iter().flatten() {
        if let Some(text) = entry.get_mut("text") {
            *text = model.into();
            found = true;
        }
    }
    found
}

fn read(path: &Path) -> Result<Mapping, Fault> {
    Ok(document::read(path)?.unwrap_or_default())
}

fn made_key(data: &Path) -> Option<SecretString> {
    let keys: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("keys.json")).ok()?).ok()?;
    keys["client_key"].as_str().map(SecretString::from)
}

/// Links are left out, as a deploy refuses them.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Fault> {
    let copy = || -> std::io::Result<()> {
        std::fs::create_dir(to)?;
        for entry in std::fs::read_dir(from)? {
            let (entry, kind) = entry.and_then(|it| it.file_type().map(|kind| (it, kind)))?;
            let name = entry.file_name();
            if LEFT_OUT.iter().any(|it| name == *it) {
                continue;
            }
            if kind.is_dir() {
                copy_folder(&entry.path(), &to.join(&name))
                    .map_err(|it| std::io::Error::other(it.message().to_owned()))?;
            } else if kind.is_file() {
                std::fs::copy(entry.path(), to.join(&name))?;
            }
        }
        Ok(())
    };
    copy().map_err(|it| Fault::file("copy", from, it))
}
