//! The user's own files, which hold keys.

use std::os::unix::fs::PermissionsExt as _;

use super::findings::Findings;
use crate::context::Context;
use crate::files::defaults::Defaults;
use crate::files::formations::Formations;
use crate::files::profiles::Profiles;
use crate::files::registries::Registries;

/// What others on this machine must not read.
const PRIVATE: [&str; 4] = ["profiles.yaml", "formations.yaml", "registries.yaml", "history"];

pub(super) fn look(context: &Context, findings: &mut Findings) {
    let home = &context.home;
    let folder = home.file("");
    let shown = folder.display().to_string();
    let shown = shown.trim_end_matches('/');
    if !folder.is_dir() {
        findings.right("files", format!("{shown} is not there yet; the first profile makes it"));
        return;
    }
    let open: Vec<String> = PRIVATE
        .iter()
        .map(|name| home.file(name))
        .filter(|it| it.metadata().is_ok_and(|it| it.permissions().mode() & 0o077 != 0))
        .map(|it| it.display().to_string())
        .collect();
    let unreadable = [
        Profiles::read(home).err(),
        Formations::read(home).err(),
        Registries::read(home).err(),
        Defaults::read(home).err(),
    ];
    let mut is_fine = open.is_empty();
    for fault in unreadable.iter().flatten() {
        is_fine = false;
        findings.fault("files", fault);
    }
    if !open.is_empty() {
        let files = open.join(" ");
        findings
            .wrong("files", format!("others on this machine can read {files}"))
            .mend(format!("chmod 600 {files}"));
    }
    if is_fine {
        findings.right("files", format!("{shown} is readable, and by nobody else"));
    }
}
