//! May this call be made: decided by what it can destroy and by who caused it, not by how long it is.
//!
//! The rule is the firewalls': explicit rules from the top, then a default by kind. Two things are added. A
//! `deny` that matches anywhere wins, so that no rule above it can open what it closes. And a call that was
//! made after untrusted text was read may be that text's idea, so that it asks before it changes anything.
//!
//! What a server says about its own tools is believed both ways, though the Model Context Protocol calls such
//! hints untrusted: a tool that reads is called a hundred times a day, and asking each time teaches people to
//! say yes. Whoever does not believe a server writes a rule.

mod reply;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::reply::{Reply, reply};
use crate::text::line;

/// What is done about a call; the later the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Allow,
    Ask,
    Deny,
}

/// How much harm a call can do, as far as its maker told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Danger {
    /// Changes nothing.
    ReadOnly,
    /// Its maker does not say, and its name sounds like reading.
    PresumedReadOnly,
    /// Changes something that can be changed back, as its maker says.
    Additive,
    /// Its maker does not say.
    Unknown,
    /// May destroy, as its maker says.
    Destructive,
}

/// Who offers a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// This program.
    Builtin,
    Server {
        server: &'a str,
        /// By the server's own name for it.
        tool: &'a str,
    },
    /// Another agent, of the formation or elsewhere.
    Agent,
}

/// A call that a model asks for.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    /// As the model knows the tool.
    pub name: &'a str,
    pub origin: Origin<'a>,
    pub danger: Danger,
    pub arguments: &'a Map<String, Value>,
    /// Text of no trust was read in this turn before the call.
    pub is_tainted: bool,
}

/// A file-name pattern: `*`, `?`, `[abc]`, `[!abc]`; case counts, and `*` matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(glob::Pattern);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no pattern: {fault}")]
pub struct PatternFault {
    pub pattern: String,
    pub fault: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `server/tool` for tools of servers, the plain name for all others.
    pub tool: Pattern,
    /// All of these arguments must match; `a.b` is `b` within `a`.
    pub when: BTreeMap<String, Pattern>,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub rules: Vec<Rule>,
    /// For calls that can change something, after text of no trust was read.
    pub tainted: Action,
    pub destructive: Action,
    /// Ids of servers whose results are as good as our own.
    pub trusted_servers: Vec<String>,
}

/// What is done about a call, and why, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub action: Action,
    pub because: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            tainted: Action::Ask,
            destructive: Action::Ask,
            trusted_servers: Vec::new(),
        }
    }
}

// === impl Policy ===

impl Policy {
    /// Whether what comes back from there is text of no trust.
    pub fn taints(&self, origin: Origin<'_>) -> bool {
        match origin {
            Origin::Builtin => false,
            Origin::Server { server, .. } => !self.trusted_servers.iter().any(|it| it == server),
            Origin::Agent => true,
        }
    }

    pub fn decide(&self, called: &Called<'_>) -> Verdict {
        let subject = subject(called);
        let matching: Vec<(usize, &Rule)> = self
            .rules
            .iter()
            .zip(1..)
            .filter(|(rule, _)| rule.matches(&subject, called.arguments))
            .map(|(rule, number)| (number, rule))
            .collect();
        let denying = matching.iter().find(|(_, rule)| rule.action == Action::Deny);
        if let Some((number, rule)) = denying.or(matching.first()) {
            let because = format!("rule {number} ({}) says {}", rule.tool, rule.action);
            return Verdict { action: rule.action, because };
        }
        let mut verdict =
            Verdict { action: Action::Allow, because: "nothing speaks against it".to_owned() };
        let mut restrict = |action: Action, because: &str| {
            if action > verdict.action {
                verdict = Verdict { action, because: because.to_owned() };
            }
        };
        if called.danger == Danger::Destructive {
            restrict(self.destructive, "it may destroy something");
        }
        let changes = match called.danger {
            Danger::ReadOnly | Danger::PresumedReadOnly => false,
            Danger::Additive | Danger::Unknown | Danger::Destructive => true,
        };
        if called.is_tainted && changes {
            restrict(
                self.tainted,
                "it can change something, and text that is not trusted was read before it",
            );
        }
        verdict
    }
}

// === impl Rule ===

impl Rule {
    fn matches(&self, subject: &str, arguments: &Map<String, Value>) -> bool {
        self.tool.matches(subject)
            && self.when.iter().all(|(path, pattern)| {
                argument(arguments, path).is_some_and(|value| self.covers(pattern, value))
            })
    }

    /// To allow, all of a list must match, and no path may climb out of what the pattern names; to
    /// restrict, any match is enough.
    fn covers(&self, pattern: &Pattern, value: &Value) -> bool {
        let fits = |value: &Value| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => value.to_string(),
            };
            let climbs = text.split(['/', '\\']).any(|part| part == "..");
            pattern.matches(&text) && !(climbs && self.action == Action::Allow)
        };
        match value {
            Value::Array(list) if self.action == Action::Allow => {
                !list.is_empty() && list.iter().all(fits)
            }
            Value::Array(list) => list.iter().any(fits),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => fits(value),
        }
    }
}

// === impl Pattern ===

impl Pattern {
    pub fn new(text: &str) -> Result<Self, PatternFault> {
        // Two stars mean folders to the crate, and the same as one here.
        let mut single = text.to_owned();
        while single.contains("**") {
            single = single.replace("**", "*");
        }
        let fault =
            |fault: &str| PatternFault { pattern: line(text, 100), fault: fault.to_owned() };
        if text.is_empty() {
            return Err(fault("it is empty"));
        }
        if text.len() > 500 {
            return Err(fault("it has more than 500 bytes"));
        }
        glob::Pattern::new(&single).map(Self).map_err(|error| fault(error.msg))
    }

    pub fn matches(&self, text: &str) -> bool {
        self.0.matches(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        })
    }
}

/// What rules are matched against.
fn subject(called: &Called<'_>) -> String {
    match called.origin {
        Origin::Server { server, tool } => format!("{server}/{tool}"),
        Origin::Builtin | Origin::Agent => called.name.to_owned(),
    }
}

/// The key itself goes before the path that it could be.
fn argument<'a>(arguments: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = arguments.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    argument(arguments.get(first)?.as_object()?, rest)
}

#[cfg(test)]
mod tests;
