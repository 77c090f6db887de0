//! Model files: what they are called, where they lie, and whether they can be used.
//!
//! A model of the catalogue is imported: its source is checked against a known SHA-256, converted
//! once into a form that runs fast, and put in place by renames, the manifest last. A folder with
//! a manifest therefore holds a complete model, whenever the import was interrupted.

mod convert;
mod import;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::convert::{is_slow, slow_tensors};
pub use self::import::{ImportError, Imported, import};

/// The model that every installation can have without an account anywhere.
pub const SMOLLM2: Catalogued = Catalogued {
    name: "smollm2-135m-instruct",
    source_file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    source_bytes: 98_362_432,
    source_sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/// A model that is known by name and by the hash of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Catalogued {
    pub name: &'static str,
    pub source_file: &'static str,
    pub source_bytes: u64,
    pub source_sha256: &'static str,
}

/// The name of a local model, as the manifest of a formation writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelName {
    /// `local/smollm2-135m-instruct`
    Catalogued(&'static str),
    /// `llama_cpp/<file.gguf>`: a file that somebody put into the models folder.
    File(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModelName {
    #[error("there is no local model `{0}`; the one that exists is `local/{known}`", known = SMOLLM2.name)]
    Unknown(String),
    #[error(
        "`{0}` is not the name of a model file: it must end in .gguf, start with a letter or digit, \
         and contain no path separators"
    )]
    File(String),
}

/// Whether a model can be loaded now, and if not, what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelState {
    Missing { reason: String },
    Ready { path: PathBuf, bytes: u64 },
    Failed { reason: String },
}

/// Looks at the folder only: no file is read but the small manifest.
pub fn state(models_dir: &Path, name: &ModelName) -> ModelState {
    match name {
        ModelName::Catalogued(catalogued) => catalogued_state(models_dir, catalogued),
        ModelName::File(file) => file_state(models_dir, file),
    }
}

/// Every model that a host on this folder can name: the catalogue, then the files put there by hand.
pub fn list(models_dir: &Path) -> Vec<ModelName> {
    let converted = converted_file(SMOLLM2.name);
    let mut files: Vec<_> = fs::read_dir(models_dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| *file != converted && is_model_file(file))
        .take(LISTED_FILES_MAX)
        .collect();
    files.sort_unstable();
    std::iter::once(ModelName::Catalogued(SMOLLM2.name))
        .chain(files.into_iter().map(ModelName::File))
        .collect()
}

/// A folder with more files than this is not a models folder.
const LISTED_FILES_MAX: usize = 256;

/// A manifest is a few lines; anything longer is not one.
const MANIFEST_BYTES_MAX: u64 = 16 * 1024;

/// Written after the converted file is in place: its presence says that the import was completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    source_sha256: String,
    sha256: String,
    bytes: u64,
}

// === impl ModelName ===

impl FromStr for ModelName {
    type Err = InvalidModelName;

    fn from_str(text: &str) -> Result<Self, InvalidModelName> {
        if let Some(file) = text.strip_prefix("llama_cpp/") {
            return if is_model_file(file) {
                Ok(Self::File(file.to_owned()))
            } else {
                Err(InvalidModelName::File(file.to_owned()))
            };
        }
        match text.strip_prefix("local/").unwrap_or(text) {
            name if name == SMOLLM2.name => Ok(Self::Catalogued(SMOLLM2.name)),
            _ => Err(InvalidModelName::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalogued(name) => write!(f, "local/{name}"),
            Self::File(file) => write!(f, "llama_cpp/{file}"),
        }
    }
}

// === private helpers ===

fn catalogued_state(models_dir: &Path, name: &str) -> ModelState {
    let manifest = match read_manifest(&models_dir.join(manifest_file(name))) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            return ModelState::Missing {
                reason: format!("the model {name} has not been imported; {}", import_mend()),
            };
        }
        Err(error) => {
            return ModelState::Failed {
                reason: format!(
                    "the manifest of {name} cannot be read ({error}); {}",
                    import_mend()
                ),
            };
        }
    };
    let path = models_dir.join(converted_file(name));
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() == manifest.bytes => {
            ModelState::Ready { path, bytes: manifest.bytes }
        }
        Ok(metadata) => ModelState::Failed {
            reason: format!(
                "{} has {} bytes instead of {}; {}",
                path.display(),
                metadata.len(),
                manifest.bytes,
                import_mend()
            ),
        },
        Err(error) => ModelState::Failed {
            reason: format!("{} cannot be read ({error}); {}", path.display(), import_mend()),
        },
    }
}

fn file_state(models_dir: &Path, file: &str) -> ModelState {
    let path = models_dir.join(file);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => ModelState::Ready { path, bytes: metadata.len() },
        Ok(_) => ModelState::Failed { reason: format!("{} is not a file", path.display()) },
        Err(error) if error.kind() == io::ErrorKind::NotFound => ModelState::Missing {
            reason: format!("there is no {file} in {}; copy it there", models_dir.display()),
        },
        Err(error) => {
            ModelState::Failed { reason: format!("{} cannot be read ({error})", path.display()) }
        }
    }
}

fn import_mend() -> String {
    format!(
        "run `formation-runtime models import FILE` with {} (scripts/fetch-model.sh obtains it), \
         or scripts/quickstart.sh, which does both",
        SMOLLM2.source_file
    )
}

fn is_model_file(file: &str) -> bool {
    file.len() <= 255
        && Path::new(file).extension().is_some_and(|extension| extension == "gguf")
        && file.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !file.contains(['/', '\\', '\0'])
}

fn converted_file(name: &str) -> String {
    format!("{name}.q8.gguf")
}

fn manifest_file(name: &str) -> String {
    format!("{name}.q8.json")
}

fn read_manifest(path: &Path) -> io::Result<Option<Manifest>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MANIFEST_BYTES_MAX => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
}

#[cfg(test)]
mod tests;
