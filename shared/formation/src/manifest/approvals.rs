//! `approvals`: which calls of tools run, which ask a person first, and which never run.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::pattern;

/// Not documented by the original, which asks by how long a plan is and not by what it may break.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Approvals {
    /// The first that fits decides.
    pub rules: Vec<ApprovalRule>,
    /// Of calls with side effects that content from elsewhere brought about.
    pub tainted: TaintedAction,
    /// Of tools that say of themselves that they destroy.
    pub destructive: ApprovalAction,
    /// Servers whose own words about what their tools do are believed.
    pub trusted_servers: Vec<String>,
    /// After so long without an answer the answer is no.
    pub expires_minutes: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ApprovalRule {
    /// A pattern of `server/tool`, or of a built-in tool's name.
    pub tool: String,
    /// Patterns of arguments, all of which must fit.
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    pub action: ApprovalAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalAction {
    Allow,
    Ask,
    Deny,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaintedAction {
    #[default]
    Ask,
    Allow,
}

// === impl Approvals ===

impl Default for Approvals {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            tainted: TaintedAction::Ask,
            destructive: ApprovalAction::Ask,
            trusted_servers: Vec::new(),
            expires_minutes: 1_440,
        }
    }
}

impl Approvals {
    /// The first rule that fits a call. `tool` is `server/tool`, or a built-in tool's name.
    pub fn rule(&self, tool: &str, arguments: &Map<String, Value>) -> Option<&ApprovalRule> {
        self.rules.iter().find(|rule| rule.fits(tool, arguments))
    }
}

// === impl ApprovalRule ===

impl ApprovalRule {
    fn fits(&self, tool: &str, arguments: &Map<String, Value>) -> bool {
        let has = |(name, wanted): (&String, &String)| match arguments.get(name) {
            Some(Value::String(text)) => pattern::matches(wanted, text),
            Some(value) => pattern::matches(wanted, &value.to_string()),
            None => false,
        };
        pattern::matches(&self.tool, tool) && self.when.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rule = |tool: &str, when: &[(&str, &str)], action| ApprovalRule {
            tool: tool.to_owned(),
            when: when.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            action,
        };
        let approvals = Approvals {
            rules: vec![
                rule(
                    "files/delete_*",
                    &[("path", "/tmp/*"), ("force", "false")],
                    ApprovalAction::Allow,
                ),
                rule("files/delete_*", &[], ApprovalAction::Deny),
                rule("generate_file", &[], ApprovalAction::Ask),
            ],
            ..Approvals::default()
        };
        for (tool, arguments, expected) in [
            (
                "files/delete_file",
                json!({"path": "/tmp/a", "force": false}),
                Some(ApprovalAction::Allow),
            ),
            (
                "files/delete_file",
                json!({"path": "/tmp/a", "force": true}),
                Some(ApprovalAction::Deny),
            ),
            ("files/delete_file", json!({"path": "/tmp/a"}), Some(ApprovalAction::Deny)),
            ("files/delete_file", json!({}), Some(ApprovalAction::Deny)),
            ("files/read_file", json!({}), None),
            ("generate_file", json!({}), Some(ApprovalAction::Ask)),
        ] {
            let rule = approvals.rule(tool, arguments.as_object().unwrap());
            assert_eq!(rule.map(|it| it.action), expected, "{tool} {arguments}");
        }
    }
}
