//! A real file system of a few MiB that a test can fill. Mounting needs rights that a test may not
//! have, and a mount that a killed test leaves would stay, so such a test runs in mounts of its own.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs, unmounted with this value.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

/// Set for a test that runs in mounts of its own.
const INSIDE: &str = "MUXI_TEST_IN_OWN_MOUNTS";
const FILLER: &str = "filler";
const BLOCK_BYTES: usize = 4 << 10;

/// Runs this test once more, alone and in mounts of its own; true in that second run. `test` is the
/// test's whole name. Where the system allows no such thing, the test says so and is skipped.
#[expect(clippy::print_stderr, reason = "a skipped test must be heard of")]
pub fn in_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // The second way needs no rights: who may not mount becomes root of a namespace.
    let ways: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let works = |way: &&&[&str]| {
        let mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"];
        let tried = Command::new("unshare").args(**way).args(mount).output();
        tried.is_ok_and(|it| it.status.success())
    };
    let Some(way) = ways.iter().find(works) else {
        eprintln!("SKIPPED {test}: this system allows neither mounts nor user namespaces");
        return false;
    };
    let program = std::env::current_exe().expect("a test knows its own path");
    let status = Command::new("unshare")
        .args(*way)
        .arg(program)
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .status()
        .expect("`unshare` was there a moment ago");
    assert!(status.success(), "{test} failed in its own mounts");
    false
}

// === impl SmallDisk ===

impl SmallDisk {
    pub(super) fn mount(folder: PathBuf, bytes: u64) -> Self {
        assert!(std::env::var_os(INSIDE).is_some(), "call `in_own_mounts` first");
        fs::create_dir(&folder).expect("a fresh folder");
        let options = format!("size={bytes},mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&folder)
            .status();
        assert!(mounted.is_ok_and(|it| it.success()), "the small disk could not be mounted");
        Self { folder }
    }

    /// Takes all the space there is; can be called again for what was freed since.
    pub fn fill(&self) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .expect("an entry of a folder needs no space on this file system");
        loop {
            match file.write_all(&[1; BLOCK_BYTES]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
                Err(error) => panic!("the disk could not be filled: {error}"),
            }
        }
    }

    /// The same, but for so many bytes.
    pub fn fill_but(&self, left_bytes: u64) {
        self.fill();
        let file = File::options().write(true).open(self.filler()).expect("just written");
        let bytes = file.metadata().expect("our own file").len();
        file.set_len(bytes.saturating_sub(left_bytes)).expect("our own file");
    }

    /// Gives everything back that [`SmallDisk::fill`] took.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled before");
    }

    fn filler(&self) -> PathBuf {
        self.folder.join(FILLER)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold a file.
        Command::new("umount").arg("--lazy").arg(&self.folder).status().ok();
    }
}
