//! The files of `triggers/`: an optional head in YAML, and a text in which data is filled in.

use secrecy::SecretString;
use serde::Deserialize;

use super::Reading;
use super::heads::Headed;
use crate::diagnostic::{Diagnostic, Place};
use crate::schema::{TRIGGER, is_word};
use crate::trigger::{Template, Trigger};

const FOLDER: &str = "triggers";
const EXTENSION: &str = ".md";
/// More than this are no longer written by hand.
const TRIGGERS_MAX: usize = 200;

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
        let headed = self.headed(&file(name))?;
        let head = self.trigger_head(name, &headed.head)?;
        let template = self.template(name, &headed)?;
        Some(Trigger {
            name: name.to_owned(),
            webhook: head.webhook.map(SecretString::from),
            template,
        })
    }

    fn trigger_head(&mut self, name: &str, head: &str) -> Option<Head> {
        if head.trim().is_empty() {
            return Some(Head::default());
        }
        let file = file(name);
        let node = self.head(&file, head)?;
        if let Some(named) =
            node.get("name").filter(|node| node.as_text().is_none_or(|text| text.written != name))
        {
            let place = named.place;
            let message = format!("`name` is not `{name}`, the name of the file");
            self.fault(name, place, message, "rename one of them, or remove it");
        }
        let fitting = self.checker(&file).table(&node, "", &TRIGGER);
        self.typed(&file, fitting)
    }

    fn template(&mut self, name: &str, headed: &Headed) -> Option<Template> {
        let body = headed.body().trim();
        if body.is_empty() {
            let message = "the trigger says nothing".to_owned();
            self.fault(name, Place::START, message, "write what is to be done below the head");
            return None;
        }
        let before = headed.body_start + headed.body().find(body).unwrap_or_default();
        match Template::parse(body) {
            Ok(template) => Some(template),
            Err(faults) => {
                for fault in faults {
                    let place = headed.place(before + fault.at_byte);
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
