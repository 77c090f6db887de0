//! Which limits a formation has, decided from configuration, override and manifest, and what holds
//! each of them here. Pure.

use muxi_contract::confinement::{Enforcer, LimitView, LimitsView};
use muxi_contract::launch::ResourceLimits;
use muxi_formation::Limits as Manifest;

use crate::config::{FormationLimits, LimitsOverride};

/// What a formation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(super) memory_bytes: Limit,
    pub(super) cpu_percent: Limit,
    pub(super) open_files: Limit,
    pub(super) processes: Limit,
    pub(super) disk_bytes: Limit,
    pub(super) bundle_bytes: u64,
}

/// One limit; no value is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) value: Option<u64>,
    /// What the manifest asked for in vain.
    pub(super) asked: Option<u64>,
}

/// What can hold limits for one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Means {
    /// The controllers of control groups, or why there are none.
    pub(super) cgroup: Result<Controllers, String>,
    /// Whether the formation has a user id of its own.
    pub(super) own_user: bool,
}

/// What a control group can hold here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Controllers {
    pub(super) memory: bool,
    pub(super) cpu: bool,
    pub(super) pids: bool,
}

/// The override wins over the common limits; the manifest only lowers what they allow.
pub(super) fn effective(
    common: &FormationLimits,
    over: &LimitsOverride,
    manifest: &Manifest,
    bundle_bytes: u64,
) -> Effective {
    let limit = |common: u64, over: Option<u64>, asked: Option<u64>| {
        let allowed = Some(over.unwrap_or(common)).filter(|value| *value != 0);
        match (allowed, asked) {
            (Some(allowed), Some(asked)) if asked > allowed => {
                Limit { value: Some(allowed), asked: Some(asked) }
            }
            (allowed, asked) => Limit { value: asked.or(allowed), asked: None },
        }
    };
    Effective {
        memory_bytes: limit(common.memory_bytes, over.memory_bytes, manifest.memory_bytes),
        cpu_percent: limit(common.cpu_percent, over.cpu_percent, manifest.cpu_percent),
        open_files: limit(common.open_files, over.open_files, manifest.open_files),
        processes: limit(common.processes, over.processes, manifest.processes),
        disk_bytes: limit(common.disk_bytes, over.disk_bytes, manifest.disk_bytes),
        bundle_bytes: over.bundle_bytes.unwrap_or(bundle_bytes).min(bundle_bytes),
    }
}

/// Bytes for people: `512 MiB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        Some((unit, name)) => {
            let tenths = bytes / (unit / 10);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

// === impl Effective ===

impl Effective {
    /// What the launcher sets for each process.
    pub(super) fn for_processes(&self, means: &Means) -> ResourceLimits {
        let group = means.controllers();
        ResourceLimits {
            open_files: self.open_files.value.unwrap_or(u64::MAX),
            core_bytes: 0,
            data_bytes: self.memory_bytes.value.filter(|_| !group.memory),
            processes: self.processes.value.filter(|_| !group.pids && means.own_user),
            // One file cannot pass the limit of all before they are measured again.
            file_bytes: self.disk_bytes.value,
        }
    }

    /// What the control group is told, by file.
    pub(super) fn for_cgroup(&self, controllers: Controllers) -> Vec<(&'static str, String)> {
        /// The kernel accounts processor time in periods of so many microseconds.
        const PERIOD_US: u64 = 100_000;
        let mut settings = Vec::new();
        if let Some(bytes) = self.memory_bytes.value.filter(|_| controllers.memory) {
            settings.push(("memory.max", bytes.to_string()));
            settings.push(("memory.swap.max", "0".to_owned()));
            // Half of an instance would be of no use.
            settings.push(("memory.oom.group", "1".to_owned()));
        }
        if let Some(percent) = self.cpu_percent.value.filter(|_| controllers.cpu) {
            settings.push(("cpu.max", format!("{} {PERIOD_US}", percent * PERIOD_US / 100)));
        }
        if let Some(count) = self.processes.value.filter(|_| controllers.pids) {
            settings.push(("pids.max", count.to_string()));
        }
        settings
    }

    /// The limits with what holds them when an instance runs by these means.
    pub(super) fn view(&self, means: &Means) -> LimitsView {
        let group = means.controllers();
        let why = means.cgroup.as_ref().err().cloned().unwrap_or_else(|| {
            "the control group that was delegated to the manager cannot hold it".to_owned()
        });
        let held = |limit: Limit, by: Enforcer, how: Option<&str>| limit.view(Some(by), how);
        let each = format!("as private memory of each process: {why}");
        let user = "the formation needs a user id of its own";
        Effective::assemble(
            if group.memory {
                held(self.memory_bytes, Enforcer::Cgroup, None)
            } else {
                held(self.memory_bytes, Enforcer::Rlimit, Some(&each))
            },
            if group.cpu {
                held(self.cpu_percent, Enforcer::Cgroup, None)
            } else {
                self.cpu_percent.view(None, Some(&why))
            },
            held(self.open_files, Enforcer::Rlimit, Some("of each process")),
            match (group.pids, means.own_user) {
                (true, _) => held(self.processes, Enforcer::Cgroup, None),
                (false, true) => held(self.processes, Enforcer::Rlimit, Some("of its user id")),
                (false, false) => self.processes.view(None, Some(&format!("{why}; else {user}"))),
            },
            held(self.disk_bytes, Enforcer::Watch, None),
            self.bundle_bytes,
        )
    }

