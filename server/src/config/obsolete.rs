//! What configurations of the original may hold and nothing here reads.

use serde_yaml::Value;

/// Takes such keys out; each is a warning that names it and says why.
pub(super) fn remove(value: &mut Value) -> Vec<String> {
    let found = OBSOLETE.iter().filter(|(path, _)| take(value, path));
    found.map(|(path, reason)| format!("`{path}` is not used: {reason}")).collect()
}

/// Keys of the original's configuration that nothing here needs, with the reason.
const OBSOLETE: &[(&str, &str)] = &[
    ("formations.runtime_type", "there is one kind of runtime"),
    ("formations.logs_dir", "logs lie in the data folder"),
    ("formations.pids_dir", "processes are noted in the store"),
    ("formations.formations_dir", "formations lie in the data folder"),
    ("formations.max_formations", "use limits.formations"),
    ("formations.keep_backups", "use formations.keep_generations"),
    ("formations.auto_restart", "crashed formations are always restarted"),
    ("formations.startup_health_delay", "health is probed at once"),
    ("formations.deployment.force_kill_timeout", "use formations.stop_grace"),
    ("formations.deployment.staging_health_delay", "health is probed at once"),
    ("formations.deployment.health_check.enabled", "a deploy is always probed"),
    ("formations.deployment.health_check.endpoint", "the runtime's own health route is used"),
    ("formations.deployment.health_check.interval", "health is awaited, not polled"),
    ("formations.deployment.health_check.max_retries", "use health_check.timeout"),
    ("limits.instance_open_files", "use formations.limits.open_files"),
    ("runtime.sif_base_url", "the runtime is a program beside the manager"),
    ("runtime.runtime_runner_image", "the runtime is a program beside the manager"),
    ("rce", "skill execution is not built in this version"),
    ("logging.audit_log", "the audit log lies in the store; `muxi-server audit list` shows it"),
];

/// Takes a dotted path out of a mapping; whether it was there.
fn take(value: &mut Value, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
    let Some(mapping) = value.as_mapping_mut() else { return false };
    match rest {
        None => mapping.remove(first).is_some(),
        Some(rest) => mapping.get_mut(first).is_some_and(|inner| take(inner, rest)),
    }
}
