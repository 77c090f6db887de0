//! Giving rights away: the manager's user and its capabilities.

use muxi_contract::launch::LaunchUser;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

/// Becomes the formation's user for good.
pub(super) fn become_user(user: LaunchUser) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.uid));
    // The groups first: afterwards it would not be allowed any more.
    setgroups(&[Gid::from_raw(user.shared_gid)])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// What the program gets from root's capabilities, which is none. For others nothing is to be done:
/// they have none to give away.
pub(super) fn drop_capabilities() -> rustix::io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know, or a manager that has none itself.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether this process could gain none by starting a program.
pub(super) fn has_no_capabilities() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).ok()
    };
    let kept = if rustix::process::geteuid().is_root() { "CapBnd" } else { "CapEff" };
    [kept, "CapInh", "CapAmb"].into_iter().all(|name| set(name) == Some(0))
}
