use serde_json::json;

use super::*;

const DANGERS: [Danger; 5] = [
    Danger::ReadOnly,
    Danger::PresumedReadOnly,
    Danger::Additive,
    Danger::Unknown,
    Danger::Destructive,
];
const ACTIONS: [Action; 3] = [Action::Allow, Action::Ask, Action::Deny];

fn rule(tool: &str, when: &[(&str, &str)], action: Action) -> Rule {
    Rule {
        tool: Pattern::new(tool).unwrap(),
        when: when
            .iter()
            .map(|(path, pattern)| (path.to_string(), Pattern::new(pattern).unwrap()))
            .collect(),
        action,
    }
}

fn policy(rules: Vec<Rule>) -> Policy {
    Policy { rules, ..Policy::default() }
}

fn decide(
    policy: &Policy,
    tool: &str,
    danger: Danger,
    arguments: &Value,
    tainted: bool,
) -> Verdict {
    let (server, of_server) = tool.split_once('/').unwrap_or(("", tool));
    let origin = if server.is_empty() {
        Origin::Builtin
    } else {
        Origin::Server { server, tool: of_server }
    };
    policy.decide(&Called {
        name: tool,
        origin,
        danger,
        arguments: arguments.as_object().unwrap(),
        is_tainted: tainted,
    })
}

#[test]
fn without_rules_danger_and_taint_decide_and_the_stricter_wins() {
    for destructive in ACTIONS {
        for tainted in ACTIONS {
            let policy = Policy { tainted, destructive, ..Policy::default() };
            for danger in DANGERS {
                for is_tainted in [false, true] {
                    let mut expected = Action::Allow;
                    if danger == Danger::Destructive {
                        expected = expected.max(destructive);
                    }
                    if is_tainted && danger >= Danger::Additive {
                        expected = expected.max(tainted);
                    }
                    let verdict = decide(&policy, "fs/x", danger, &json!({}), is_tainted);
                    assert_eq!(verdict.action, expected, "{policy:?} {danger:?} {is_tainted}");
                }
            }
        }
    }
}

#[test]
fn a_rule_goes_before_danger_and_taint_and_deny_before_all() {
    for first in ACTIONS {
        for second in ACTIONS {
            let policy = policy(vec![rule("fs/*", &[], first), rule("*/delete", &[], second)]);
            let expected = if second == Action::Deny { Action::Deny } else { first };
            for danger in DANGERS {
                for is_tainted in [false, true] {
                    let verdict = decide(&policy, "fs/delete", danger, &json!({}), is_tainted);
                    assert_eq!(verdict.action, expected, "{first} {second} {danger:?}");
                }
            }
        }
    }
    let policy =
        policy(vec![rule("fs/*", &[], Action::Allow), rule("fs/delete", &[], Action::Deny)]);
    let verdict = decide(&policy, "fs/delete", Danger::ReadOnly, &json!({}), false);
    assert_eq!(verdict.because, "rule 2 (fs/delete) says deny");
}

#[test]
fn tools_of_servers_are_named_with_their_server() {
    let asks = |pattern: &str, tool: &str| {
        let policy = policy(vec![rule(pattern, &[], Action::Ask)]);
        decide(&policy, tool, Danger::ReadOnly, &json!({}), false).action == Action::Ask
    };
    for (pattern, tool, expected) in [
        ("fs/write", "fs/write", true),
        ("fs/*", "fs/write", true),
        ("*", "fs/write", true),
        ("*", "generate_file", true),
        ("*write*", "fs/write_all", true),
        ("fs/**", "fs/write", true),
        ("fs/[rw]*", "fs/write", true),
        ("fs/[!rw]*", "fs/write", false),
        ("fs/writ?", "fs/write", true),
        ("FS/*", "fs/write", false),
        ("write", "fs/write", false),
        ("generate_*", "generate_file", true),
        ("fs/*", "fs2/write", false),
    ] {
        assert_eq!(asks(pattern, tool), expected, "{pattern} {tool}");
    }
}

#[test]
fn arguments_narrow_a_rule() {
    let arguments = json!({
        "path": "/tmp/a.txt", "count": 3, "force": true, "to": {"mail": "a@example.com"},
        "paths": ["/tmp/a", "/etc/b"], "none": [], "key.dot": "x",
        "climb": "/tmp/../etc/passwd", "climbs": ["/tmp/a", "/tmp/../b"], "dots": "/tmp/a..b",
    });
    let matches = |when: &[(&str, &str)], action: Action| {
        let policy = policy(vec![rule("*", when, action)]);
        decide(&policy, "x", Danger::ReadOnly, &arguments, false).because.starts_with("rule")
    };
    for (path, pattern, allows, asks) in [
        ("path", "/tmp/*", true, true),
        ("path", "/etc/*", false, false),
        ("count", "3", true, true),
        ("force", "true", true, true),
        ("to.mail", "*@example.com", true, true),
        ("key.dot", "x", true, true),
        ("missing", "*", false, false),
        ("to.missing", "*", false, false),
        ("path.missing", "*", false, false),
        // All of a list to allow it, one to restrict it.
        ("paths", "/tmp/*", false, true),
        ("paths", "/*", true, true),
        ("none", "*", false, false),
        // A pattern of a folder does not allow what climbs out of it.
        ("climb", "/tmp/*", false, true),
        ("climbs", "/tmp/*", false, true),
        ("dots", "/tmp/*", true, true),
    ] {
        assert_eq!(matches(&[(path, pattern)], Action::Allow), allows, "{path} {pattern}");
        assert_eq!(matches(&[(path, pattern)], Action::Ask), asks, "{path} {pattern}");
        assert_eq!(matches(&[(path, pattern)], Action::Deny), asks, "{path} {pattern}");
    }
    assert!(matches(&[("path", "/tmp/*"), ("count", "3")], Action::Allow));
    assert!(!matches(&[("path", "/tmp/*"), ("count", "4")], Action::Allow));
}

#[test]
fn a_pattern_that_is_none_says_so() {
    let fault = |text: &str| Pattern::new(text).unwrap_err().to_string();
    assert_eq!(fault(""), "`` is no pattern: it is empty");
    assert_eq!(fault("a["), "`a[` is no pattern: invalid range pattern");
    assert!(fault(&"a".repeat(501)).ends_with("it has more than 500 bytes"));
}

#[test]
fn results_of_others_taint_and_those_of_trusted_servers_do_not() {
    let policy = Policy { trusted_servers: vec!["ours".into()], ..Policy::default() };
    let server = |server| Origin::Server { server, tool: "read" };
    assert!(!policy.taints(Origin::Builtin));
    assert!(!policy.taints(server("ours")));
    assert!(policy.taints(server("theirs")));
    assert!(policy.taints(Origin::Agent));
}
