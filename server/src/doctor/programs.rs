//! Programs beside the manager: the runtime, its models, and the service manager.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use muxi_formation::Resolve;

use super::{Check, Patient};
use crate::app;

/// A program that only prints something.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

pub(super) fn runtime(patient: &Patient) -> Check {
    const NAME: &str = "runtime";
    let program = match app::runtime_program(&patient.config.runtime.program) {
        Ok(program) => program,
        Err(error) => {
            let mend = "install formation-runtime beside muxi-server, or set runtime.program";
            return Check::fail(NAME, error.to_string(), mend);
        }
    };
    let shown = program.display();
    match output(Command::new(&program).arg("--version")) {
        Ok(said) => match said.trim().strip_prefix("formation-runtime ") {
            Some(version) if version == crate::VERSION => {
                Check::ok(NAME, format!("{shown}, version {version}"))
            }
            Some(version) => Check::warn(
                NAME,
                format!("{shown} is of version {version}, the manager of {}", crate::VERSION),
                "install both of one version",
            ),
            None => {
                Check::fail(NAME, format!("{shown} is no formation-runtime"), "install it anew")
            }
        },
        Err(fault) => Check::fail(NAME, format!("{shown} {fault}"), "install it anew"),
    }
}

/// Whether the local models that formations name are there.
pub(super) fn models(patient: &Patient) -> Check {
    const NAME: &str = "local models";
    let folder = app::models_dir(&patient.config.runtime.models_dir);
    let wanted = wanted_models(&patient.layout.formations());
    if wanted.is_empty() {
        return Check::ok(NAME, "no formation asks for one");
    }
    let wanted = wanted.join(", ");
    let Ok(program) = app::runtime_program(&patient.config.runtime.program) else {
        return Check::warn(
            NAME,
            format!("{wanted}: no runtime to ask"),
            "see the runtime's check",
        );
    };
    let mut list = Command::new(program);
    list.args(["models", "list"]).env("MUXI_MODELS_DIR", &folder);
    match output(&mut list) {
        Ok(said) if said.contains("has not been imported") => Check::warn(
            NAME,
            format!("formations ask for {wanted}, which is not in {}", folder.display()),
            "run `formation-runtime models import FILE`, with runtime.models_dir as MUXI_MODELS_DIR",
        ),
        Ok(_) => Check::ok(NAME, format!("{wanted} in {}", folder.display())),
        Err(fault) => Check::warn(NAME, format!("the list of models {fault}"), "see the runtime"),
    }
}

/// A service that keeps the manager running, where there is systemd.
pub(super) fn service(patient: &Patient) -> Check {
    const NAME: &str = "service";
    let mut folders = vec![PathBuf::from("/etc/systemd/system")];
    if let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        folders.push(Path::new(&home).join(".config/systemd/user"));
    }
    let data = format!("MUXI_DATA_DIR={}", patient.layout.root().display());
    let units = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let found = units.flatten().map(|entry| entry.path()).find(|path| {
        path.extension().is_some_and(|it| it == "service")
            && std::fs::read_to_string(path).is_ok_and(|text| text.contains(&data))
    });
    match found {
        Some(path) => Check::ok(NAME, path.display().to_string()),
        None if Path::new("/run/systemd/system").is_dir() => Check::warn(
            NAME,
            "no service keeps a manager running on this data folder",
            "run `muxi-server service install`",
        ),
        None => Check::ok(NAME, "this machine is not run by systemd"),
    }
}

/// The local models of every formation's newest generation.
fn wanted_models(formations: &Path) -> Vec<String> {
    let mut wanted = Vec::new();
    for entry in std::fs::read_dir(formations).into_iter().flatten().flatten() {
        let generations = std::fs::read_dir(entry.path().join("generations"));
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u64>().ok();
        let newest = generations
            .into_iter()
            .flatten()
            .flatten()
            .map(|generation| generation.path())
            .max_by_key(number);
        // A bundle that cannot be read is the manager's concern, which says so when it starts it.
        let Some(Ok(loaded)) = newest.map(|path| muxi_formation::load(&path, Resolve::Keep)) else {
            continue;
        };
        let models = &loaded.manifest.llm.models;
        wanted.extend(
            [&models.text, &models.vision, &models.documents]
                .into_iter()
                .flatten()
                .map(|entry| &entry.model)
                .filter(|model| model.is_local())
                .map(|model| model.as_str().to_owned()),
        );
    }
    wanted.sort();
    wanted.dedup();
    wanted
}

/// What a program printed, or why it did not.
fn output(command: &mut Command) -> Result<String, String> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.map_err(|error| format!("cannot be started: {error}"))?;
    let begun = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if begun.elapsed() > PATIENCE {
            // It may end by itself at this moment.
            child.kill().ok();
            child.wait().ok();
            return Err(format!("did not end within {}s", PATIENCE.as_secs()));
        }
        std::thread::sleep(PAUSE);
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("ended with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
