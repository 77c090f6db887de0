//! Bundles: received under a cap, unpacked and checked aside, stored by content, put in place by
//! one rename. What is aside goes when its guard does; what a dead manager left aside goes at the
//! next start.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt as _;
use muxi_contract::FormationId;
use muxi_formation::{
    Diagnostic, Loaded, PackError, PackOptions, Resolve, UnpackError, UnpackLimits, Unpacked,
};
use muxi_service::discard;
use sha2::{Digest as _, Sha256};
use tempfile::{TempDir, TempPath};
use tokio::io::AsyncWriteExt as _;

use crate::config::Limits;
use crate::disk;
use crate::layout::Layout;

/// An upload that is complete and on the disk, but not looked into.
#[derive(Debug)]
pub struct Upload {
    path: TempPath,
    pub sha256: String,
}

/// A body as it comes, no larger and no slower than it may be.
struct Incoming {
    chunks: BodyDataStream,
    idle: Duration,
    bytes: u64,
    bytes_max: u64,
}

/// A bundle that can be deployed: unpacked aside and without faults.
#[derive(Debug)]
pub struct Prepared {
    upload: Upload,
    /// Removed, with what is still in it, when this value goes.
    _aside: TempDir,
    root: PathBuf,
    pub loaded: Loaded,
}

