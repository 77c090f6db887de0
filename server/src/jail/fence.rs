//! The fence: landlock rules around files, signals and abstract sockets.
//!
//! A rule names what is reachable; everything else on the disk is not. Sockets at paths are guarded
//! by file permissions alone, and connections to the network by nothing: an instance must reach its
//! model providers.

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use muxi_contract::confinement::{LandlockState, LandlockView};
use muxi_contract::launch::Fence;

/// The newest version whose every restriction is tested here; older kernels enforce what they know.
pub(super) const ABI_TESTED: ABI = ABI::V6;

/// The rules, ready to be applied.
pub(super) struct Rules(RulesetCreated);

/// Opens everything that stays reachable. Paths that do not exist are left out: nothing is there to
/// be reached.
pub(super) fn rules(fence: &Fence) -> Result<Rules, RulesetError> {
    let level = if fence.required { CompatLevel::HardRequirement } else { CompatLevel::BestEffort };
    let all = AccessFs::from_all(ABI_TESTED);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let read_and_execute = read | AccessFs::Execute;
    // A file that was written is data: it can be read by an interpreter, not be a program.
    let write = all & !BitFlags::from(AccessFs::Execute);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let created = Ruleset::default()
        .set_compatibility(level)
        .handle_access(all)?
        .scope(Scope::from_all(ABI_TESTED))?
        .create()?
        // What an old kernel cannot tell apart may be allowed with the rest.
        .set_compatibility(CompatLevel::BestEffort)
        .add_rules(path_beneath_rules(&fence.read, read))?
        .add_rules(path_beneath_rules(&fence.read_and_execute, read_and_execute))?
        .add_rules(path_beneath_rules(&fence.write, write))?
        .add_rules(path_beneath_rules(&fence.devices, device))?;
    Ok(Rules(created))
}

impl Rules {
    /// From here on for this process and all that it starts.
    pub(super) fn apply(self) -> Result<LandlockView, RulesetError> {
        Ok(view(&self.0.restrict_self()?))
    }
}

/// The version of the fence that this kernel and this program have in common, or why there is none.
pub(super) fn probe() -> Result<u32, String> {
    let ask = || {
        let access = AccessFs::from_all(ABI::V1);
        Ruleset::default().handle_access(access)?.create()?.restrict_self()
    };
    // The answer comes with a restriction, so a thread of its own takes it and ends.
    let asked =
        std::thread::spawn(ask).join().map_err(|_| "it could not be asked for".to_owned())?;
    let view = view(&asked.map_err(|error| error.to_string())?);
    view.abi.ok_or_else(|| view.reason.unwrap_or_default())
}

fn view(status: &RestrictionStatus) -> LandlockView {
    let (abi, reason) = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => (Some(effective_abi as u32), None),
        LandlockStatus::NotEnabled => {
            (None, Some("landlock is not enabled in this kernel; add it to the boot option lsm="))
        }
        LandlockStatus::NotImplemented => (None, Some("this kernel is built without landlock")),
    };
    let (state, reason) = match status.ruleset {
        RulesetStatus::FullyEnforced => (LandlockState::Enforced, reason),
        RulesetStatus::PartiallyEnforced => {
            let older = "this kernel is older than 6.12 and fences a part of it";
            (LandlockState::Partial, reason.or(Some(older)))
        }
        RulesetStatus::NotEnforced => (LandlockState::Unavailable, reason),
    };
    LandlockView { state, abi, reason: reason.map(str::to_owned) }
}
