//! What of the system a confined program can read.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Paths that stay reachable; everything else on the disk is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fence {
    pub(super) read: Vec<PathBuf>,
    pub(super) read_and_execute: Vec<PathBuf>,
    pub(super) write: Vec<PathBuf>,
    pub(super) write_and_execute: Vec<PathBuf>,
    pub(super) devices: Vec<PathBuf>,
}

/// Programs, their libraries and what comes with these.
const PROGRAMS: [&str; 10] = [
    "/bin",
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/opt",
    "/run/current-system",
    "/sbin",
    "/usr",
];
/// What programs ask about the machine, and the part of /etc that is no secret. Of /proc, the fence
/// itself guards what belongs to processes outside.
const READ: [&str; 18] = [
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/timezone",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];
/// What finds and trusts other machines.
const NETWORK: [&str; 11] = [
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];
const DEVICES: [&str; 4] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom"];
/// Maps shared memory that no process is seen to have, so a script, whose memory is bounded, gets none.
const ZERO: &str = "/dev/zero";
/// How deep a folder is taken apart around what must stay hidden in it.
const DEPTH_MAX: usize = 16;

/// The system without what is hidden, for a program that works on its own: with the network, what PATH
/// names, and the program itself wherever it lies.
pub(super) fn fence_of_agent(hidden: &[PathBuf], program: &Path, on_path: &[PathBuf]) -> Fence {
    let mut fence = fence(hidden);
    let hidden = real(hidden);
    let network = NETWORK.iter().flat_map(|path| apart(Path::new(path), &hidden, DEPTH_MAX));
    fence.read.extend(network);
    fence.devices.push(ZERO.into());
    let named = on_path.iter().filter(|folder| folder.is_absolute());
    let installed = installed(program);
    let around = named.chain(&installed).flat_map(|folder| apart(folder, &hidden, DEPTH_MAX));
    fence.read_and_execute.extend(around);
    // Its file alone may lie where all else is hidden.
    fence.read_and_execute.push(program.to_owned());
    fence
}

/// The folder that holds what a program consists of, where it is of a kind whose folder can be told.
fn installed(program: &Path) -> Option<PathBuf> {
    let program = program.canonicalize().ok()?;
    let above: Vec<&Path> = program.ancestors().skip(1).collect();
    let packages = above.iter().rev().find(|it| it.file_name() == Some("node_modules".as_ref()));
    let of_python = || above.iter().find(|it| it.join("pyvenv.cfg").is_file());
    packages.or_else(of_python).map(|folder| (*folder).to_owned())
}

fn real(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect()
}

/// The system without what is hidden.
pub(super) fn fence(hidden: &[PathBuf]) -> Fence {
    let hidden = real(hidden);
    let without = |paths: &[&str]| -> Vec<PathBuf> {
        paths.iter().flat_map(|path| apart(Path::new(path), &hidden, DEPTH_MAX)).collect()
    };
    Fence {
        read: without(&READ),
        read_and_execute: without(&PROGRAMS),
        write: Vec::new(),
        write_and_execute: Vec::new(),
        devices: DEVICES.map(PathBuf::from).to_vec(),
    }
}

/// The folder, or those of its entries that neither are hidden nor hold what is.
fn apart(granted: &Path, hidden: &[PathBuf], depth: usize) -> Vec<PathBuf> {
    // Where it leads counts, not how it is called.
    let Ok(real) = granted.canonicalize() else { return Vec::new() };
    if hidden.iter().any(|hidden| real.starts_with(hidden)) {
        return Vec::new();
    }
    if !hidden.iter().any(|hidden| hidden.starts_with(&real)) {
        return vec![granted.to_owned()];
    }
    if depth == 0 {
        return Vec::new();
    }
    let entries = fs::read_dir(&real).into_iter().flatten().flatten();
    entries.flat_map(|entry| apart(&entry.path(), hidden, depth - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_program_is_granted_where_it_can_be_told() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let check = |program: &str, expected: Option<&str>| {
            let program = root.join(program);
            fs::create_dir_all(program.parent().unwrap()).unwrap();
            fs::write(&program, "").unwrap();
            assert_eq!(installed(&program), expected.map(|folder| root.join(folder)));
        };
        check("home/agent", None);
        check("lib/node_modules/@x/agent/node_modules/y/cli.js", Some("lib/node_modules"));
        fs::create_dir_all(root.join("venv")).unwrap();
        fs::write(root.join("venv/pyvenv.cfg"), "").unwrap();
        check("venv/bin/agent", Some("venv"));
    }

    #[test]
    fn a_folder_never_grants_what_is_hidden_in_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for folder in ["tool/bin", "bundle/skills", "bundle/agents"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("bundle"), root.join("link")).unwrap();
        let granted = apart(&root, &[root.join("bundle")], DEPTH_MAX);
        assert_eq!(granted, [root.join("tool")]);
        assert_eq!(apart(&root, &[], DEPTH_MAX), std::slice::from_ref(&root));
        assert!(apart(&root.join("bundle/skills"), &[root.join("bundle")], 9).is_empty());
    }
}
