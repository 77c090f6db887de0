//! Control groups (version 2): one for each instance, below the part of the tree that was delegated
//! to this manager. Without a delegation nothing is touched, even where root could.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::limits::Controllers;

/// The folder below which every instance has its group.
#[derive(Debug, Clone)]
pub(super) struct Cgroups {
    instances: PathBuf,
    pub(super) controllers: Controllers,
}

/// Groups with processes cannot hand controllers down, so the manager has one of its own.
const MANAGER: &str = "manager";
const INSTANCES: &str = "muxi";
const PROCESSES: &str = "cgroup.procs";
/// Systemd marks what it delegates; the first is readable by everyone.
const DELEGATED: [&str; 2] = ["user.delegate", "trusted.delegate"];

// === impl Cgroups ===

impl Cgroups {
    /// Takes the delegated part of the tree into use, or tells why there is none.
    pub(super) fn claim() -> Result<Self, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let (mounts, own) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
        let (own, is_root) = own_group(&mounts, &own)?;
        Self::claim_at(&own, is_root, &is_delegated)
    }

    fn claim_at(
        own: &Path,
        is_namespace_root: bool,
        is_delegated: &dyn Fn(&Path) -> bool,
    ) -> Result<Self, String> {
        // A service manager may have put this process below the delegated group already.
        let above = own.parent().filter(|above| is_delegated(above));
        let base = if is_delegated(own) || is_namespace_root && own.join("cgroup.type").exists() {
            own
        } else {
            above.ok_or_else(|| {
                format!(
                    "the control group {} was not delegated to the manager; run it as a service with \
                     Delegate=yes",
                    own.display()
                )
            })?
        };
        let offered = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
        let has = |name: &str| offered.split_whitespace().any(|it| it == name);
        let controllers = Controllers { memory: has("memory"), cpu: has("cpu"), pids: has("pids") };
        if controllers == Controllers::default() {
            return Err("version 2 of the control groups has no controllers here".to_owned());
        }
        let instances = base.join(INSTANCES);
        let prepare = || -> io::Result<()> {
            if base == own {
                move_processes(base, &base.join(MANAGER))?;
            }
            enable(base, controllers)?;
            make(&instances)?;
            enable(&instances, controllers)
        };
        prepare().map_err(|error| {
            format!("the delegated control group {} cannot be used: {error}", base.display())
        })?;
        Ok(Self { instances, controllers })
    }

    /// Makes the group of one instance with its limits.
    pub(super) fn create(&self, name: &str, settings: &[(&str, String)]) -> io::Result<PathBuf> {
        let group = self.instances.join(name);
        make(&group)?;
        for (file, value) in settings {
            match fs::write(group.join(file), value) {
                Ok(()) => {}
                // A kernel without swap accounting has no such file and nothing to limit.
                Err(error)
                    if *file == "memory.swap.max" && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(group)
    }

    /// Whether the kernel ended the instance because of its memory.
    pub(super) fn ran_out_of_memory(&self, name: &str) -> bool {
        let events = fs::read_to_string(self.instances.join(name).join("memory.events"));
        has_oom_kill(&events.unwrap_or_default())
    }

    /// Ends whatever is left in the group, also what left the process group, and removes it.
    pub(super) fn remove(&self, name: &str) {
        let group = self.instances.join(name);
        if !group.is_dir() {
            return;
        }
        // The file is absent before Linux 5.14; the process group was swept already.
        let _best_effort = fs::write(group.join("cgroup.kill"), "1");
        if let Err(error) = fs::remove_dir(&group) {
            // What was just killed may need a moment; the next start of a manager removes it.
            tracing::debug!(group = %group.display(), %error, "the group is still in use");
        }
    }

    /// Removes groups whose instances are gone; one with processes refuses to go.
    pub(super) fn sweep(&self) {
        for entry in fs::read_dir(&self.instances).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _still_in_use = fs::remove_dir(entry.path());
            }
        }
    }
}

/// The folder of this process's group, and whether it is the root of what this process can see.
fn own_group(mounts: &str, own: &str) -> Result<(PathBuf, bool), String> {
    let none = || "there are no control groups of version 2 here".to_owned();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(none)?;
    let (root, mount) = mounts
        .lines()
        .find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut place = place.split(' ').skip(3);
            kind.starts_with("cgroup2 ").then_some((place.next()?, place.next()?))
        })
        .ok_or_else(none)?;
    let below = Path::new(own).strip_prefix(root).map_err(|_| {
        format!("the manager's control group {own} is outside of what is mounted here")
    })?;
    let mount = PathBuf::from(mount);
    let is_root = below.as_os_str().is_empty();
    Ok(if is_root { (mount, true) } else { (mount.join(below), false) })
}

