//! Two trees of files and what differs between them. Nothing that is secret is shown.

use std::fs::File;
use std::io::{BufWriter, Read as _};
use std::path::Path;

use console::Style;
use muxi_contract::FormationId;
use muxi_formation::{PackOptions, UnpackLimits, pack, unpack};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::client::archive::Files;
use crate::fault::Fault;
use crate::files::bundle::error_chain;
use crate::terminal::format::bytes;
use crate::terminal::plain;

const CONTEXT_LINES: usize = 3;
/// Of either side; longer texts would take long to compare.
const TEXT_BYTES_MAX: usize = 512 * 1024;
/// Named, and never shown.
const SECRETS: &str = muxi_vault::SECRETS_FILE;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    path: String,
    /// What is deployed, and what is here; never neither.
    deployed: Option<Vec<u8>>,
    here: Option<Vec<u8>>,
}

/// What a deploy would send, without what a download leaves out.
pub(crate) fn local(folder: &Path, id: &FormationId) -> Result<Files, Fault> {
    let failed = |error: &dyn std::error::Error| {
        Fault::failed(format!("{} cannot be packed: {}", folder.display(), error_chain(error)))
    };
    let archive = tempfile::NamedTempFile::new().map_err(|it| failed(&it))?;
    let file = archive.reopen().map_err(|it| failed(&it))?;
    pack(folder, id, PackOptions::default(), BufWriter::new(file)).map_err(|it| failed(&it))?;
    let scratch = tempfile::tempdir().map_err(|it| failed(&it))?;
    let file = archive.reopen().map_err(|it| failed(&it))?;
    let root = scratch.path().join("bundle");
    let unpacked = unpack(file, &root, &UnpackLimits::default()).map_err(|it| failed(&it))?;
    let mut files = Files::new();
    read(&unpacked.root, "", &mut files).map_err(|it| failed(&it))?;
    Ok(files)
}

pub(crate) fn changes(deployed: &Files, here: &Files) -> Vec<Change> {
    let mut paths: Vec<&String> = deployed.keys().chain(here.keys()).collect();
    paths.sort();
    paths.dedup();
    let differing = paths.into_iter().filter(|path| deployed.get(*path) != here.get(*path));
    let change = |path: &String| Change {
        path: path.clone(),
        deployed: deployed.get(path).cloned(),
        here: here.get(path).cloned(),
    };
    differing.map(change).collect()
}

// === impl Change ===

impl Change {
    /// `+ path`, `- path` or `~ path`.
    pub(crate) fn line(&self) -> String {
        let (mark, style) = match self.kind() {
            "added" => ("+", Style::new().green()),
            "removed" => ("-", Style::new().red()),
            _ => ("~", Style::new().yellow()),
        };
        format!("{} {}\n", style.apply_to(mark), plain(&self.path))
    }

    /// A unified diff, or why there is none.
    pub(crate) fn text(&self) -> String {
        self.diff().unwrap_or_else(|| {
            let path = plain(&self.path);
            let size = |it: &Option<Vec<u8>>| bytes(it.as_ref().map_or(0, |it| it.len() as u64));
            match (self.kind(), self.path == SECRETS) {
                (kind, true) => format!("{path} {}; its values are not shown\n", told(kind)),
                ("added", _) => format!("{path} is new: {}\n", size(&self.here)),
                ("removed", _) => format!("{path} is gone: {}\n", size(&self.deployed)),
                _ => format!("{path} differs: {} → {}\n", size(&self.deployed), size(&self.here)),
            }
        })
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut value = self.to_short_json();
        let text = self.diff().map(|it| console::strip_ansi_codes(&it).into_owned());
        value["diff"] = json!(text);
        value
    }

    pub(crate) fn to_short_json(&self) -> Value {
        let size = |it: &Option<Vec<u8>>| it.as_ref().map(Vec::len);
        let (before, after) = (size(&self.deployed), size(&self.here));
        json!({"path": self.path, "change": self.kind(), "deployed_bytes": before, "bytes": after})
    }

    fn kind(&self) -> &'static str {
        match (&self.deployed, &self.here) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }

    /// Nothing for secrets and for what is no text.
    fn diff(&self) -> Option<String> {
        if self.path == SECRETS {
            return None;
        }
        let (before, after) = (text(self.deployed.as_deref())?, text(self.here.as_deref())?);
        let path = plain(&self.path);
        let side = |is_there: bool, name: &str| {
            if is_there { format!("{name}/{path}") } else { "/dev/null".to_owned() }
        };
        let heads = [
            ("---", side(self.deployed.is_some(), "deployed")),
            ("+++", side(self.here.is_some(), "here")),
        ];
        let bold = Style::new().bold();
        let mut shown: String = heads
            .iter()
            .map(|(mark, name)| format!("{}\n", bold.apply_to(format!("{mark} {name}"))))
            .collect();
        let diff = TextDiff::from_lines(before, after);
        for hunk in diff.unified_diff().context_radius(CONTEXT_LINES).iter_hunks() {
            shown.push_str(&format!("{}\n", Style::new().cyan().apply_to(hunk.header())));
            for change in hunk.iter_changes() {
                let (mark, style) = match change.tag() {
                    ChangeTag::Equal => (' ', Style::new()),
                    ChangeTag::Delete => ('-', Style::new().red()),
                    ChangeTag::Insert => ('+', Style::new().green()),
                };
                let line = plain(change.value().trim_end_matches(['\r', '\n']));
                shown.push_str(&format!("{}\n", style.apply_to(format!("{mark}{line}"))));
            }
        }
        Some(shown)
    }
}

// === private helpers ===

fn told(kind: &str) -> &'static str {
    match kind {
        "added" => "is new",
        "removed" => "is gone",
        _ => "differs",
    }
}

/// An absent side is an empty text.
fn text(content: Option<&[u8]>) -> Option<&str> {
    let text = std::str::from_utf8(content.unwrap_or_default()).ok()?;
    (text.len() <= TEXT_BYTES_MAX && !text.contains('\0')).then_some(text)
}

fn read(folder: &Path, prefix: &str, files: &mut Files) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Downloads have none of them; the key of the secrets is one.
        if name.starts_with('.') {
            continue;
        }
        let within = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            read(&entry.path(), &format!("{within}/"), files)?;
        } else {
            let mut content = Vec::new();
            File::open(entry.path())?.read_to_end(&mut content)?;
            files.insert(within, content);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_by_line_and_secrets_only_named() {
        let tree = |files: &[(&str, &[u8])]| -> Files {
            files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect()
        };
        let before =
            tree(&[("a.afs", b"x\ny\n"), ("gone", b"1\n"), ("secrets.enc", b"s1"), ("same", b"")]);
        let after = tree(&[
            ("a.afs", b"x\nz\n"),
            ("secrets.enc", b"s2"),
            ("same", b""),
            ("pic", b"\xff\xfe"),
        ]);
        let text: String = changes(&before, &after).iter().map(Change::text).collect();
        assert_eq!(
            console::strip_ansi_codes(&text),
            "--- deployed/a.afs\n+++ here/a.afs\n@@ -1,2 +1,2 @@\n x\n-y\n+z\n\
             --- deployed/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n\
             pic is new: 2 B\nsecrets.enc differs; its values are not shown\n"
        );
    }
}
