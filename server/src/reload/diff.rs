//! What changed between two configurations, and what of it may change while the manager runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_yaml::Value;

use crate::config::Config;

/// What may change while the manager runs: keys, and all below them. A key that stands in no line
/// needs a restart, so a new key is never taken for applied by mistake.
const RELOADABLE: &[&str] = &[
    "auth",
    "dev",
    "formations.bundle_roots",
    "formations.deployment",
    "formations.drain",
    "formations.health_check_interval",
    "formations.health_check_timeout",
    "formations.keep_generations",
    "formations.limits",
    "formations.log_max_age_hours",
    "formations.log_max_files",
    "formations.log_max_size",
    "formations.log_rotation_enabled",
    "formations.max_restarts",
    "formations.overrides",
    "formations.pass_environment",
    "formations.restart_delay",
    "formations.stop_grace",
    "formations.unhealthy_threshold",
    "limits.bundle_bytes",
    "limits.entries",
    "limits.file_bytes",
    "limits.formations",
    "limits.log_tail_lines",
    "limits.proxy_head_ms",
    "limits.unpacked_bytes",
    "limits.upload_idle_ms",
    "limits.upload_ms",
    "logging.access",
    "logging.level",
    "metrics",
    "proxy.breaker",
    "proxy.concurrency",
    "proxy.cors",
    "proxy.held_max",
    "proxy.held_per_formation_max",
    "proxy.hold_ms",
    "proxy.upgrade_idle_ms",
    "proxy.upgrades_max",
    "runtime.model_host_idle",
    "sdk",
    "server.public_url",
    "server.tls.min_version",
    "server.tls.watch_interval",
    "server.trusted_proxies",
    "webhooks",
];
/// Of those, what a formation is given when it starts: one that runs keeps what it has.
const FROM_NEXT_START: &[&str] = &[
    "formations.log_max_age_hours",
    "formations.log_max_files",
    "formations.log_max_size",
    "formations.log_rotation_enabled",
    "formations.pass_environment",
];
/// Whether there is such a section at all needs a restart.
const SWITCHED_AT_START: &[&str] = &["server.tls"];

/// What changed, by whether it counts at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub applied: Vec<Change>,
    pub needs_restart: Vec<Change>,
}

/// One key with its values, secrets masked.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    pub path: String,
    pub old: String,
    pub new: String,
}

/// Every key whose value differs, in the order of their names.
pub fn diff(old: &Config, new: &Config) -> Changes {
    let (old_shown, new_shown) = (flat(&value(&old.masked())), flat(&value(&new.masked())));
    let (old, new) = (flat(&value(old)), flat(&value(new)));
    let mut changes = Changes::default();
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for path in paths.into_iter().filter(|path| old.get(*path) != new.get(*path)) {
        let change = Change {
            path: path.clone(),
            old: shown(old_shown.get(path)),
            new: shown(new_shown.get(path)),
        };
        let on_both_sides = old.contains_key(path) && new.contains_key(path);
        let list = if is_reloadable(path) && (on_both_sides || !is_switched(path)) {
            &mut changes.applied
        } else {
            &mut changes.needs_restart
        };
        list.push(change);
    }
    changes
}

/// `effective` with everything of `new` that may change while the manager runs.
pub(super) fn overlay(effective: &Config, new: &Config) -> Config {
    let (mut whole, new) = (value(effective), value(new));
    for path in RELOADABLE {
        if !is_switched(path) || (has(&whole, path) && has(&new, path)) {
            copy(&mut whole, &new, path);
        }
    }
    serde_yaml::from_value(whole).expect("parts of two configurations make a configuration")
}

fn is_reloadable(path: &str) -> bool {
    RELOADABLE.iter().any(|prefix| covers(prefix, path))
}

fn is_switched(path: &str) -> bool {
    SWITCHED_AT_START.iter().any(|prefix| covers(prefix, path))
}

fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn has(whole: &Value, path: &str) -> bool {
    path.split('.').try_fold(whole, |node, name| node.get(name)).is_some()
}

fn value(config: &Config) -> Value {
    serde_yaml::to_value(config).expect("our own types always serialise")
}

/// Dotted paths with their values. A list is one value: what it holds has no names.
fn flat(value: &Value) -> BTreeMap<String, Value> {
    fn collect(prefix: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
        match value.as_mapping() {
            Some(mapping) => {
                for (key, value) in mapping {
                    let key = key.as_str().unwrap_or_default();
                    let dot = if prefix.is_empty() { "" } else { "." };
                    collect(&format!("{prefix}{dot}{key}"), value, into);
                }
            }
            None => drop(into.insert(prefix.to_owned(), value.clone())),
        }
    }
    let mut found = BTreeMap::new();
    collect("", value, &mut found);
    found
}

