//! Folders that are read while others write to them, instances among those, and maybe by root: every
//! step goes from an open folder to a name in it, no link is followed, and nothing that is opened
//! can keep the reader waiting.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// An open folder, and the path by which it is told of.
#[derive(Debug)]
pub(super) struct Folder {
    opened: OwnedFd,
    pub(super) path: PathBuf,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Found {
    Folder(Folder),
    File(File),
    Other(FileType),
}

// === impl Folder ===

impl Folder {
    /// The operator's own folder, which may be reached by links.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let opened = rustix::fs::open(path, FOLDER, Mode::empty())?;
        Ok(Self { opened, path: path.to_owned() })
    }

    /// A folder below this one, by its path from here.
    pub(super) fn descend(&self, below: &Path) -> io::Result<Self> {
        let mut folder = self.inner(OsStr::new("."))?;
        folder.path.clone_from(&self.path);
        for component in below.components() {
            let Component::Normal(name) = component else {
                return Err(io::Error::other("the path leads out of the folder"));
            };
            folder = folder.inner(name)?;
        }
        Ok(folder)
    }

    pub(super) fn mode(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.opened)?.st_mode)
    }

    /// In the order of their bytes.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.opened)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Looks before it opens, since opening a device may do something, and again at what it opened.
    pub(super) fn find(&self, name: &OsStr) -> io::Result<Found> {
        let stat = rustix::fs::statat(&self.opened, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.inner(name).map(Found::Folder);
        }
        if kind != FileType::RegularFile {
            return Ok(Found::Other(kind));
        }
        let file = open(&self.opened, name, OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        let is_file = kind == FileType::RegularFile;
        Ok(if is_file { Found::File(file.into()) } else { Found::Other(kind) })
    }

    /// Whether a name that is there stands for a file and nothing else.
    pub(super) fn is_file_or_absent(&self, name: &OsStr) -> bool {
        match rustix::fs::statat(&self.opened, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
            Err(error) => error == Errno::NOENT,
        }
    }

    /// Where the open folder lies at this moment, without a link on the way: for those who can open
    /// by a path alone.
    pub(super) fn real_path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.opened.as_raw_fd()))
    }

    fn inner(&self, name: &OsStr) -> io::Result<Self> {
        let opened = open(&self.opened, name, OFlags::DIRECTORY)?;
        Ok(Self { opened, path: self.path.join(name) })
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open(folder: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_opened_but_folders_and_files() {
        let root = tempfile::tempdir().unwrap();
        let (inner, outside) = (root.path().join("inner"), root.path().join("outside"));
        fs::create_dir_all(inner.join("deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(inner.join("deep/file"), "x").unwrap();
        symlink(&outside, inner.join("link")).unwrap();
        nix::unistd::mkfifo(&inner.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let folder = Folder::open(&inner).unwrap();
        assert_eq!(folder.names().unwrap(), ["deep", "link", "pipe"]);
        for (name, kind) in [("link", FileType::Symlink), ("pipe", FileType::Fifo)] {
            let found = folder.find(name.as_ref()).unwrap();
            assert!(matches!(found, Found::Other(it) if it == kind), "{found:?}");
            assert!(folder.descend(name.as_ref()).is_err());
            assert!(!folder.is_file_or_absent(name.as_ref()));
        }
        let deep = folder.descend("deep".as_ref()).unwrap();
        assert!(matches!(deep.find("file".as_ref()), Ok(Found::File(_))));
        assert_eq!(deep.real_path().unwrap(), inner.canonicalize().unwrap().join("deep"));
        assert!(folder.descend("../outside".as_ref()).is_err());
    }
}
