//! Files that knowledge names: which of them would be read, and which not and why. Knowledge itself is not
//! built; a bundle is judged for those who will have it.

use std::path::Path;

use muxi_formation::MANIFEST_NAMES;
use serde_json::{Value, json};
use serde_yaml::Value as Yaml;

use crate::files::document;
use crate::terminal::format::bytes;

/// Defaults of the bundle format, of one source.
const FILES_MAX: u64 = 5;
const BYTES_MAX: u64 = 1024 * 1024;
/// Enough to tell by; a folder can have any number.
const TOLD_MAX: usize = 20;
const ENTRIES_MAX: usize = 10_000;

/// What one source says of its files.
struct Rules {
    is_recursive: bool,
    extensions: Option<Vec<String>>,
    files_max: u64,
    bytes_max: u64,
}

/// What became of a source's files.
#[derive(Default)]
struct Sorted {
    read: Vec<String>,
    skipped: Vec<String>,
    is_cut: bool,
}

/// A row for each source of the manifest and of the agents' files.
pub(super) fn sources(folder: &Path) -> Vec<Value> {
    let mut files: Vec<String> = MANIFEST_NAMES.iter().map(|it| (*it).to_owned()).collect();
    let agents = std::fs::read_dir(folder.join("agents")).into_iter().flatten().flatten();
    let mut named: Vec<String> =
        agents.filter_map(|it| Some(format!("agents/{}", it.file_name().to_str()?))).collect();
    named.sort();
    files.extend(named);
    let mut rows = Vec::new();
    for file in files {
        let Ok(Some(text)) = document::text(&folder.join(&file)) else { continue };
        let Ok(root) = serde_yaml::from_str::<Yaml>(&text) else { continue };
        let inline = root.get("agents").and_then(Yaml::as_sequence).into_iter().flatten();
        let blocks = std::iter::once(&root).chain(inline).filter_map(|it| it.get("knowledge"));
        let sources = blocks.filter_map(|it| it.get("sources")?.as_sequence()).flatten();
        rows.extend(sources.filter_map(|it| row(folder, &file, it)));
    }
    rows
}

/// Paths that sources name, as they are within a bundle.
pub(in super::super) fn paths(folder: &Path) -> Vec<String> {
    let rows = sources(folder);
    let there = rows.iter().filter(|it| it["there"] == true).filter_map(|it| it["path"].as_str());
    let plain = |it: &str| it.trim_start_matches("./").trim_end_matches('/').to_owned();
    there.map(plain).filter(|it| !it.is_empty()).collect()
}

// === private helpers ===

fn row(folder: &Path, file: &str, source: &Yaml) -> Option<Value> {
    let text = |key: &str| source.get(key).and_then(Yaml::as_str);
    let Some(path) = text("path") else {
        let url = crate::addresses::without_passwords(text("url")?);
        return Some(json!({"path": url, "file": file, "there": null}));
    };
    let at = folder.join(path);
    if !at.exists() {
        return Some(json!({"path": path, "file": file, "there": false}));
    }
    let Sorted { read, skipped, is_cut } = Rules::of(source).sort(&at);
    Some(json!({
        "path": path, "file": file, "there": true, "indexed": read, "indexed_count": read.len(),
        "skipped": skipped,
        "skipped_count": if is_cut { format!("{} or more", skipped.len()) } else { skipped.len().to_string() },
    }))
}

// === impl Rules ===

impl Rules {
    fn of(source: &Yaml) -> Self {
        let number = |key: &str, usual| source.get(key).and_then(Yaml::as_u64).unwrap_or(usual);
        let extensions = source.get("allowed_extensions").and_then(Yaml::as_sequence);
        let plain = |it: &Yaml| Some(it.as_str()?.trim_start_matches('.').to_ascii_lowercase());
        Self {
            is_recursive: source.get("recursive").and_then(Yaml::as_bool).unwrap_or_default(),
            extensions: extensions.map(|them| them.iter().filter_map(plain).collect()),
            files_max: number("file_limit", FILES_MAX),
            bytes_max: number("max_file_size", BYTES_MAX),
        }
    }

