//! Names in the bundle that fit no tool. A rule that fits nothing protects nothing, so that one that can
//! never fit keeps the formation from starting; what a server has is known only once it has answered.

use muxi_formation::manifest::Selection;
use muxi_formation::pattern::{has_wildcards, matches};
use muxi_formation::{EffectiveFilter, ToolFilter};

/// Tools of ours that are there only beside something else. To name one is no mistake.
const SOMETIMES: [&str; 5] =
    ["watch_job", "delegate_coding", "activate_skill", "read_skill_resource", "run_skill"];

/// What can be named.
#[derive(Debug)]
pub(super) struct Names {
    /// Tools that this program has itself, and those that stand for agents.
    pub(super) ours: Vec<String>,
    pub(super) servers: Vec<String>,
}

// === impl Names ===

impl Names {
    /// Patterns of approval rules that can never fit.
    pub(super) fn dead<'a>(&self, rules: impl Iterator<Item = &'a str>) -> Vec<String> {
        let dead = rules.zip(1..).filter(|(rule, _)| !self.may_fit(rule));
        let fault = |(rule, number): (&str, u32)| {
            format!(
                "rule {number} of `approvals.rules` fits no tool: `{rule}`; {}",
                self.mend(rule)
            )
        };
        dead.map(fault).collect()
    }

    /// Names of `runtime.built_in_mcps` that nothing of ours has.
    pub(super) fn unknown(&self, chosen: &Selection) -> Vec<String> {
        let Selection::Only(names) = chosen else { return Vec::new() };
        let unknown = names.iter().filter(|name| !self.all().any(|it| it == name.as_str()));
        let fault = |name: &String| {
            let known = meant(name, self.all()).map_or_else(
                || format!("there are {}", self.all().collect::<Vec<_>>().join(", ")),
                |it| format!("did you mean `{it}`?"),
            );
            format!(
                "`runtime.built_in_mcps` names `{name}`, which is no tool of this program; {known}"
            )
        };
        unknown.map(fault).collect()
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.ours.iter().map(String::as_str).chain(SOMETIMES)
    }

    fn may_fit(&self, rule: &str) -> bool {
        // Of a server that is not there the bundle's check has told.
        if rule.contains('/') || self.all().any(|name| matches(rule, name)) {
            return true;
        }
        // A star passes over the slash, too.
        let literal = rule.split(['*', '?', '[']).next().unwrap_or_default();
        has_wildcards(rule) && self.servers.iter().any(|id| format!("{id}/").starts_with(literal))
    }

    fn mend(&self, rule: &str) -> String {
        let of_server =
            rule.split_once("__").filter(|(id, _)| self.servers.iter().any(|it| it == id));
        match (of_server, meant(rule, self.all())) {
            (Some((id, tool)), _) => format!("did you mean `{id}/{tool}`?"),
            (None, Some(name)) => format!("did you mean `{name}`?"),
            (None, None) => "a tool of a server is written as `server/tool`".to_owned(),
        }
    }
}

/// Why the rule fits no tool of the server, which has these.
pub(super) fn unmatched(rule: &str, server: &str, own: &[&str]) -> Option<String> {
    let (id, tool) = rule.split_once('/')?;
    if id != server || own.is_empty() || own.iter().any(|it| matches(tool, it)) {
        return None;
    }
    let meant = meant(tool, own.iter().copied());
    let meant = meant.map(|it| format!("; did you mean `{server}/{it}`?")).unwrap_or_default();
    Some(format!("`approvals.rules`: `{rule}` fits no tool of `{server}`{meant}"))
}

// === private helpers ===

fn meant<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let filter = ToolFilter { allow: Some(vec![name.to_owned()]), deny: Vec::new() };
    EffectiveFilter { layers: vec![filter] }.apply(names).unmatched.pop()?.meant
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let ours = ["generate_file", "ask_writer"].map(str::to_owned).to_vec();
        Names { ours, servers: vec!["files".to_owned()] }
    }

    #[test]
    fn a_rule_that_can_never_fit_is_told_with_what_was_meant() {
        for (rule, mend) in [
            ("generate_fle", Some("did you mean `generate_file`?")),
            ("files__write_file", Some("did you mean `files/write_file`?")),
            ("create_directory", Some("a tool of a server is written as `server/tool`")),
            ("mail*", Some("a tool of a server is written as `server/tool`")),
            ("generate_*", None),
            ("ask_writer", None),
            // It may be configured later.
            ("delegate_coding", None),
            ("*delete*", None),
            ("fil*", None),
            ("files/anything", None),
            ("*", None),
        ] {
            let dead = names().dead([rule].into_iter());
            let expected = mend
                .map(|mend| format!("rule 1 of `approvals.rules` fits no tool: `{rule}`; {mend}"));
            assert_eq!(dead, Vec::from_iter(expected), "{rule}");
        }
    }

    #[test]
    fn what_is_switched_must_be_there() {
        let only = |name: &str| Selection::Only(vec![name.to_owned()]);
        assert!(names().unknown(&only("generate_file")).is_empty());
        assert!(names().unknown(&only("watch_job")).is_empty());
        assert!(names().unknown(&Selection::All).is_empty());
        let told = names().unknown(&only("generate_fle"));
        assert!(told[0].ends_with("did you mean `generate_file`?"), "{told:?}");
        assert!(names().unknown(&only("recall"))[0].contains("there are generate_file, "));
    }

    #[test]
    fn a_rule_is_held_against_what_its_server_has() {
        let own = ["write_file", "read_file"];
        let told = |rule| unmatched(rule, "files", &own);
        assert_eq!((told("files/write_file"), told("files/*_file")), (None, None));
        assert_eq!((told("mail/send"), told("*/send"), told("recall")), (None, None, None));
        let expected = "`approvals.rules`: `files/writefile` fits no tool of `files`; did you mean `files/write_file`?";
        assert_eq!(told("files/writefile").as_deref(), Some(expected));
        assert!(told("files/delete_*").unwrap().ends_with("fits no tool of `files`"));
    }
}
