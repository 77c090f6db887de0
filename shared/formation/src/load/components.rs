//! What loads because the manifest lists it: agents, servers and remote agents, each inline or in a
//! file of its own.

use super::Reading;
use crate::check::Checker;
use crate::diagnostic::{Diagnostic, Place};
use crate::yaml::{Content, Node};

const EXTENSIONS: [&str; 3] = [".afs", ".yaml", ".yml"];
/// The other notation for a file, of older bundles.
const INCLUDE: &str = "$include";
/// More of one kind are no longer written by hand.
const COMPONENTS_MAX: usize = 500;

pub(super) struct Kind {
    /// With its article.
    pub(super) noun: &'static str,
    pub(super) article: &'static str,
    /// Where files are looked for, the usual folder first.
    pub(super) folders: &'static [&'static str],
    /// The list in the manifest.
    pub(super) key: &'static str,
    /// Whether `folder/<id>/<id>.afs` is a file, too.
    pub(super) is_nested: bool,
}

/// An entry of a list, read.
pub(super) struct Component {
    pub(super) file: String,
    pub(super) node: Node,
    /// Of the keys in messages; empty in a file of its own.
    pub(super) path: String,
    /// Of the entry in the manifest.
    pub(super) place: Place,
    pub(super) is_inline: bool,
}

/// A file that holds one.
struct Found {
    path: String,
    stem: String,
    /// Its `id`, when it could be read.
    id: Option<String>,
    is_listed: bool,
}

// === impl Reading ===

impl Reading<'_> {
    /// `list` is absent when the manifest has none; files that nobody lists are told anyway.
    pub(super) fn components(
        &mut self,
        file: &str,
        list: Option<&Node>,
        kind: &Kind,
    ) -> Vec<Component> {
        let mut files = self.component_files(kind);
        let mut components = Vec::new();
        let entries = match list.map(|list| (&list.content, list)) {
            Some((Content::List(entries), _)) => &entries[..],
            Some((_, list)) => {
                self.checker(file).expected(list, kind.key, "a list");
                &[]
            }
            None => &[],
        };
        if let Some(first) = entries.get(COMPONENTS_MAX) {
            let message = format!("`{}` has more than {COMPONENTS_MAX} entries", kind.key);
            self.found.push(Diagnostic::error(file, first.place, message, "remove some"));
        }
        for (i, entry) in entries.iter().take(COMPONENTS_MAX).enumerate() {
            let path = format!("{}[{i}]", kind.key);
            let named = entry.get(INCLUDE).unwrap_or(entry);
            match (&named.content, &entry.content) {
                (Content::Text(name), _) => {
                    let listed = self.listed(file, named.place, &name.written, &mut files, kind);
                    let read = listed.and_then(|path| Some((self.document(&path)?, path)));
                    components.extend(read.map(|(node, own)| Component {
                        file: own,
                        node,
                        path: String::new(),
                        place: entry.place,
                        is_inline: false,
                    }));
                }
                (_, Content::Map(_)) => components.push(Component {
                    file: file.to_owned(),
                    node: entry.clone(),
                    path,
                    place: entry.place,
                    is_inline: true,
                }),
                _ => {
                    let wanted = format!("{} {}'s id or a map", kind.article, kind.noun);
                    self.checker(file).expected(entry, &path, &wanted);
                }
            }
        }
        for unlisted in files.iter().filter(|file| !file.is_listed) {
            self.found.push(Diagnostic::warning(
                &unlisted.path,
                Place::START,
                format!("the manifest does not list this {}, so it will not be loaded", kind.noun),
                format!("add `{}` to `{}`, or remove the file", unlisted.stem, kind.key),
            ));
        }
        components
    }

    /// Whether the id is the first of its kind.
    pub(super) fn is_first(
        &mut self,
        ids: &[String],
        id: &str,
        at: &Component,
        noun: &str,
    ) -> bool {
        if !ids.iter().any(|it| it == id) {
            return true;
        }
        let (file, place) = (self.manifest, at.place);
        let message = format!("the {noun} `{id}` is listed twice");
        self.found.push(Diagnostic::error(file, place, message, "keep one"));
        false
    }

    pub(super) fn checker<'a>(&'a mut self, file: &'a str) -> Checker<'a> {
        Checker { file, aliases: &self.aliases, found: &mut self.found }
    }

    /// The path of the file that is meant.
    fn listed(
        &mut self,
        file: &str,
        place: Place,
        name: &str,
        files: &mut [Found],
        kind: &Kind,
    ) -> Option<String> {
        let is_meant =
            |it: &Found| it.stem == name || it.id.as_deref() == Some(name) || it.path == name;
        let mut meant = files.iter_mut().filter(|it| is_meant(it));
        let Some(first) = meant.next() else {
            self.found.push(Diagnostic::error(
                file,
                place,
                format!("the {} `{name}` has no file", kind.noun),
                format!("add {}/{name}.afs, or correct the name", kind.folders[0]),
            ));
            return None;
        };
        first.is_listed = true;
        let path = first.path.clone();
        for second in meant {
            second.is_listed = true;
            self.found.push(Diagnostic::error(
                &second.path,
                Place::START,
                format!("this is a second file of the {} `{name}`, beside {path}", kind.noun),
                "keep one of them",
            ));
        }
        Some(path)
    }

    /// `folder/<stem>.afs`, and `folder/<id>/<id>.afs`, in all spellings of the extension.
    fn component_files(&mut self, kind: &Kind) -> Vec<Found> {
        let mut files = Vec::new();
        for parent in kind.folders {
            for listed in self.folder.list(parent) {
                if listed.is_dir {
                    let folder = &listed.name;
                    for extension in EXTENSIONS.iter().filter(|_| kind.is_nested) {
                        let path = format!("{parent}/{folder}/{folder}{extension}");
                        if self.folder.has(&path) {
                            files.push(self.component_file(path, folder));
                        }
                    }
                } else if let Some(stem) =
                    EXTENSIONS.iter().find_map(|it| listed.name.strip_suffix(it))
                {
                    files.push(self.component_file(format!("{parent}/{}", listed.name), stem));
                }
            }
        }
        files
    }

    fn component_file(&self, path: String, stem: &str) -> Found {
        // A file that cannot be read is told of when it is listed.
        let text = self.folder.text(&path).ok().flatten().unwrap_or_default();
        let node = crate::yaml::parse(&path, &text).ok();
        let id = node.and_then(|node| Some(node.get("id")?.as_text()?.written.clone()));
        Found { path, stem: stem.to_owned(), id, is_listed: false }
    }
}
