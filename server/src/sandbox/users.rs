//! Whether formations can have users of their own on this host, decided from facts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::{UID_RANGE, UserIsolation};

/// Whose processes instances are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Users {
    /// Each formation's own; all are members of this group.
    Own { shared_gid: u32 },
    /// The manager's, for this reason.
    Managers { reason: String },
}

/// What there is to know of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) is_root: bool,
    /// A capability that is needed and that the manager does not have.
    pub(super) missing_capability: Option<&'static str>,
    /// Whether the ids exist in the manager's user namespace.
    pub(super) ids_are_mapped: bool,
    /// A folder on the way that other users cannot pass, or a program that they cannot run.
    pub(super) closed: Option<PathBuf>,
}

/// The capabilities, by their numbers, without which no other user can be served.
const NEEDED: [(u32, &str); 7] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (19, "CAP_SYS_PTRACE"),
];

/// An error when own users are required and there is an obstacle.
pub(super) fn decide(mode: UserIsolation, first: u32, facts: &Facts) -> Result<Users, String> {
    let obstacle = match mode {
        UserIsolation::Off => Some("formations.user_isolation is off".to_owned()),
        UserIsolation::Auto | UserIsolation::Required => facts.obstacle(first),
    };
    match (obstacle, mode) {
        (None, _) => Ok(Users::Own { shared_gid: first }),
        (Some(reason), UserIsolation::Required) => Err(reason),
        (Some(reason), UserIsolation::Auto | UserIsolation::Off) => Ok(Users::Managers { reason }),
    }
}

// === impl Facts ===

impl Facts {
    /// `folders` are made passable by the manager itself, but not what lies above them.
    pub(super) fn gather(first: u32, folder: &Path, program: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let ids = [read("/proc/self/uid_map"), read("/proc/self/gid_map")];
        Self {
            is_root: rustix::process::geteuid().is_root(),
            missing_capability: missing_capability(&read("/proc/self/status")),
            ids_are_mapped: ids.iter().all(|map| covers(map, first, UID_RANGE)),
            closed: closed_above(folder).or_else(|| closed_above(program)).or_else(|| {
                // Read, too: it may be a script.
                let open = fs::metadata(program).is_ok_and(|it| it.permissions().mode() & 5 == 5);
                (!open).then(|| program.to_owned())
            }),
        }
    }

    fn obstacle(&self, first: u32) -> Option<String> {
        if !self.is_root {
            return Some("the manager does not run as root".to_owned());
        }
        if let Some(name) = self.missing_capability {
            return Some(format!("the manager runs as root without {name}"));
        }
        if !self.ids_are_mapped {
            let last = first + UID_RANGE - 1;
            return Some(format!("the user namespace does not have the ids {first} to {last}"));
        }
        let path = self.closed.as_ref()?;
        Some(format!("other users cannot pass {}; run `chmod o+x` on it", path.display()))
    }
}

/// The first folder above `path` that others cannot pass.
fn closed_above(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut above: Vec<&Path> = real.ancestors().skip(1).collect();
    above.reverse();
    let is_closed =
        |folder: &&&Path| fs::metadata(folder).is_ok_and(|it| it.permissions().mode() & 1 == 0);
    above.iter().find(is_closed).map(|folder| (*folder).to_owned())
}

fn missing_capability(status: &str) -> Option<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(0);
    NEEDED.iter().find(|(number, _)| held & (1 << number) == 0).map(|(_, name)| *name)
}

/// Whether a namespace's map (`inside outside length` lines) has all of these ids.
fn covers(map: &str, first: u32, count: u32) -> bool {
    let (first, end) = (u64::from(first), u64::from(first) + u64::from(count));
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|it| it.parse().ok()).collect();
        matches!(numbers[..], [inside, _, length] if inside <= first && end <= inside + length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> Facts {
        Facts { is_root: true, missing_capability: None, ids_are_mapped: true, closed: None }
    }

    #[test]
    fn every_obstacle_has_its_reason() {
        for (facts, said) in [
            (Facts { is_root: false, ..able() }, "does not run as root"),
            (Facts { missing_capability: Some("CAP_SETUID"), ..able() }, "without CAP_SETUID"),
            (Facts { ids_are_mapped: false, ..able() }, "the ids 200000 to 265535"),
            (Facts { closed: Some("/root".into()), ..able() }, "cannot pass /root; run `chmod"),
        ] {
            let Ok(Users::Managers { reason }) = decide(UserIsolation::Auto, 200_000, &facts)
            else {
                panic!("{facts:?}");
            };
            assert!(reason.contains(said), "{reason}");
            assert_eq!(decide(UserIsolation::Required, 200_000, &facts), Err(reason));
        }
        let own = Users::Own { shared_gid: 7 };
        assert_eq!(decide(UserIsolation::Auto, 7, &able()), Ok(own));
        let off = decide(UserIsolation::Off, 7, &able());
        assert!(matches!(off, Ok(Users::Managers { reason }) if reason.contains("is off")));
    }

    #[test]
    fn ids_must_lie_in_one_mapped_range() {
        let whole = "         0          0 4294967295\n";
        let rootless = "0 1000 1\n1 100000 65536\n";
        assert!(covers(whole, 200_000, 65_536));
        assert!(!covers(rootless, 200_000, 65_536));
        assert!(covers(rootless, 1_000, 60_000));
        assert!(!covers("", 1, 1));
    }

    #[test]
    fn a_closed_folder_above_is_named() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (closed, inner) = (root.join("closed"), root.join("closed/inner"));
        fs::create_dir_all(&inner).unwrap();
        for (path, mode) in [(&root, 0o711), (&closed, 0o750), (&inner, 0o700)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(closed_above(&inner.join("data")), Some(closed.clone()));
        // The folder itself is made passable by the manager.
        assert_eq!(closed_above(&closed), None);
    }

    #[test]
    fn the_first_missing_capability_is_named() {
        assert_eq!(missing_capability("CapEff:\t000001ffffffffff\n"), None);
        assert_eq!(missing_capability("CapEff:\t00000000000000ff\n"), Some("CAP_SYS_PTRACE"));
        assert_eq!(missing_capability("CapEff:\t0000000000000000\n"), Some("CAP_CHOWN"));
    }
}