    /// The limits while no instance runs that they could hold.
    pub(super) fn view_at_rest(&self) -> LimitsView {
        let rest = |limit: Limit| limit.view(None, Some("no instance runs"));
        Effective::assemble(
            rest(self.memory_bytes),
            rest(self.cpu_percent),
            rest(self.open_files),
            rest(self.processes),
            rest(self.disk_bytes),
            self.bundle_bytes,
        )
    }

    fn assemble(
        memory_bytes: LimitView,
        cpu_percent: LimitView,
        open_files: LimitView,
        processes: LimitView,
        disk_bytes: LimitView,
        bundle_bytes: u64,
    ) -> LimitsView {
        let by = Some(Enforcer::Upload);
        let bundle_bytes = LimitView { value: Some(bundle_bytes), enforced_by: by, reason: None };
        LimitsView { memory_bytes, cpu_percent, open_files, processes, disk_bytes, bundle_bytes }
    }
}

// === impl Limit ===

impl Limit {
    fn view(self, enforced_by: Option<Enforcer>, how: Option<&str>) -> LimitView {
        let Some(value) = self.value else { return LimitView::default() };
        let asked = self.asked.map(|asked| format!("the manifest asks for {asked} in vain"));
        let said: Vec<String> = how.map(str::to_owned).into_iter().chain(asked).collect();
        let reason = Some(said.join("; ")).filter(|said| !said.is_empty());
        LimitView { value: Some(value), enforced_by, reason }
    }
}

// === impl Means ===

impl Means {
    fn controllers(&self) -> Controllers {
        self.cgroup.as_ref().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use Enforcer::{Cgroup, Rlimit};

    use super::*;

    fn limit(value: Option<u64>, asked: Option<u64>) -> Limit {
        Limit { value, asked }
    }

    #[test]
    fn the_manifest_only_lowers_what_the_operator_allows() {
        for (common, over, manifest, expected) in [
            (100, None, None, limit(Some(100), None)),
            (100, None, Some(50), limit(Some(50), None)),
            (100, None, Some(100), limit(Some(100), None)),
            (100, None, Some(101), limit(Some(100), Some(101))),
            (100, Some(500), None, limit(Some(500), None)),
            (100, Some(500), Some(400), limit(Some(400), None)),
            (100, Some(20), Some(50), limit(Some(20), Some(50))),
            // 0 is no limit, which a manifest may still lower.
            (0, None, None, limit(None, None)),
            (0, None, Some(7), limit(Some(7), None)),
            (100, Some(0), None, limit(None, None)),
            (100, Some(0), Some(7), limit(Some(7), None)),
            (0, Some(9), Some(10), limit(Some(9), Some(10))),
        ] {
            let common = FormationLimits { memory_bytes: common, ..FormationLimits::default() };
            let over = LimitsOverride { memory_bytes: over, ..LimitsOverride::default() };
            let asked = Manifest { memory_bytes: manifest, ..Manifest::default() };
            let decided = effective(&common, &over, &asked, 1);
            assert_eq!(decided.memory_bytes, expected, "{common:?} {over:?} {manifest:?}");
        }
    }

    #[test]
    fn an_override_of_the_upload_stays_below_the_common_cap() {
        for (over, expected) in [(None, 100), (Some(50), 50), (Some(500), 100)] {
            let over = LimitsOverride { bundle_bytes: over, ..LimitsOverride::default() };
            let decided = effective(&FormationLimits::default(), &over, &Manifest::default(), 100);
            assert_eq!(decided.bundle_bytes, expected);
        }
    }

    #[test]
    fn each_means_holds_what_it_can() {
        let common = FormationLimits { cpu_percent: 50, ..FormationLimits::default() };
        let over = LimitsOverride::default();
        let decided = effective(&common, &over, &Manifest::default(), 1);
        let all = Controllers { memory: true, cpu: true, pids: true };
        let none = || Err("no control groups".to_owned());
        for (cgroup, own_user, memory, cpu, processes, rlimits) in [
            (Ok(all), false, Cgroup, Some(Cgroup), Some(Cgroup), (None, None)),
            (Ok(all), true, Cgroup, Some(Cgroup), Some(Cgroup), (None, None)),
            (none(), true, Rlimit, None, Some(Rlimit), (Some(2 << 30), Some(1_024))),
            (none(), false, Rlimit, None, None, (Some(2 << 30), None)),
            (
                Ok(Controllers { memory: true, ..Controllers::default() }),
                false,
                Cgroup,
                None,
                None,
                (None, None),
            ),
        ] {
            let means = Means { cgroup, own_user };
            let view = decided.view(&means);
            assert_eq!(view.memory_bytes.enforced_by, Some(memory), "{means:?}");
            assert_eq!(view.cpu_percent.enforced_by, cpu, "{means:?}");
            assert_eq!(view.processes.enforced_by, processes, "{means:?}");
            // What nothing holds says why.
            for limit in [&view.cpu_percent, &view.processes] {
                assert!(limit.enforced_by.is_some() || limit.reason.is_some(), "{limit:?}");
            }
            let set = decided.for_processes(&means);
            assert_eq!((set.data_bytes, set.processes), rlimits, "{means:?}");
        }
        assert_eq!(
            decided.for_cgroup(all),
            [
                ("memory.max", "2147483648".to_owned()),
                ("memory.swap.max", "0".to_owned()),
                ("memory.oom.group", "1".to_owned()),
                ("cpu.max", "50000 100000".to_owned()),
                ("pids.max", "1024".to_owned()),
            ]
        );
    }

    #[test]
    fn sizes_are_written_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1 << 20, "1 MiB"),
            (3 << 29, "1.5 GiB"),
            ((8 << 20) + 1, "8.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
    }
}
