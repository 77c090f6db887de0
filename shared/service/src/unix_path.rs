//! Unix sockets at paths of any length.
//!
//! The kernel takes at most 107 bytes of socket path. A path through `/proc/self/fd` names the
//! folder by descriptor and stays short, however deep the data folder lies.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Binds a listening socket, replacing a stale one.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let short = ShortPath::new(path)?;
    let listener = UnixListener::bind(&short.path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects; never blocks for long, since both ends are on this machine.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let short = ShortPath::new(path)?;
    UnixStream::connect(&short.path)
}

/// Connects without blocking a worker thread when the other end's backlog is full.
pub async fn connect_async(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let short = ShortPath::new(path)?;
    tokio::net::UnixStream::connect(&short.path).await
}

/// Valid as long as it lives, since it names an open descriptor.
struct ShortPath {
    path: PathBuf,
    _folder: OwnedFd,
}

// === impl ShortPath ===

impl ShortPath {
    fn new(path: &Path) -> io::Result<Self> {
        let invalid =
            || io::Error::new(io::ErrorKind::InvalidInput, "a socket path needs a folder");
        let (folder, name) =
            (path.parent().ok_or_else(invalid)?, path.file_name().ok_or_else(invalid)?);
        // Only to name the folder: this needs no right to list it.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: folder })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_can_lie_deeper_than_the_kernels_limit() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("instance.sock");
        let _listener = bind(&path).unwrap();
        assert!(connect(&path).is_ok());
        let _again = bind(&path).unwrap();
    }
}
