//! What is right and wrong with a bundle, found out once for every command that asks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use muxi_formation::{Diagnostic, Loaded, Resolve, Severity, Source};
use muxi_vault::{Vault, VaultError};
use secrecy::ExposeSecret as _;

use crate::files::bundle::error_chain;
use crate::files::variable;

/// The loader's word, and which placeholders have a value.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Faults and warnings, by file and line.
    pub(crate) found: Vec<Diagnostic>,
    /// Nothing while there are faults.
    pub(crate) loaded: Option<Loaded>,
    pub(crate) placeholders: Vec<Placeholder>,
}

/// A secret or variable that the bundle refers to.
#[derive(Debug, Clone)]
pub(crate) struct Placeholder {
    pub(crate) source: Source,
    pub(crate) name: String,
    /// In `secrets.enc`, or here in the environment.
    pub(crate) is_set: bool,
    /// Of its first use, as `file:line:column`.
    pub(crate) place: Option<(String, usize, usize)>,
}

/// What the loader says in general is told for each secret by name.
const SECRETS_AT_ALL: &str = "secrets are used and there is no secrets.enc";

pub(crate) fn check(folder: &Path) -> Checked {
    let (vault, closed) = match Vault::open(folder) {
        Ok(vault) => (vault.unwrap_or_default(), None),
        Err(error) => (Vault::default(), Some(error)),
    };
    let asked = RefCell::new(BTreeMap::new());
    let look_up = |source, name: &str| {
        let value = match source {
            Source::Secrets => vault.get(name).map(|it| it.expose_secret().to_owned()),
            Source::Env => variable(name),
        };
        asked.borrow_mut().insert((source, name.to_owned()), value.is_some());
        value
    };
    let filled = muxi_formation::load(folder, Resolve::With(&look_up));
    let asked = asked.into_inner();
    let missed: &[Diagnostic] = filled.as_ref().err().map_or(&[], Vec::as_slice);
    let mut places: BTreeMap<(Source, String), (String, usize, usize)> = asked
        .keys()
        .filter_map(|(source, name)| {
            let told = missed.iter().find(|it| {
                it.message.contains(&format!("`{name}`")) && it.message.ends_with("is not set")
            })?;
            Some(((*source, name.clone()), (told.file.clone(), told.line, told.column)))
        })
        .collect();
    // Without all values the others cannot be judged, so the placeholders stay as the manager sees them.
    let result = if asked.values().all(|is_set| *is_set) {
        filled
    } else {
        muxi_formation::load(folder, Resolve::Keep)
    };
    let (mut found, loaded) = match result {
        Ok(mut loaded) => (std::mem::take(&mut loaded.warnings), Some(loaded)),
        Err(found) => (found, None),
    };
    for it in loaded.iter().flat_map(|it| &it.references) {
        places.insert((it.source, it.name.clone()), (it.file.clone(), it.line, it.column));
    }
    let placeholders: Vec<Placeholder> = asked
        .into_iter()
        .map(|((source, name), is_set)| {
            let place = places.remove(&(source, name.clone()));
            Placeholder { source, name, is_set, place }
        })
        .collect();
    found.retain(|it| it.message != SECRETS_AT_ALL);
    // What stands in secrets that cannot be opened is not known to be missing.
    let is_known = |it: &&Placeholder| closed.is_none() || it.source == Source::Env;
    found.extend(placeholders.iter().filter(is_known).filter_map(Placeholder::missing));
    // Of a key that is missing, the loader tells, too.
    let told = closed.filter(|it| !matches!(it, VaultError::KeyMissing { .. }));
    found.extend(told.as_ref().map(unopened));
    found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    Checked { found, loaded, placeholders }
}

// === impl Checked ===

impl Checked {
    pub(crate) fn faults(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter().filter(|it| it.is_error())
    }

    pub(crate) fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter().filter(|it| !it.is_error())
    }

    /// The formation, if nothing is wrong with it.
    pub(crate) fn sound(&self) -> Option<&Loaded> {
        self.loaded.as_ref().filter(|_| self.faults().next().is_none())
    }
}

// === impl Placeholder ===

impl Placeholder {
    /// Only a warning: the environment of the process that runs the formation may have it.
    fn missing(&self) -> Option<Diagnostic> {
        if self.is_set {
            return None;
        }
        let Self { source, name, place, .. } = self;
        let (file, line, column) = place.clone().unwrap_or(("formation.afs".to_owned(), 1, 1));
        let (message, mend) = match source {
            Source::Secrets => (
                format!("the secret `{name}` is not set"),
                format!("muxi secrets set {name}, or set it where the formation will run"),
            ),
            Source::Env => (
                format!("the environment variable `{name}` is not set here"),
                "set it where the formation will run".to_owned(),
            ),
        };
        Some(Diagnostic { file, line, column, severity: Severity::Warning, message, mend })
    }
}

fn unopened(error: &VaultError) -> Diagnostic {
    Diagnostic {
        file: muxi_vault::SECRETS_FILE.to_owned(),
        line: 1,
        column: 1,
        severity: Severity::Error,
        message: error_chain(error),
        mend: "put the .key back that it was made with".to_owned(),
    }
}
