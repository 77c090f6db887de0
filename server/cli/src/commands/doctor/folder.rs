//! The formation of this folder: whether it is valid, and whether its secrets are there.

use std::os::unix::fs::PermissionsExt as _;

use muxi_formation::{Diagnostic, Resolve, Source};

use super::findings::Findings;
use crate::files::bundle::Bundle;

pub(super) fn look(bundle: &Bundle, findings: &mut Findings) {
    let shown = bundle.manifest.display();
    let loaded = match muxi_formation::load(&bundle.folder, Resolve::Keep) {
        Ok(loaded) => loaded,
        Err(found) => {
            let faults = found.iter().filter(|it| it.is_error()).count();
            let first = found.iter().find(|it| it.is_error()).map(Diagnostic::to_string);
            let first = first.unwrap_or_default();
            findings
                .wrong("bundle", format!("{shown} has {faults} fault(s): {first}"))
                .mend("muxi validate   shows all of them");
            return;
        }
    };
    let (id, version) = (&loaded.manifest.id, &loaded.manifest.version);
    match loaded.warnings.len() {
        0 => findings.right("bundle", format!("{id} {version} in {shown} is valid")),
        count => findings
            .unsure(
                "bundle",
                format!("{id} {version} in {shown} is valid, with {count} warning(s)"),
            )
            .mend("muxi validate   shows them"),
    };
    let key = bundle.folder.join(muxi_vault::KEY_FILE);
    if key.metadata().is_ok_and(|it| it.permissions().mode() & 0o077 != 0) {
        let shown = key.display();
        findings
            .wrong("secrets", format!("others on this machine can read {shown}, which opens them"))
            .mend(format!("chmod 600 {shown}"));
    }
    let needed = loaded.references.iter().filter(|it| it.source == Source::Secrets);
    let needed: Vec<&str> = needed.map(|it| it.name.as_str()).collect();
    let vault = match bundle.vault() {
        Ok(vault) => vault.unwrap_or_default(),
        Err(fault) => return findings.fault("secrets", &fault),
    };
    let missing: Vec<&str> = needed.iter().copied().filter(|it| vault.get(it).is_none()).collect();
    if missing.is_empty() {
        let text = match needed.len() {
            0 => "the bundle needs none".to_owned(),
            count => format!("all {count} that the bundle names are set"),
        };
        findings.right("secrets", text);
    } else {
        // The machine where it runs may have them in its environment.
        findings
            .unsure("secrets", format!("not set here: {}", missing.join(", ")))
            .mend("muxi secrets setup   asks for them");
    }
}
