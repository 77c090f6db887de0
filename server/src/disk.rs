//! Room on the disk of the data folder: how much there is, from where on new things are refused,
//! and a reserve that is given back in slices when the disk is full.
//!
//! What runs goes on without room, so only acts that bring bytes are refused. The reserve is for
//! the store: a full disk must be mendable by a delete, and that is written down like every act.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FallocateFlags;
use tokio_util::sync::CancellationToken;

/// What a file system has for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// The disk of the data folder.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
    free_min_bytes: u64,
    reserve: Reserve,
}

/// Bytes that are kept for the store. Clones are the same file.
#[derive(Debug, Clone)]
pub struct Reserve {
    path: PathBuf,
}

/// Too little room for new things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk has {free_bytes} bytes free, and limits.disk_free_min_bytes is {min_bytes}")]
pub struct DiskLow {
    pub free_bytes: u64,
    pub min_bytes: u64,
}

const RESERVE_BYTES: u64 = 4 << 20;
/// Given back at a time; enough for hundreds of the store's transactions.
const SLICE_BYTES: u64 = 256 << 10;
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The space of the file system that holds `folder`.
pub fn free(folder: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space { free_bytes: bytes(found.f_bavail), total_bytes: bytes(found.f_blocks) })
}

/// Whether an error says that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

// === impl Disk ===

impl Disk {
    pub fn new(folder: &Path, free_min_bytes: u64, reserve: Reserve) -> Self {
        Self { folder: folder.to_owned(), free_min_bytes, reserve }
    }

    pub fn free(&self) -> io::Result<Space> {
        free(&self.folder)
    }

    /// Whether an act that brings bytes may begin.
    pub fn check(&self) -> Result<(), DiskLow> {
        // A file system that does not tell is asked by writing to it.
        let Ok(Space { free_bytes, .. }) = self.free() else { return Ok(()) };
        let min_bytes = self.free_min_bytes;
        if free_bytes < min_bytes { Err(DiskLow { free_bytes, min_bytes }) } else { Ok(()) }
    }

    /// Says when the disk gets low and when it no longer is, and fills the reserve while there is
    /// room. Ends with `stopping`.
    pub async fn watch(self, stopping: CancellationToken) {
        let mut was_low = false;
        loop {
            let low = self.check();
            match low {
                Err(low) if !was_low => {
                    tracing::error!("{low}: uploads are refused until there is room");
                }
                Ok(()) if was_low => {
                    tracing::info!("the disk has room again: uploads are taken");
                }
                _ => {}
            }
            was_low = low.is_err();
            self.fill_reserve().await;
            let next = tokio::time::sleep(LOOK_EVERY);
            if stopping.run_until_cancelled(next).await.is_none() {
                return;
            }
        }
    }

    async fn fill_reserve(&self) {
        let (free_bytes, missing) = match self.free() {
            Ok(space) => (space.free_bytes, RESERVE_BYTES.saturating_sub(self.reserve.bytes())),
            Err(_) => return,
        };
        if missing == 0 || free_bytes < self.free_min_bytes.saturating_add(missing) {
            return;
        }
        let reserve = self.reserve.clone();
        let filled = tokio::task::spawn_blocking(move || reserve.fill()).await;
        if let Err(error) = filled.expect("filling a file does not panic") {
            tracing::warn!(%error, "the reserve for a full disk could not be filled");
        }
    }
}

// === impl Reserve ===

impl Reserve {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Gives a slice back if the disk has less room than that. It blocks, but only for moments.
    pub fn give_way(&self) {
        let folder = self.path.parent().unwrap_or(&self.path);
        if free(folder).is_ok_and(|space| space.free_bytes < SLICE_BYTES) {
            self.give_slice();
        }
    }

    /// Gives a slice back: a quota, for one, is full while the disk is not.
    pub fn give_slice(&self) {
        let bytes = self.bytes();
        if bytes == 0 {
            return;
        }
        let left = bytes.saturating_sub(SLICE_BYTES);
        let given = OpenOptions::new().write(true).open(&self.path).and_then(|it| it.set_len(left));
        match given {
            Ok(()) => tracing::warn!(left_bytes = left, "the disk is full; using the reserve"),
            Err(error) => tracing::error!(%error, "the reserve could not be given back"),
        }
    }

    fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |it| it.len())
    }

    fn fill(&self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        let filled = allocate(&file, RESERVE_BYTES);
        if filled.is_err() {
            // Half a reserve that fills the disk serves nobody.
            file.set_len(0)?;
        }
        filled
    }
}

/// Takes real blocks, so that giving them back makes room.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let missing = bytes.saturating_sub(file.metadata()?.len());
            io::copy(&mut io::Read::take(io::repeat(0), missing), &mut &*file).map(drop)
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_less_than_the_mark_takes_nothing_new() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path().join("reserve"));
        let disk = |min_bytes| Disk::new(folder.path(), min_bytes, reserve.clone());
        assert_eq!(disk(0).check(), Ok(()));
        let low = disk(u64::MAX).check().unwrap_err();
        assert_eq!(low.min_bytes, u64::MAX);
        assert!(low.free_bytes > 0);
    }

    #[tokio::test]
    async fn the_reserve_is_filled_where_there_is_room_and_given_back_in_slices() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path().join("reserve"));
        let disk = |min_bytes| Disk::new(folder.path(), min_bytes, reserve.clone());
        disk(u64::MAX).fill_reserve().await;
        assert_eq!(reserve.bytes(), 0);
        disk(0).fill_reserve().await;
        assert_eq!(reserve.bytes(), RESERVE_BYTES);
        // There is room: nothing is given.
        reserve.give_way();
        assert_eq!(reserve.bytes(), RESERVE_BYTES);
        reserve.give_slice();
        assert_eq!(reserve.bytes(), RESERVE_BYTES - SLICE_BYTES);
        disk(0).fill_reserve().await;
        assert_eq!(reserve.bytes(), RESERVE_BYTES);
    }
}
