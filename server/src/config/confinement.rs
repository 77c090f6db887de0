//! What confines formations: limits with their overrides, the sandbox, user ids.

use serde::{Deserialize, Serialize};

use super::FormationsConfig;
use super::proxy::CONCURRENCY_MAX;

/// What each formation may use, unless an override or its own manifest says otherwise. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormationLimits {
    pub memory_bytes: u64,
    /// Share of one processor; 200 is two of them.
    pub cpu_percent: u64,
    /// Of one process. Always limited.
    pub open_files: u64,
    /// Processes and threads together.
    pub processes: u64,
    /// Of the data folder and the temporary files.
    pub disk_bytes: u64,
}

/// What the operator decides for one formation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormationOverride {
    pub limits: LimitsOverride,
    /// In the place of `proxy.concurrency`.
    pub concurrency: Option<usize>,
}

/// In the place of the common limits, higher or lower. 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsOverride {
    pub memory_bytes: Option<u64>,
    pub cpu_percent: Option<u64>,
    pub open_files: Option<u64>,
    pub processes: Option<u64>,
    pub disk_bytes: Option<u64>,
    /// Of an upload; not above `limits.bundle_bytes`.
    pub bundle_bytes: Option<u64>,
}

/// Whether instances run behind a fence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// As far as this kernel can.
    #[default]
    On,
    Off,
    /// A kernel that cannot is a reason not to start.
    Required,
}

/// Whether each formation has a user id of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UserIsolation {
    /// When the manager runs as root and its folders can be reached by others.
    #[default]
    Auto,
    Off,
    /// An obstacle is a reason not to start.
    Required,
}

/// Ids from `uid_range_start` on that formations get one by one.
pub const UID_RANGE: u32 = 65_536;

// === impl FormationLimits ===

impl Default for FormationLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu_percent: 0,
            open_files: 4_096,
            processes: 1_024,
            disk_bytes: 10 << 30,
        }
    }
}

/// What is wrong with this part of the configuration.
pub(super) fn faults(formations: &FormationsConfig, bundle_bytes: u64) -> Vec<String> {
    let mut faults = Vec::new();
    check_limits("formations.limits", &as_override(&formations.limits), &mut faults);
    for (id, FormationOverride { limits, concurrency }) in &formations.overrides {
        if concurrency.is_some_and(|count| !(1..=CONCURRENCY_MAX).contains(&count)) {
            faults.push(format!(
                "formations.overrides.{id}.concurrency must be 1 to {CONCURRENCY_MAX}"
            ));
        }
        let at = format!("formations.overrides.{id}.limits");
        check_limits(&at, limits, &mut faults);
        if let Some(bytes) = limits.bundle_bytes
            && !(1_024..=bundle_bytes).contains(&bytes)
        {
            faults.push(format!(
                "{at}.bundle_bytes must be 1024 to limits.bundle_bytes, which is {bundle_bytes}"
            ));
        }
    }
    for (name, paths) in
        [("sandbox_read", &formations.sandbox_read), ("sandbox_write", &formations.sandbox_write)]
    {
        for path in paths.iter().filter(|path| !path.is_absolute()) {
            faults.push(format!("formations.{name}: `{}` must be absolute", path.display()));
        }
    }
    let (first, highest) = (formations.uid_range_start, i32::MAX.unsigned_abs() - UID_RANGE);
    if !(1_000..=highest).contains(&first) {
        faults.push(format!("formations.uid_range_start must be 1000 to {highest}"));
    }
    faults
}

fn check_limits(at: &str, limits: &LimitsOverride, faults: &mut Vec<String>) {
    const MIB: u64 = 1 << 20;
    const TIB: u64 = 1 << 40;
    for (name, value, min, max, or_none) in [
        ("memory_bytes", limits.memory_bytes, 16 * MIB, 64 * TIB, true),
        ("cpu_percent", limits.cpu_percent, 1, 100_000, true),
        ("open_files", limits.open_files, 64, 1_000_000, false),
        ("processes", limits.processes, 8, 1_000_000, true),
        ("disk_bytes", limits.disk_bytes, MIB, 1_024 * TIB, true),
    ] {
        let Some(value) = value else { continue };
        let fits = (min..=max).contains(&value) || or_none && value == 0;
        if !fits {
            let none = if or_none { ", or 0 for no limit" } else { "" };
            faults.push(format!("{at}.{name} must be {min} to {max}{none}"));
        }
    }
}

fn as_override(limits: &FormationLimits) -> LimitsOverride {
    LimitsOverride {
        memory_bytes: Some(limits.memory_bytes),
        cpu_percent: Some(limits.cpu_percent),
        open_files: Some(limits.open_files),
        processes: Some(limits.processes),
        disk_bytes: Some(limits.disk_bytes),
        bundle_bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_fault_is_named_with_its_place() {
        let formations = FormationsConfig {
            limits: FormationLimits {
                memory_bytes: 1,
                open_files: 0,
                ..FormationLimits::default()
            },
            overrides: BTreeMap::from([(
                "hello".parse().unwrap(),
                FormationOverride {
                    limits: LimitsOverride {
                        processes: Some(1),
                        disk_bytes: Some(0),
                        bundle_bytes: Some(2_000_000),
                        ..LimitsOverride::default()
                    },
                    concurrency: None,
                },
            )]),
            sandbox_read: vec![PathBuf::from("here")],
            uid_range_start: 0,
            ..FormationsConfig::default()
        };
        assert_eq!(
            faults(&formations, 1_000_000),
            [
                "formations.limits.memory_bytes must be 16777216 to 70368744177664, or 0 for no limit",
                "formations.limits.open_files must be 64 to 1000000",
                "formations.overrides.hello.limits.processes must be 8 to 1000000, or 0 for no limit",
                "formations.overrides.hello.limits.bundle_bytes must be 1024 to limits.bundle_bytes, \
                 which is 1000000",
                "formations.sandbox_read: `here` must be absolute",
                "formations.uid_range_start must be 1000 to 2147418111",
            ]
        );
        assert_eq!(faults(&FormationsConfig::default(), 1_000_000), [""; 0]);
    }

    #[test]
    fn the_modes_are_words() {
        let text =
            "{sandbox: off, user_isolation: required, overrides: {abc: {limits: {disk_bytes: 0}}}}";
        let read: FormationsConfig = serde_yaml::from_str(text).unwrap();
        assert_eq!(
            (read.sandbox, read.user_isolation),
            (SandboxMode::Off, UserIsolation::Required)
        );
        assert_eq!(read.overrides.values().next().unwrap().limits.disk_bytes, Some(0));
        assert!(serde_yaml::from_str::<FormationsConfig>("{overrides: {A_BC: {}}}").is_err());
    }
}
