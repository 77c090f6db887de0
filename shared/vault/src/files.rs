//! The two files of a vault: read under a bound, replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::VaultError;

/// The content, or `None` when there is no such file.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    let failed = |source| VaultError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut content = Zeroizing::new(Vec::new());
    file.take(bytes_max + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > bytes_max {
        return Err(VaultError::TooLarge { path: path.to_owned(), bytes_max });
    }
    Ok(Some(content))
}

/// Writes a neighbour that only the owner can read, then renames it over `path`.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), VaultError> {
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(VaultError::Random)?;
    let neighbour = path.with_added_extension(format!("{:016x}", u64::from_ne_bytes(suffix)));
    let written = write_synced(&neighbour, content).and_then(|()| fs::rename(&neighbour, path));
    if written.is_err() {
        // The first failure is the one worth telling; a neighbour that stays is only litter.
        drop(fs::remove_file(&neighbour));
    }
    written
        .and_then(|()| match path.parent() {
            // The rename is durable once its folder is.
            Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        })
        .map_err(|source| VaultError::Write { path: path.to_owned(), source })
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
