//! Commands that root runs work as the user whom the manager's data belongs to: what they make is
//! the manager's from its first moment, and no link that this user made leads them further than it
//! could go itself.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgroups, setresgid, setresuid};

use crate::layout::Layout;

#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error("failed to look at {path}")]
    Look { path: PathBuf, source: io::Error },
    #[error("{path} belongs to user {uid}, whom this process cannot become; run it as that user")]
    Become { path: PathBuf, uid: u32, source: nix::Error },
}

/// Becomes that user for good. Nothing happens to callers other than root, nor where there is no data.
pub fn become_owner(layout: &Layout) -> Result<(), OwnerError> {
    if !geteuid().is_root() {
        return Ok(());
    }
    // A mounted folder may be another user's, while the manager runs as root.
    let database = (layout.database(), fs::symlink_metadata(layout.database()));
    let folder = (layout.root().to_owned(), fs::metadata(layout.root()));
    for (path, found) in [database, folder] {
        match found {
            Ok(found) if found.uid() == 0 => return Ok(()),
            Ok(found) => {
                let uid = found.uid();
                let switched = switch(Uid::from_raw(uid), Gid::from_raw(found.gid()));
                return switched.map_err(|source| OwnerError::Become { path, uid, source });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(OwnerError::Look { path, source }),
        }
    }
    Ok(())
}

/// With the groups of that user; `gid` stands in where it has no name.
fn switch(uid: Uid, gid: Gid) -> nix::Result<()> {
    let named = User::from_uid(uid)?.and_then(|it| Some((CString::new(it.name).ok()?, it.gid)));
    let gid = if let Some((name, own_gid)) = named {
        initgroups(&name, own_gid)?;
        own_gid
    } else {
        setgroups(&[gid])?;
        gid
    };
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}
