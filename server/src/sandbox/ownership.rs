//! Who owns the files of a formation, and the configuration of a service. Root walks folders here
//! that others can write to, so no link is ever followed: every step goes from an open folder to a name in it.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};

/// Deeper folders than an upload may have and a runtime would make.
const DEPTH_MAX: usize = 64;

/// What becomes of each file.
#[derive(Debug, Clone, Copy)]
enum Gift {
    /// It belongs to this user alone.
    Own { uid: u32, gid: u32 },
    /// This group may read it, and run it if its owner may.
    Share { gid: u32 },
}

/// Gives a folder and all in it to a user, unless it has it already.
pub(super) fn give(folder: &Path, uid: u32, gid: u32) -> io::Result<()> {
    walk(folder, Gift::Own { uid, gid })
}

/// Lets a group read a folder that no instance can write to, unless it may already.
pub(super) fn share(folder: &Path, gid: u32) -> io::Result<()> {
    walk(folder, Gift::Share { gid })
}

/// Gives a folder and these of its files to a user, and leaves alone what else is in it.
pub(crate) fn give_named(folder: &Path, names: &[&str], uid: u32, gid: u32) -> io::Result<()> {
    let opened = open(CWD, folder)?;
    let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    for name in names {
        match rustix::fs::chownat(&opened, *name, owner, group, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::fchown(&opened, owner, group)?)
}

fn walk(folder: &Path, gift: Gift) -> io::Result<()> {
    let opened = open(CWD, folder)?;
    if gift.is_done(&rustix::fs::fstat(&opened)?) {
        return Ok(());
    }
    walk_below(&opened, gift, DEPTH_MAX)?;
    // Last, so that a walk that was cut off is seen as not done.
    gift.apply_to_folder(&opened)
}

fn walk_below(folder: &OwnedFd, gift: Gift, depth: usize) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // The instance removed it in between.
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let inner = open(folder, name)?;
            let deeper = depth.checked_sub(1).ok_or_else(|| {
                io::Error::other(format!("folders lie more than {DEPTH_MAX} deep"))
            })?;
            walk_below(&inner, gift, deeper)?;
            gift.apply_to_folder(&inner)?;
        } else {
            gift.apply_to_file(folder, name, &stat)?;
        }
    }
    Ok(())
}

fn open(folder: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

// === impl Gift ===

impl Gift {
    fn is_done(self, stat: &Stat) -> bool {
        match self {
            Self::Own { uid, gid } => stat.st_uid == uid && stat.st_gid == gid,
            Self::Share { gid } => stat.st_gid == gid && stat.st_mode & 0o050 == 0o050,
        }
    }

    fn ids(self) -> (Option<Uid>, Option<Gid>) {
        match self {
            Self::Own { uid, gid } => (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))),
            Self::Share { gid } => (None, Some(Gid::from_raw(gid))),
        }
    }

    fn apply_to_folder(self, folder: &OwnedFd) -> io::Result<()> {
        let (uid, gid) = self.ids();
        rustix::fs::fchown(folder, uid, gid)?;
        let mode = match self {
            Self::Own { .. } => Mode::RWXU,
            Self::Share { .. } => Mode::RWXU | Mode::RGRP | Mode::XGRP,
        };
        Ok(rustix::fs::fchmod(folder, mode)?)
    }

    fn apply_to_file(self, folder: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<()> {
        let (uid, gid) = self.ids();
        rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if matches!(self, Self::Share { .. }) && is_file {
            let owners = stat.st_mode & 0o700;
            // What the owner may do but write.
            let mode = Mode::from_raw_mode(owners | (owners >> 3) & 0o050);
            rustix::fs::chmodat(folder, name, mode, AtFlags::empty())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn modes(path: &Path) -> (u32, u32, u32) {
        let it = fs::symlink_metadata(path).unwrap();
        (it.uid(), it.gid(), it.mode() & 0o777)
    }

    #[test]
    fn a_shared_folder_is_read_by_the_group_and_nobody_else() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("g");
        fs::create_dir_all(folder.join("in")).unwrap();
        for (name, mode) in [("a", 0o600), ("in/tool", 0o755)] {
            fs::write(folder.join(name), "x").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        share(&folder, 4_711).unwrap();
        assert_eq!(modes(&folder), (0, 4_711, 0o750));
        assert_eq!(modes(&folder.join("a")), (0, 4_711, 0o640));
        assert_eq!(modes(&folder.join("in/tool")), (0, 4_711, 0o750));
    }

    #[test]
    fn a_given_folder_never_gives_away_what_a_link_leads_to() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let (outside, folder) = (root.path().join("secret"), root.path().join("data"));
        fs::write(&outside, "x").unwrap();
        fs::create_dir(&folder).unwrap();
        symlink(&outside, folder.join("file-link")).unwrap();
        symlink(root.path(), folder.join("folder-link")).unwrap();
        fs::write(folder.join("own"), "x").unwrap();
        let before = (modes(&outside), modes(root.path()));
        give(&folder, 4_711, 4_711).unwrap();
        assert_eq!((modes(&outside), modes(root.path())), before);
        assert_eq!(modes(&folder), (4_711, 4_711, 0o700));
        assert_eq!(modes(&folder.join("own")).0, 4_711);
        // The folder itself must not be one, either.
        assert!(give(&folder.join("folder-link"), 4_712, 4_712).is_err());
        give_named(&folder, &["own", "file-link", "absent"], 4_713, 4_713).unwrap();
        assert_eq!((modes(&outside), modes(root.path())), before);
        assert_eq!((modes(&folder).0, modes(&folder.join("own")).0), (4_713, 4_713));
        assert!(give_named(&folder.join("folder-link"), &[], 4_714, 4_714).is_err());
    }
}
