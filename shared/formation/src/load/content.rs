//! Content folders load because they are there. Those that are not built are told, or refused by name.

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
    // Without them more people could do more.
    for path in files_in(folder, "groups", &[".yaml", ".yml", ".afs"]) {
        refuse("groups", path);
    }
    for path in files_in(folder, "transformers", &[".yaml", ".yml", ".afs"]) {
        let message = "transformers have no effect in this version";
        let mend = "they are documented and not built; remove the file, or leave it";
        found.push(Diagnostic::warning(&path, Place::START, message, mend));
    }
}

fn files_in(folder: &Folder, parent: &str, extensions: &[&str]) -> Vec<String> {
    let listed = folder.list(parent).into_iter();
    let wanted =
        listed.filter(|it| !it.is_dir && extensions.iter().any(|end| it.name.ends_with(end)));
    wanted.map(|it| format!("{parent}/{}", it.name)).collect()
}

pub(super) fn markdown_below(folder: &Folder, parent: &str, depth: usize, found: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    found.extend(files_in(folder, parent, &[".md"]));
    for inner in folder.list(parent).into_iter().filter(|it| it.is_dir) {
        markdown_below(folder, &format!("{parent}/{}", inner.name), depth + 1, found);
    }
}
