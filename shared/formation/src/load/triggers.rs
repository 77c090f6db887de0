//! The files of `triggers/`: an optional head in YAML, and a text in which data is filled in.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

use super::Reading;
use crate::check::Checker;
use crate::diagnostic::{Diagnostic, Place};
use crate::interpolate;
use crate::schema::{TRIGGER, is_word};
use crate::trigger::{Template, Trigger};
use crate::yaml;

const FOLDER: &str = "triggers";
const EXTENSION: &str = ".md";
/// More than this are no longer written by hand.
const TRIGGERS_MAX: usize = 200;
const FENCE: &str = "---";

#[derive(Default, Deserialize)]
struct Head {
    webhook: Option<String>,
}

// === impl Reading ===

impl Reading<'_> {
    pub(super) fn triggers(&mut self) -> Vec<Trigger> {
        let listed = self.folder.list(FOLDER).into_iter().filter(|it| !it.is_dir);
        let names: Vec<String> =
            listed.filter_map(|it| it.name.strip_suffix(EXTENSION).map(str::to_owned)).collect();
        if let Some(first) = names.get(TRIGGERS_MAX) {
            let message = format!("there are more than {TRIGGERS_MAX} triggers");
            self.fault(first, Place::START, message, "remove some");
        }
        names.iter().take(TRIGGERS_MAX).filter_map(|name| self.trigger(name)).collect()
    }

    /// `None` only when a fault was told.
    fn trigger(&mut self, name: &str) -> Option<Trigger> {
        if !is_word(name) {
            let message = format!("`{name}` cannot be a trigger's name");
            self.fault(name, Place::START, message, "use letters, digits, `-` and `_`");
            return None;
        }
        let file = file(name);
        let text = match self.folder.text(&file) {
            Ok(text) => text?,
            Err(fault) => {
                self.found.push(fault);
                return None;
            }
        };
        let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
        let Some((head, body)) = parts(&text) else {
            let message = format!("the head starts with `{FENCE}` and does not end");
            self.fault(name, Place::START, message, "close it with a line `---`");
            return None;
        };
        let head = self.head(name, head)?;
        let template = self.template(name, &text, body)?;
        Some(Trigger {
            name: name.to_owned(),
            webhook: head.webhook.map(SecretString::from),
            template,
        })
    }

    fn head(&mut self, name: &str, head: &str) -> Option<Head> {
        if head.trim().is_empty() {
            return Some(Head::default());
        }
        let file = file(name);
        // The line of the fence, so that faults have the lines of the file.
        let mut node = match yaml::parse(&file, &format!("\n{head}")) {
            Ok(node) => node,
            Err(faults) => {
                self.found.extend(faults);
                return None;
            }
        };
        let (references, found) = (&mut self.references, &mut self.found);
        interpolate::fill(&file, &mut node, self.resolve, references, found);
        if let Some(named) =
            node.get("name").filter(|node| node.as_text().is_none_or(|text| text.written != name))
        {
            let place = named.place;
            let message = format!("`name` is not `{name}`, the name of the file");
            self.fault(name, place, message, "rename one of them, or remove it");
        }
        let aliases = BTreeMap::new();
        let fitting = Checker { file: &file, aliases: &aliases, found: &mut self.found }
            .table(&node, "", &TRIGGER);
        self.typed(&file, fitting)
    }

    fn template(&mut self, name: &str, text: &str, body: &str) -> Option<Template> {
        let before = text.len() - body.len();
        let body = body.trim();
        if body.is_empty() {
            let message = "the trigger says nothing".to_owned();
            self.fault(name, Place::START, message, "write what is to be done below the head");
            return None;
        }
        let before = before + text[before..].find(body).unwrap_or_default();
        match Template::parse(body) {
            Ok(template) => Some(template),
            Err(faults) => {
                for fault in faults {
                    let place = place(text, before + fault.at_byte);
                    self.fault(name, place, fault.message, fault.mend);
                }
                None
            }
        }
    }

    fn fault(&mut self, name: &str, place: Place, message: String, mend: &str) {
        self.found.push(Diagnostic::error(&file(name), place, message, mend));
    }
}

// === private helpers ===

fn file(name: &str) -> String {
    format!("{FOLDER}/{name}{EXTENSION}")
}

/// The head without its fences, and the rest; nothing if the head has no end.
fn parts(text: &str) -> Option<(&str, &str)> {
    let Some(inner) = text.strip_prefix(FENCE).and_then(|rest| rest.strip_prefix('\n')) else {
        return Some(("", text));
    };
    let mut end = 0;
    for line in inner.split_inclusive('\n') {
        if line.trim_end() == FENCE {
            return Some((&inner[..end], &inner[end + line.len()..]));
        }
        end += line.len();
    }
    None
}

fn place(text: &str, at_byte: usize) -> Place {
    let before = &text[..at_byte];
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}
