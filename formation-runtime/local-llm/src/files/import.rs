//! The import of a model of the catalogue: verify, convert, rename.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Manifest, SMOLLM2, convert, converted_file, manifest_file, read_manifest};

/// What lies in the models folder after an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: String,
    /// The same model was there already and was found intact.
    pub already_present: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(
        "{path} is not {expected_file}: its SHA-256 is {found}, expected {expected}; download it again"
    )]
    WrongFile { path: String, expected_file: &'static str, expected: &'static str, found: String },
    #[error("failed to read {path}")]
    Read { path: String, source: io::Error },
    #[error("failed to convert {path}")]
    Convert { path: String, source: candle_core::Error },
    #[error("failed to write {path}")]
    Write { path: String, source: io::Error },
}

/// Verifies, converts and installs the source of [`SMOLLM2`]. Takes about two seconds and 400 MB.
///
/// Importing again checks what is there and repairs it; two imports at once wait for each other.
pub fn import(source_gguf: &Path, models_dir: &Path) -> Result<Imported, ImportError> {
    let read_error = |source| ImportError::Read { path: source_gguf.display().to_string(), source };
    let mut source = File::open(source_gguf).map_err(read_error)?;
    let source_sha256 = sha256(&mut source).map_err(read_error)?;
    if source_sha256 != SMOLLM2.source_sha256 {
        return Err(ImportError::WrongFile {
            path: source_gguf.display().to_string(),
            expected_file: SMOLLM2.source_file,
            expected: SMOLLM2.source_sha256,
            found: source_sha256,
        });
    }
    source.rewind().map_err(read_error)?;

    fs::create_dir_all(models_dir).map_err(|source| write_error(models_dir, source))?;
    let _lock = lock(models_dir)?;
    if let Some(imported) = intact(models_dir) {
        return Ok(imported);
    }

    let path = models_dir.join(converted_file(SMOLLM2.name));
    let partial = models_dir.join(format!(".{}.partial", converted_file(SMOLLM2.name)));
    let target = File::create(&partial).map_err(|source| write_error(&partial, source))?;
    let mut writer = BufWriter::with_capacity(COPY_BYTES, target);
    convert::convert(&mut BufReader::with_capacity(COPY_BYTES, source), &mut writer).map_err(
        |source| ImportError::Convert { path: source_gguf.display().to_string(), source },
    )?;
    let (sha256, bytes) = finish(writer, &partial)?;
    fs::rename(&partial, &path).map_err(|source| write_error(&path, source))?;

    let manifest =
        Manifest { source_sha256: SMOLLM2.source_sha256.to_owned(), sha256: sha256.clone(), bytes };
    write_manifest(models_dir, &manifest)?;
    Ok(Imported { path, bytes, sha256, already_present: false })
}

const COPY_BYTES: usize = 1024 * 1024;

// === private helpers ===

/// Held until the import is done; the operating system lets go of it when the process dies.
fn lock(models_dir: &Path) -> Result<File, ImportError> {
    let path = models_dir.join(".import.lock");
    File::create(&path)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|source| write_error(&path, source))
}

/// The installed model, if its content is what the manifest says.
fn intact(models_dir: &Path) -> Option<Imported> {
    let manifest = read_manifest(&models_dir.join(manifest_file(SMOLLM2.name))).ok()??;
    let path = models_dir.join(converted_file(SMOLLM2.name));
    let found = sha256(&mut File::open(&path).ok()?).ok()?;
    (manifest.source_sha256 == SMOLLM2.source_sha256 && manifest.sha256 == found)
        .then_some(Imported { path, bytes: manifest.bytes, sha256: found, already_present: true })
}

fn finish(writer: BufWriter<File>, path: &Path) -> Result<(String, u64), ImportError> {
    let file = writer.into_inner().map_err(|error| write_error(path, error.into_error()))?;
    file.sync_all().map_err(|source| write_error(path, source))?;
    let mut written = File::open(path).map_err(|source| write_error(path, source))?;
    let bytes = written.metadata().map_err(|source| write_error(path, source))?.len();
    let sha256 = sha256(&mut written).map_err(|source| write_error(path, source))?;
    Ok((sha256, bytes))
}

fn write_manifest(models_dir: &Path, manifest: &Manifest) -> Result<(), ImportError> {
    let path = models_dir.join(manifest_file(SMOLLM2.name));
    let partial = models_dir.join(format!(".{}.partial", manifest_file(SMOLLM2.name)));
    let write = || -> io::Result<()> {
        fs::write(&partial, serde_json::to_vec_pretty(manifest)?)?;
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, &path)?;
        File::open(models_dir)?.sync_all()
    };
    write().map_err(|source| write_error(&path, source))
}

fn sha256(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn write_error(path: &Path, source: io::Error) -> ImportError {
    ImportError::Write { path: path.display().to_string(), source }
}