    /// In the order of names, so that a limit leaves out the same files everywhere.
    fn sort(&self, at: &Path) -> Sorted {
        let mut sorted = Sorted::default();
        if at.is_file() {
            self.take(at, at, &mut sorted);
        } else {
            self.walk(at, at, &mut sorted, &mut 0);
        }
        sorted
    }

    fn walk(&self, root: &Path, folder: &Path, sorted: &mut Sorted, seen: &mut usize) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|it| it.path()).collect();
        paths.sort();
        for path in paths {
            *seen += 1;
            if *seen > ENTRIES_MAX {
                sorted.is_cut = true;
                return;
            }
            if path.is_symlink() {
                sorted.skip(root, &path, "a link");
            } else if path.is_file() {
                self.take(root, &path, sorted);
            } else if self.is_recursive {
                self.walk(root, &path, sorted, seen);
            } else {
                sorted.skip(root, &path, "a folder; `recursive: true` reads it");
            }
        }
    }

    fn take(&self, root: &Path, path: &Path, sorted: &mut Sorted) {
        let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
        let extension = extension.to_ascii_lowercase();
        if path.file_name().is_some_and(|it| it.to_string_lossy().starts_with('.')) {
            return sorted.skip(root, path, "hidden");
        }
        if self.extensions.as_ref().is_some_and(|them| !them.contains(&extension)) {
            return sorted.skip(root, path, "not in `allowed_extensions`");
        }
        let size = path.metadata().map_or(0, |it| it.len());
        if size > self.bytes_max {
            let most = bytes(self.bytes_max);
            let why = format!("{}; `max_file_size` is {most}", bytes(size));
            return sorted.skip(root, path, &why);
        }
        if sorted.read.len() as u64 >= self.files_max {
            let why = format!("beyond `file_limit`, which is {}", self.files_max);
            return sorted.skip(root, path, &why);
        }
        sorted.read.push(shown(root, path));
    }
}

// === impl Sorted ===

impl Sorted {
    fn skip(&mut self, root: &Path, path: &Path, why: &str) {
        if self.skipped.len() == TOLD_MAX {
            self.is_cut = true;
            return;
        }
        self.skipped.push(format!("{} ({why})", shown(root, path)));
    }
}

fn shown(root: &Path, path: &Path) -> String {
    let within = path.strip_prefix(root).ok().filter(|it| !it.as_os_str().is_empty());
    let name = || path.file_name().map_or(path, Path::new);
    within.unwrap_or_else(name).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_read_or_skipped_for_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, size: usize| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![b'x'; size]).unwrap();
        };
        for path in ["docs/a.md", "docs/b.txt", "docs/c.md", "docs/.hidden", "docs/in/d.md"] {
            write(path, 3);
        }
        write("docs/large.md", 200);
        std::fs::write(
            folder.path().join("formation.afs"),
            "agents:\n  - knowledge: {sources: [{path: docs, allowed_extensions: [.md], max_file_size: 100, file_limit: 1}, {path: gone}, {url: 'http://u:pw@h/x'}]}\n",
        )
        .unwrap();
        let rows = sources(folder.path());
        assert_eq!(rows[0]["indexed"], json!(["a.md"]));
        assert_eq!(
            rows[0]["skipped"],
            json!([
                ".hidden (hidden)",
                "b.txt (not in `allowed_extensions`)",
                "c.md (beyond `file_limit`, which is 1)",
                "in (a folder; `recursive: true` reads it)",
                "large.md (200 B; `max_file_size` is 100 B)",
            ])
        );
        assert_eq!(rows[1]["there"], json!(false));
        assert_eq!(rows[2]["path"], json!("http://u:••••••••@h/x"));
    }
}
