//! What a running manager says of itself in its data folder, for the commands of its own user: the
//! lock names its process, and `manager.json` says where it listens and what its last reload did.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::supervisor::Context;

/// A manager that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    pub version: String,
    /// Where it listens, such as `https://127.0.0.1:7890`.
    pub url: String,
    pub config_file: PathBuf,
    pub started_at: String,
    pub last_reload: LastReload,
}

/// How the last reload ended; number 0 is the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    pub number: u32,
    /// Why nothing was changed.
    pub fault: Option<String>,
    pub applied: Vec<String>,
    pub needs_restart: Vec<String>,
}

/// What holds the data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    Nobody,
    /// It has not come so far as to say where it listens.
    Starting {
        pid: u32,
    },
    Manager(Box<Running>),
}

/// A look at the lock takes it for a moment; a manager that starts just then tries again.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(40);
/// A file of ours is a few lines; one that is longer is not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Takes the data folder for this process and writes its id down; `None` if another has it.
pub fn lock(layout: &Layout) -> io::Result<Option<File>> {
    let mut file =
        File::options().create(true).truncate(false).write(true).mode(0o600).open(layout.lock())?;
    for attempt in 1..=LOCK_TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                return Ok(Some(file));
            }
            Err(rustix::io::Errno::WOULDBLOCK) if attempt < LOCK_TRIES => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Who works on the data folder at this moment.
pub fn holder(layout: &Layout) -> io::Result<Holder> {
    let file = match File::open(layout.lock()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => return Ok(Holder::Nobody),
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        Err(error) => return Err(error.into()),
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let pid = text.trim().parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "the lock is held, but names no process")
    })?;
    let said = match File::open(layout.running()) {
        Ok(file) => {
            let mut text = String::new();
            file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
            serde_json::from_str::<Running>(&text).ok()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // An earlier manager that was killed left its file.
    Ok(match said.filter(|said| said.pid == pid) {
        Some(running) => Holder::Manager(Box::new(running)),
        None => Holder::Starting { pid },
    })
}

/// Says that this manager serves.
pub fn report(layout: &Layout, running: &Running) -> io::Result<()> {
    let path = layout.running();
    let unfinished = path.with_extension("json.new");
    let mut file =
        File::options().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
    serde_json::to_writer_pretty(&mut file, running)?;
    fs::rename(unfinished, path)
}

/// Takes back what [`report`] said.
pub fn retract(layout: &Layout) {
    if let Err(error) = fs::remove_file(layout.running()) {
        tracing::debug!(%error, "nothing to take back");
    }
}

pub(crate) fn report_reload(context: &Context, last_reload: LastReload) {
    let said = match holder(&context.layout) {
        Ok(Holder::Manager(said)) => report(&context.layout, &Running { last_reload, ..*said }),
        Ok(Holder::Nobody | Holder::Starting { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = said {
        tracing::warn!(%error, "`muxi-server reload` will not learn how the reload ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_data_folder_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        assert_eq!(holder(&layout).unwrap(), Holder::Nobody);
        let lock_file = lock(&layout).unwrap().unwrap();
        let pid = std::process::id();
        assert_eq!(holder(&layout).unwrap(), Holder::Starting { pid });
        let mut running = Running {
            pid: 1,
            version: "0".into(),
            url: "http://x".into(),
            config_file: "c".into(),
            started_at: "now".into(),
            last_reload: LastReload::default(),
        };
        report(&layout, &running).unwrap();
        assert_eq!(holder(&layout).unwrap(), Holder::Starting { pid }, "left by another process");
        running.pid = pid;
        report(&layout, &running).unwrap();
        assert_eq!(holder(&layout).unwrap(), Holder::Manager(Box::new(running)));
        assert!(lock(&layout).unwrap().is_none());
        drop(lock_file);
        assert_eq!(holder(&layout).unwrap(), Holder::Nobody);
    }
}
