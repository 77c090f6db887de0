//! What `muxi --help` shows: the verbs by what one is about to do, since an alphabet of forty teaches nobody.

use clap::{Command, CommandFactory as _};

use crate::commands::Arguments;

const GROUPS: [(&str, &[&str]); 6] = [
    ("Write", &["new", "validate", "secrets", "bump", "config", "diff"]),
    ("Try", &["up", "chat", "dev", "eval", "down", "doctor"]),
    (
        "Deploy and operate",
        &[
            "deploy", "remote", "get", "logs", "start", "stop", "restart", "rollback", "delete",
            "download",
        ],
    ),
    (
        "Look into a running formation",
        &[
            "info",
            "explain",
            "usage",
            "sessions",
            "requests",
            "approvals",
            "jobs",
            "artifacts",
            "memory",
            "agents",
            "mcp",
            "skills",
            "sops",
            "triggers",
            "scheduler",
            "credentials",
            "knowledge",
            "tuning",
            "audit",
        ],
    ),
    ("Share", &["registry", "search", "show", "pull", "push", "login", "logout"]),
    ("This command line", &["profiles", "formations", "set", "completions", "server"]),
];

/// All arguments, with the overview as their help.
pub(crate) fn command() -> Command {
    let command = Arguments::command();
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{}\n{{options}}{{after-help}}",
        verbs(&command)
    );
    command.help_template(template)
}

fn verbs(command: &Command) -> String {
    let width = command.get_subcommands().map(|it| it.get_name().len()).max().unwrap_or_default();
    let line = |name: &&str| {
        let about = command.find_subcommand(name).and_then(Command::get_about);
        format!("  {name:width$}  {}\n", about.map(ToString::to_string).unwrap_or_default())
    };
    let group = |(title, names): &(&str, &[&str])| {
        format!("{title}:\n{}\n", names.iter().map(line).collect::<String>())
    };
    format!("{}Options:", GROUPS.iter().map(group).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_verb_stands_in_the_overview_once() {
        let command = Arguments::command();
        let verbs: BTreeSet<&str> = command
            .get_subcommands()
            .filter(|it| !it.is_hide_set())
            .map(Command::get_name)
            .collect();
        let told: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), verbs);
        assert_eq!(told.len(), verbs.len());
    }

    #[test]
    fn arguments_are_well_formed() {
        command().debug_assert();
    }
}
