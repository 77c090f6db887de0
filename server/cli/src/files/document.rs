//! YAML files that are read under a bound and replaced whole.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::Fault;

const BYTES_MAX: u64 = 1024 * 1024;

/// What the file holds, or nothing when there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Fault> {
    let Some(text) = text(path)? else { return Ok(None) };
    serde_yaml::from_str(&text).map(Some).map_err(|error| {
        // The parser's own words could quote a key that stands there.
        let place = error
            .location()
            .map_or_else(String::new, |it| format!(":{}:{}", it.line(), it.column()));
        let message = format!("{}{place} is not what it should be", path.display());
        Fault::failed(message).mend("mend the file, or move it away and begin anew")
    })
}

pub(crate) fn text(path: &Path) -> Result<Option<String>, Fault> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::file("read", path, error)),
    };
    let mut text = String::new();
    file.take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|it| Fault::file("read", path, it))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Fault::file("read", path, format!("it has more than {BYTES_MAX} bytes")));
    }
    Ok(Some(text))
}

/// For its owner only, whoever could read it before.
pub(crate) fn write<T: Serialize>(path: &Path, content: &T) -> Result<(), Fault> {
    let text = serde_yaml::to_string(content).map_err(|it| Fault::file("write", path, it))?;
    placed(path, text.as_bytes(), |_| Permissions::from_mode(0o600))
}

/// A file that is no secret of ours stays readable by whoever could read it.
pub(crate) fn replace(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Fault> {
    let usual = || Permissions::from_mode(0o644);
    placed(path, content.as_ref(), |before| before.map_or_else(usual, Metadata::permissions))
}

/// Folders that are missing are made; the file is never half written; a link stays one.
fn placed(
    path: &Path,
    content: &[u8],
    permissions: impl FnOnce(Option<&Metadata>) -> Permissions,
) -> Result<(), Fault> {
    let write = || {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder =
            target.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.as_file().set_permissions(permissions(fs::metadata(&target).ok().as_ref()))?;
        file.persist(&target).map_err(|it| it.error).map(drop)
    };
    write().map_err(|it| Fault::file("write", path, it))
}
