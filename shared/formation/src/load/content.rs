//! Content folders load because they are there. The ones that are not built are refused by name.

use crate::diagnostic::{Diagnostic, Place};
use crate::folder::Folder;

const DEPTH_MAX: usize = 16;

pub(super) fn refuse_unbuilt(folder: &Folder, found: &mut Vec<Diagnostic>) {
    let mut refuse = |kind: &str, path: String| {
        found.push(Diagnostic::error(
            &path,
            Place::START,
            format!("{kind} are documented but not built in this version"),
            "remove the file",
        ));
    };
    let mut procedures = Vec::new();
    markdown_below(folder, "sops", 0, &mut procedures);
    for path in procedures.into_iter().filter(|path| is_procedure(folder, path)) {
        refuse("procedures", path);
    }
    for (kind, parent, extensions) in [
        ("groups", "groups", &[".yaml", ".yml", ".afs"]),
        ("transformers", "transformers", &[".yaml", ".yml", ".afs"]),
    ] {
        for path in files_in(folder, parent, extensions) {
            refuse(kind, path);
        }
    }
    let private = folder.list("agents").into_iter().filter(|it| it.is_dir);
    let private = private.map(|it| format!("agents/{}/skills", it.name));
    for parent in private.chain(["skills".to_owned()]) {
        for skill in folder.list(&parent) {
            let path = format!("{parent}/{}/SKILL.md", skill.name);
            if folder.has(&path) {
                refuse("skills", path);
            }
        }
    }
}

fn files_in(folder: &Folder, parent: &str, extensions: &[&str]) -> Vec<String> {
    let listed = folder.list(parent).into_iter();
    let wanted =
        listed.filter(|it| !it.is_dir && extensions.iter().any(|end| it.name.ends_with(end)));
    wanted.map(|it| format!("{parent}/{}", it.name)).collect()
}

fn markdown_below(folder: &Folder, parent: &str, depth: usize, found: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    found.extend(files_in(folder, parent, &[".md"]));
    for inner in folder.list(parent).into_iter().filter(|it| it.is_dir) {
        markdown_below(folder, &format!("{parent}/{}", inner.name), depth + 1, found);
    }
}

/// Other Markdown below `sops/` is material that procedures quote; only `type: sop` is one.
fn is_procedure(folder: &Folder, path: &str) -> bool {
    let text = folder.text(path).ok().flatten().unwrap_or_default();
    let Some(rest) = text.trim_start_matches('\u{feff}').strip_prefix("---") else { return false };
    let head = rest.split("\n---").next().unwrap_or_default();
    let node = crate::yaml::parse(path, head).ok();
    let kind = node.and_then(|node| Some(node.get("type")?.as_text()?.written.clone()));
    kind.as_deref() == Some("sop")
}
