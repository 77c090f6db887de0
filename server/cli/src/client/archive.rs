//! A formation's files as the manager has them, unzipped under bounds.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use reqwest::Response;

use super::manager::Manager;
use super::{query, segment, unreachable};
use crate::fault::Fault;

/// Of the zip as it comes.
const ZIP_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Of all files together.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;
const FILES_MAX: usize = 10_000;

/// By path, with slashes; none is absolute or climbs.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Which files are meant.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// Another than the current one.
    pub(crate) generation: Option<u64>,
    pub(crate) with_database: bool,
}

pub(crate) async fn download(manager: &Manager, id: &str, wanted: Wanted) -> Result<Files, Fault> {
    let asked = query([
        ("generation", wanted.generation.map(|it| it.to_string())),
        ("db", wanted.with_database.then(|| "true".to_owned())),
    ]);
    let path = format!("/rpc/formations/{}/download{asked}", segment(id));
    unzipped(body(manager, manager.raw(&path).await?).await?)
}

// === private helpers ===

async fn body(manager: &Manager, mut response: Response) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|it| unreachable(&manager.url, &it))? {
        if body.len() + chunk.len() > ZIP_BYTES_MAX {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unzipped(zip: Vec<u8>) -> Result<Files, Fault> {
    let broken = |why: String| Fault::failed(format!("the download cannot be unpacked: {why}"));
    let mut archive =
        zip::ZipArchive::new(Cursor::new(zip)).map_err(|it| broken(it.to_string()))?;
    if archive.len() > FILES_MAX {
        return Err(too_large());
    }
    let (mut files, mut left) = (Files::new(), BYTES_MAX);
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|it| broken(it.to_string()))?;
        if entry.is_dir() {
            continue;
        }
        let name = entry.name().map_err(|it| broken(it.to_string()))?.into_owned();
        let is_plain =
            |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
        if !entry.is_file() || !name.split('/').all(is_plain) {
            return Err(broken(format!("`{name}` is no file within the formation")));
        }
        let mut content = Vec::new();
        // Not what the archive says of its sizes, but what comes out of it.
        let read = entry.by_ref().take(left + 1).read_to_end(&mut content);
        read.map_err(|it| broken(format!("`{name}`: {it}")))?;
        left = left.checked_sub(content.len() as u64).ok_or_else(too_large)?;
        files.insert(name, content);
    }
    Ok(files)
}

fn too_large() -> Fault {
    Fault::failed("the formation is larger than what is taken here")
        .mend("copy it from the manager's machine, from its data folder")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn zip_of(name: &str) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"x").unwrap();
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn files_that_would_climb_out_are_refused() {
        assert_eq!(unzipped(zip_of("agents/a.afs")).unwrap().len(), 1);
        for name in ["../evil", "/etc/passwd", "a/../../b", "a\\b"] {
            assert!(unzipped(zip_of(name)).is_err(), "{name}");
        }
        assert!(unzipped(b"no zip".to_vec()).is_err());
    }
}