fn is_delegated(group: &Path) -> bool {
    let mut value = [0u8; 2];
    DELEGATED.iter().any(|name| {
        rustix::fs::getxattr(group, *name, &mut value[..]).is_ok_and(|n| &value[..n] == b"1")
    })
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn move_processes(from: &Path, to: &Path) -> io::Result<()> {
    make(to)?;
    for pid in fs::read_to_string(from.join(PROCESSES))?.lines() {
        match fs::write(to.join(PROCESSES), pid) {
            // It ended in between.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            moved => moved?,
        }
    }
    Ok(())
}

fn enable(group: &Path, controllers: Controllers) -> io::Result<()> {
    let names =
        [(controllers.memory, "+memory"), (controllers.cpu, "+cpu"), (controllers.pids, "+pids")];
    let wanted: Vec<&str> = names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    fs::write(group.join("cgroup.subtree_control"), wanted.join(" "))
}

fn has_oom_kill(events: &str) -> bool {
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.is_some_and(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "25 30 0:22 / /proc rw shared:5 - proc proc rw\n\
        33 32 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_own_group_is_found() {
        for (mounts, own, expected) in [
            (MOUNTS, "0::/a.slice/b.service\n", Some(("/sys/fs/cgroup/a.slice/b.service", false))),
            (MOUNTS, "0::/\n", Some(("/sys/fs/cgroup", true))),
            (MOUNTS, "4:memory:/x\n0::/\n", Some(("/sys/fs/cgroup", true))),
            (MOUNTS, "4:memory:/x\n", None),
            ("1 2 0:3 / /proc rw - proc proc rw\n", "0::/\n", None),
            (
                "9 8 0:1 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
                "0::/docker/1/x\n",
                Some(("/sys/fs/cgroup/x", false)),
            ),
            ("9 8 0:1 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/other\n", None),
        ] {
            let found = own_group(mounts, own).ok();
            assert_eq!(found, expected.map(|(path, root)| (path.into(), root)), "{own}");
        }
    }

    /// A folder that looks like a group; writes are only noted.
    fn group(path: &Path, processes: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("cgroup.controllers"), "cpuset cpu memory pids\n").unwrap();
        fs::write(path.join("cgroup.type"), "domain\n").unwrap();
        fs::write(path.join(PROCESSES), processes).unwrap();
    }

    fn noted(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn only_a_delegated_group_is_used() {
        let root = tempfile::tempdir().unwrap();
        let service = root.path().join("muxi.service");
        group(&service, "7\n");
        let nothing = |_: &Path| false;
        assert!(Cgroups::claim_at(&service, false, &nothing).unwrap_err().contains("Delegate=yes"));
        assert!(!service.join(INSTANCES).exists());

        let cgroups = Cgroups::claim_at(&service, false, &|it| it == service).unwrap();
        assert_eq!(noted(&service.join(MANAGER).join(PROCESSES)), "7");
        assert_eq!(noted(&service.join("cgroup.subtree_control")), "+memory +cpu +pids");
        assert_eq!(noted(&service.join("muxi/cgroup.subtree_control")), "+memory +cpu +pids");

        let made = cgroups.create("hello.1", &[("pids.max", "9".to_owned())]).unwrap();
        assert_eq!(noted(&made.join("pids.max")), "9");
        assert!(!cgroups.ran_out_of_memory("hello.1"));
        fs::write(made.join("memory.events"), "oom 3\noom_kill 1\n").unwrap();
        assert!(cgroups.ran_out_of_memory("hello.1"));
    }

    #[test]
    fn a_manager_below_the_delegated_group_leaves_itself_where_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (service, own) = (root.path().join("s"), root.path().join("s/control"));
        group(&service, "");
        group(&own, "7\n");
        Cgroups::claim_at(&own, false, &|it| it == service).unwrap();
        assert!(!service.join(MANAGER).exists());
        assert_eq!(noted(&service.join("cgroup.subtree_control")), "+memory +cpu +pids");
    }

    #[test]
    fn deaths_by_memory_are_told_from_others() {
        assert!(!has_oom_kill(""));
        assert!(!has_oom_kill("low 0\noom 5\noom_kill 0\n"));
        assert!(has_oom_kill("oom 1\noom_kill 1\noom_group_kill 1\n"));
    }
}
