//! System calls that a confined program is refused: the network, if it is a script, leaving what it is
//! ended with, and what widens rights or reaches into other processes.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

use super::confine::Kind;

/// Of scripts, which have no network and end as one group.
const REFUSED_TO_SCRIPTS: &[i64] = &[libc::SYS_socket, libc::SYS_setpgid];
/// Sockets at paths are guarded by file permissions alone, and some belong to the same user as this
/// program: so no agent gets one. Pairs, which lead nowhere else, can be made; addresses are asked for by
/// the last of these.
const FAMILIES_OF_AGENTS: [libc::c_int; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
const REFUSED: &[i64] = &[
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    // What leaves the session would outlive the job.
    libc::SYS_setsid,
    // Memory that stays when its processes have ended.
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_shmget,
    // Other processes.
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    // The kernel and the machine.
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];
/// Where the fence cannot tell processes apart by whether they are inside, none can be signalled.
const SIGNALS: &[i64] = &[
    libc::SYS_kill,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_tgkill,
    libc::SYS_tkill,
];
/// On x86-64 a call has a second number, with this bit, in kernels that know the x32 interface.
#[cfg(target_arch = "x86_64")]
const SECOND_NUMBER: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const SECOND_NUMBER: Option<i64> = None;

/// The programs to install, in this order.
pub(super) fn programs(
    kind: Kind,
    signals_are_fenced: bool,
) -> Result<[BpfProgram; 2], BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    let signals = if signals_are_fenced { &[] } else { SIGNALS };
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let of_kind = match kind {
        Kind::Script => REFUSED_TO_SCRIPTS,
        Kind::Agent => &[],
    };
    for call in REFUSED.iter().chain(signals).chain(of_kind) {
        refused.insert(*call, Vec::new());
        refused.extend(SECOND_NUMBER.map(|bit| (*call | bit, Vec::new())));
    }
    if kind == Kind::Agent {
        let is_other = |family: libc::c_int| {
            let family = u64::from(family.unsigned_abs());
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
        };
        let others = FAMILIES_OF_AGENTS.into_iter().map(is_other).collect::<Result<_, _>>()?;
        let others = vec![SeccompRule::new(others)?];
        refused.extend(SECOND_NUMBER.map(|bit| (libc::SYS_socket | bit, others.clone())));
        refused.insert(libc::SYS_socket, others);
    }
    // A process in a user namespace of its own has every capability there.
    let flag = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    let new_user =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag)?;
    let new_user = vec![SeccompRule::new(vec![new_user])?];
    refused.extend(SECOND_NUMBER.map(|bit| (libc::SYS_clone | bit, new_user.clone())));
    refused.insert(libc::SYS_clone, new_user);
    let refuse = |call: i32| SeccompAction::Errno(call.unsigned_abs());
    let refused = SeccompFilter::new(refused, SeccompAction::Allow, refuse(libc::EPERM), arch)?;
    // The flags of clone3 lie in memory, where no filter can look; libraries fall back to clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompFilter::new(clone3, SeccompAction::Allow, refuse(libc::ENOSYS), arch)?;
    Ok([refused.try_into()?, absent.try_into()?])
}
