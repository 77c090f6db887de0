//! What stays reachable behind the fence, as lists of paths.

use std::fs;
use std::path::{Path, PathBuf};

use muxi_contract::launch::Fence;

/// Programs and their libraries, where systems keep them.
const PROGRAMS: [&str; 11] = [
    "/bin",
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/opt",
    "/run/current-system",
    "/sbin",
    "/usr",
];
/// What libraries read about the system.
const READ: [&str; 8] = [
    // Of others only what is no secret: landlock guards the rest of /proc.
    "/proc",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
    "/var/lib/ca-certificates",
];
/// The part of /etc that is no secret, for instances that run as root and could read the rest.
const ETC: [&str; 22] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/timezone",
];
const DEVICES: [&str; 6] =
    ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// How deep a granted folder is taken apart around what must stay hidden.
const DEPTH_MAX: usize = 16;

/// The part of a fence that is the same for all instances.
#[derive(Debug, Clone, Default)]
pub(super) struct Common {
    hidden: Vec<PathBuf>,
    /// These are granted but for what is hidden in them, which is looked for at each start.
    read: Vec<PathBuf>,
    read_and_execute: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

/// The folders of one instance.
#[derive(Debug)]
pub(super) struct Own<'a> {
    pub(super) generation: &'a Path,
    pub(super) program: &'a Path,
    pub(super) data: &'a Path,
    pub(super) temp: &'a Path,
}

// === impl Common ===

impl Common {
    /// `hidden` is what no instance may reach, even where a granted folder holds it.
    pub(super) fn new(
        as_root: bool,
        hidden: Vec<PathBuf>,
        certificates: impl Iterator<Item = PathBuf>,
        read: &[PathBuf],
        write: &[PathBuf],
    ) -> Self {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        let etc = if as_root { paths(&ETC) } else { paths(&["/etc"]) };
        Self {
            hidden,
            read: [paths(&READ), etc, certificates.collect()].concat(),
            read_and_execute: [paths(&PROGRAMS), read.to_vec()].concat(),
            write: write.to_vec(),
        }
    }

    /// `secrets` are hidden as well; which these are may change while the manager runs.
    pub(super) fn fence(&self, own: &Own<'_>, secrets: &[PathBuf], required: bool) -> Fence {
        let hidden = [&self.hidden, secrets].concat();
        let with = |granted: &[PathBuf], own: &[&Path]| -> Vec<String> {
            let apart =
                granted.iter().flat_map(|path| take_apart(path.clone(), &hidden, DEPTH_MAX));
            let paths = apart.chain(own.iter().map(|path| path.to_path_buf()));
            paths.map(|path| path.to_string_lossy().into_owned()).collect()
        };
        Fence {
            required,
            read: with(&self.read, &[]),
            read_and_execute: with(&self.read_and_execute, &[own.generation, own.program]),
            write: with(&self.write, &[own.data, own.temp]),
            devices: DEVICES.map(str::to_owned).to_vec(),
        }
    }
}

/// `granted` without `hidden`: a folder that holds something hidden is granted entry by entry.
fn take_apart(granted: PathBuf, hidden: &[PathBuf], depth: usize) -> Vec<PathBuf> {
    // Where it leads counts, not how it is called.
    let real = granted.canonicalize().unwrap_or_else(|_| granted.clone());
    if hidden.iter().any(|hidden| real.starts_with(hidden)) {
        return Vec::new();
    }
    if !hidden.iter().any(|hidden| hidden.starts_with(&real)) {
        return vec![granted];
    }
    if depth == 0 {
        return Vec::new();
    }
    let entries = fs::read_dir(&real).into_iter().flatten().flatten();
    entries.flat_map(|entry| take_apart(entry.path(), hidden, depth - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_granted_folder_never_grants_what_is_hidden_in_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for folder in ["opt/tool", "opt/muxi/data", "opt/muxi/other", "etc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("opt/muxi/data"), root.join("etc/link")).unwrap();
        let hidden = [root.join("opt/muxi/data")];
        let apart = |path: &str| {
            let mut left = take_apart(root.join(path), &hidden, DEPTH_MAX);
            left.sort();
            left
        };
        assert_eq!(apart("opt"), [root.join("opt/muxi/other"), root.join("opt/tool")]);
        assert_eq!(apart("opt/tool"), [root.join("opt/tool")]);
        assert_eq!(apart("etc"), [root.join("etc")]);
        for gone in ["opt/muxi/data", "opt/muxi/data/formations", "etc/link"] {
            assert_eq!(apart(gone), [""; 0].map(PathBuf::from), "{gone}");
        }
        // What does not exist yet may come to be.
        assert_eq!(apart("later"), [root.join("later")]);
    }

    #[test]
    fn each_fence_hides_the_secrets_of_its_time() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (secret, other) = (root.join("etc/pager.secret"), root.join("etc/hosts"));
        fs::create_dir(root.join("etc")).unwrap();
        for file in [&secret, &other] {
            fs::write(file, "x").unwrap();
        }
        let etc = [root.join("etc")];
        let common = Common::new(false, Vec::new(), std::iter::empty(), &etc, &[]);
        let own = Own { generation: &root, program: &root, data: &root, temp: &root };
        let granted = |secrets: &[PathBuf]| common.fence(&own, secrets, false).read_and_execute;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        assert!(granted(&[]).contains(&text(&etc[0])));
        let around = granted(std::slice::from_ref(&secret));
        assert!(!around.contains(&text(&etc[0])) && !around.contains(&text(&secret)));
        assert!(around.contains(&text(&other)));
    }

    #[test]
    fn an_instance_of_root_does_not_see_the_secrets_of_the_system() {
        let common = |as_root| Common::new(as_root, Vec::new(), std::iter::empty(), &[], &[]);
        assert!(!common(true).read.contains(&PathBuf::from("/etc")));
        assert!(common(false).read.contains(&PathBuf::from("/etc")));
    }
}