/// Makes the node at a path that of `from`, also where it has none.
fn copy(into: &mut Value, from: &Value, path: &str) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
    let Some(into) = into.as_mapping_mut() else { return };
    match (rest, from.get(first)) {
        (Some(rest), Some(from)) => {
            if let Some(inner) = into.get_mut(first) {
                copy(inner, from, rest);
            }
        }
        (None, Some(from)) => drop(into.insert(first.into(), from.clone())),
        (_, None) => drop(into.remove(first)),
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map(|value| serde_json::to_string(value).unwrap_or_default());
    text.unwrap_or_else(|| "nothing".to_owned())
}

// === impl Change ===

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, old, new } = self;
        if old == new {
            write!(f, "`{path}` changed")?;
        } else {
            write!(f, "`{path}` changed from {old} to {new}")?;
        }
        if FROM_NEXT_START.iter().any(|prefix| covers(prefix, path)) {
            f.write_str(": counts for each formation from its next start")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KeyConfig, TlsConfig};

    type Edit = fn(&mut Config);

    fn tls(watch_interval: u32) -> TlsConfig {
        let text = format!("{{cert: /cert, key: /key, watch_interval: {watch_interval}}}");
        serde_yaml::from_str(&text).unwrap()
    }

    fn lines(changes: &[Change]) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_change_is_applied_or_named() {
        let key = || KeyConfig {
            id: "k".into(),
            secret: "muxi_sk_hidden".into(),
            label: "l".into(),
            role: muxi_contract::keys::Role::Admin,
            expires: None,
        };
        let cases: [(Edit, &[&str], &[&str]); 7] = [
            (|_| {}, &[], &[]),
            (
                |it| it.logging.level = "debug".into(),
                &["`logging.level` changed from \"info\" to \"debug\""],
                &[],
            ),
            (
                |it| it.formations.log_max_files = 3,
                &[
                    "`formations.log_max_files` changed from 10 to 3: counts for each formation from its next start",
                ],
                &[],
            ),
            (|it| it.server.port = 7891, &[], &["`server.port` changed from 7890 to 7891"]),
            (|it| it.auth.keys[0].secret = "muxi_sk_other".into(), &["`auth.keys` changed"], &[]),
            (
                |it| it.auth.secret = "new".into(),
                &["`auth.secret` changed from nothing to \"…\""],
                &[],
            ),
            (
                |it| {
                    it.limits.connections = 1;
                    it.auth.timestamp_tolerance = 60;
                },
                &["`auth.timestamp_tolerance` changed from 300 to 60"],
                &["`limits.connections` changed from 4096 to 1"],
            ),
        ];
        for (edit, applied, needs_restart) in cases {
            let mut old = Config::default();
            old.auth.keys.push(key());
            let mut new = old.clone();
            edit(&mut new);
            let changes = diff(&old, &new);
            assert_eq!(lines(&changes.applied), applied);
            assert_eq!(lines(&changes.needs_restart), needs_restart);
        }
    }

    #[test]
    fn only_what_may_change_gets_into_effect() {
        let mut effective = Config::default();
        effective.auth.secret = "old".into();
        effective.server.port = 40_000;
        let mut new = Config::default();
        new.server.port = 7891;
        new.logging.level = "trace".into();
        new.limits.connections = 7;
        new.auth.timestamp_tolerance = 60;
        let merged = overlay(&effective, &new);
        assert_eq!(merged.server.port, 40_000);
        assert_eq!(merged.limits.connections, effective.limits.connections);
        assert_eq!((merged.logging.level.as_str(), merged.auth.timestamp_tolerance), ("trace", 60));
        assert_eq!(merged.auth.secret, "", "what is gone from the file is gone");
    }

    #[test]
    fn whether_there_is_a_section_at_all_needs_a_restart() {
        let (plain, mut one, mut two) = (Config::default(), Config::default(), Config::default());
        one.server.tls = Some(tls(60));
        two.server.tls = Some(tls(7));
        let changes = diff(&one, &two);
        assert_eq!((changes.applied.len(), changes.needs_restart.len()), (1, 0), "{changes:?}");
        assert_eq!(overlay(&one, &two), two);
        for (old, new) in [(&plain, &two), (&two, &plain)] {
            let changes = diff(old, new);
            assert_eq!((changes.applied.len(), changes.needs_restart.len()), (0, 4), "{changes:?}");
            assert_eq!(overlay(old, new), *old);
        }
    }

    #[test]
    fn every_line_names_a_key_that_exists() {
        let mut config = Config::default();
        config.server.tls = Some(tls(60));
        for path in RELOADABLE {
            assert!(has(&value(&config), path), "`{path}` is no key");
        }
        for path in FROM_NEXT_START {
            assert!(RELOADABLE.contains(path), "`{path}` needs a restart");
        }
    }
}