/// The generations that the store knows of a formation.
#[derive(Debug)]
pub struct Kept {
    pub formation: FormationId,
    pub generations: Vec<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("the upload is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("no byte of the upload came for {0:?}")]
    Idle(Duration),
    #[error("the upload took longer than {0:?}")]
    Slow(Duration),
    #[error("the upload broke off")]
    Broken(#[source] axum::Error),
    #[error("failed to store the upload")]
    Store(#[source] io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("{0}")]
    Unpack(#[from] UnpackError),
    #[error("the bundle has faults")]
    Faults(Vec<Diagnostic>),
    #[error("failed to use the folder for uploads")]
    Store(#[source] io::Error),
}

/// Streams a body to the disk while it is hashed.
pub async fn receive(body: Body, layout: &Layout, limits: &Limits) -> Result<Upload, ReceiveError> {
    in_time(limits, stream_to_disk(Incoming::new(body, limits.bundle_bytes, limits), layout)).await
}

/// Takes a body of at most `bytes_max` into memory, in the time that an upload has.
pub async fn receive_in_memory(
    body: Body,
    bytes_max: u64,
    limits: &Limits,
) -> Result<Vec<u8>, ReceiveError> {
    let mut incoming = Incoming::new(body, bytes_max, limits);
    in_time(limits, async {
        let mut whole = Vec::new();
        while let Some(chunk) = incoming.next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    })
    .await
}

async fn stream_to_disk(mut incoming: Incoming, layout: &Layout) -> Result<Upload, ReceiveError> {
    let (file, path) = tempfile::Builder::new()
        .prefix("upload-")
        .tempfile_in(layout.uploads())
        .map_err(ReceiveError::Store)?
        .into_parts();
    let (mut file, mut hash) = (tokio::fs::File::from_std(file), Sha256::new());
    while let Some(chunk) = incoming.next().await? {
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(ReceiveError::Store)?;
    }
    file.flush().await.map_err(ReceiveError::Store)?;
    file.sync_all().await.map_err(ReceiveError::Store)?;
    Ok(Upload { path, sha256: hex::encode(hash.finalize()) })
}

/// One whole upload.
async fn in_time<T>(
    limits: &Limits,
    receiving: impl Future<Output = Result<T, ReceiveError>>,
) -> Result<T, ReceiveError> {
    let whole = Duration::from_millis(limits.upload_ms);
    tokio::time::timeout(whole, receiving).await.map_err(|_| ReceiveError::Slow(whole))?
}

/// Packs a folder as if it had been uploaded. It blocks.
pub fn from_folder(folder: &Path, id: &FormationId, layout: &Layout) -> Result<Upload, PackError> {
    let failed = |source| PackError::Write { entry: id.to_string(), source };
    let (mut file, path) = tempfile::Builder::new()
        .prefix("upload-")
        .tempfile_in(layout.uploads())
        .map_err(failed)?
        .into_parts();
    muxi_formation::pack(folder, id, PackOptions::default(), &mut file)?;
    file.sync_all().map_err(failed)?;
    let sha256 = hash(&path).map_err(failed)?;
    Ok(Upload { path, sha256 })
}

/// Unpacks an upload aside and checks it. It blocks.
pub fn prepare(upload: Upload, layout: &Layout, limits: &Limits) -> Result<Prepared, PrepareError> {
    let aside = tempfile::Builder::new()
        .prefix("unpack-")
        .tempdir_in(layout.uploads())
        .map_err(PrepareError::Store)?;
    let limits = UnpackLimits {
        unpacked_bytes: limits.unpacked_bytes,
        entries: limits.entries as usize,
        file_bytes: limits.file_bytes,
        ..UnpackLimits::default()
    };
    let archive = File::open(&upload.path).map_err(PrepareError::Store)?;
    let Unpacked { root, .. } =
        muxi_formation::unpack(archive, &aside.path().join("bundle"), &limits)?;
    // The manager never opens secrets: placeholders stay as they are.
    let loaded = muxi_formation::load(&root, Resolve::Keep).map_err(PrepareError::Faults)?;
    Ok(Prepared { upload, _aside: aside, root, loaded })
}

/// Takes a formation's folder away at once and then deletes it.
pub(crate) fn remove_folder(layout: &Layout, folder: &Path) -> io::Result<()> {
    let grave = match tempfile::Builder::new().prefix("removed-").tempdir_in(layout.uploads()) {
        // A full disk has no room for another folder, and this is what frees it.
        Err(error) if disk::is_full(&error) && folder.exists() => {
            return fs::remove_dir_all(folder);
        }
        made => made?,
    };
    match fs::rename(folder, grave.path().join("folder")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    grave.close()
}

/// Removes everything of a formation but its archives. It blocks.
///
/// The store still knows the formation, so that nobody can deploy it anew in between.
pub fn remove_formation(layout: &Layout, id: &FormationId) {
    // The data of a draft is for its next run.
    let folder = if id.is_draft() { layout.generations(id) } else { layout.formation(id) };
    report(&folder, remove_folder(layout, &folder));
}

/// Removes the files of one generation, if there are any. It blocks.
pub fn remove_generation(layout: &Layout, id: &FormationId, generation: u64) -> io::Result<()> {
    remove_folder(layout, &layout.generation(id, generation))
}

/// Removes the generations of a formation that are not `kept`. It blocks.
pub fn sweep_generations(layout: &Layout, id: &FormationId, kept: &[u64]) {
    let known: BTreeSet<PathBuf> = kept.iter().map(|it| layout.generation(id, *it)).collect();
    for path in entries(&layout.generations(id)).filter(|path| !known.contains(path)) {
        report(&path, remove_folder(layout, &path));
    }
}

/// Removes archives by their hashes. It blocks.
pub fn remove_archives(layout: &Layout, archives: &[String]) {
    for path in archives.iter().map(|sha256| layout.bundle(sha256)).filter(|path| path.exists()) {
        report(&path, fs::remove_file(&path));
    }
}

/// Removes the archives that are not `used`. It blocks.
pub fn sweep_archives(layout: &Layout, used: &[String]) {
    let used: BTreeSet<PathBuf> = used.iter().map(|sha256| layout.bundle(sha256)).collect();
    for path in entries(&layout.bundles()).filter(|path| !used.contains(path)) {
        report(&path, fs::remove_file(&path));
    }
}

/// Brings the data folder to what the store says: removes what a dead manager left half done.
pub fn sweep(layout: &Layout, stored: &[Kept], used: &[String]) {
    for path in entries(&layout.uploads()) {
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        report(&path, removed);
    }
    let known: BTreeSet<PathBuf> =
        stored.iter().map(|it| layout.formation(&it.formation)).collect();
    for path in entries(&layout.formations()).filter(|path| !known.contains(path)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(draft) = FormationId::from_stored(&name).ok().filter(FormationId::is_draft) {
            remove_formation(layout, &draft);
            continue;
        }
        tracing::info!(path = %path.display(), "removing what an unfinished deploy left");
        report(&path, remove_folder(layout, &path));
    }
    for Kept { formation, generations } in stored {
        sweep_generations(layout, formation, generations);
    }
    sweep_archives(layout, used);
}

// === impl Incoming ===

impl Incoming {
    fn new(body: Body, bytes_max: u64, limits: &Limits) -> Self {
        let idle = Duration::from_millis(limits.upload_idle_ms);
        Self { chunks: body.into_data_stream(), idle, bytes: 0, bytes_max }
    }

    /// The next piece, or none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        let Self { chunks, idle, bytes, bytes_max } = self;
        let chunk = tokio::time::timeout(*idle, chunks.next()).await;
        let chunk = chunk.map_err(|_| ReceiveError::Idle(*idle))?.transpose();
        let chunk = chunk.map_err(ReceiveError::Broken)?;
        *bytes += chunk.as_ref().map_or(0, |it| it.len() as u64);
        if *bytes > *bytes_max {
            discard(chunks).await;
            return Err(ReceiveError::TooLarge { bytes_max: *bytes_max });
        }
        Ok(chunk)
    }
}

// === impl Prepared ===

impl Prepared {
    /// A formation's own limit can be lower than that of all uploads, and its id is known only now.
    pub fn fits(&self, bytes_max: u64) -> Result<(), ReceiveError> {
        let bytes = fs::metadata(&self.upload.path).map_err(ReceiveError::Store)?.len();
        if bytes > bytes_max { Err(ReceiveError::TooLarge { bytes_max }) } else { Ok(()) }
    }

    pub fn sha256(&self) -> &str {
        &self.upload.sha256
    }

    /// Moves the unpacked bundle and its archive to where the store will say they are. It blocks.
    pub fn place(self, layout: &Layout, id: &FormationId, generation: u64) -> io::Result<()> {
        let bundle = layout.bundle(&self.upload.sha256);
        self.upload.path.persist(&bundle).map_err(|error| error.error)?;
        let target = layout.generation(id, generation);
        let parent = target.parent().expect("a generation lies in a folder");
        fs::create_dir_all(parent)?;
        fs::rename(&self.root, &target)?;
        // The renames must be on the disk before the store speaks of them.
        for folder in [parent, &layout.formation(id), &layout.formations(), &layout.bundles()] {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            bytes => hash.update(&buffer[..bytes]),
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn report(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "could not be removed");
    }
}
