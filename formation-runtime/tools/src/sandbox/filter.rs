//! System calls that a confined program is refused: the network, if it is a script, leaving what it is
//! ended with, and what widens rights or reaches into other processes or around the fence.

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
/// Limits, priorities and places of a process, which the first argument names: of any of the same user.
/// Zero is the caller.
const OF_A_PROCESS: &[i64] = &[
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
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
/// The fence does not guard modes, owners and times, not even of files that can only be read, so a script
/// changes none. It is told that it did: copying and unpacking would end there, and need no such thing.
const PRETENDED_TO_SCRIPTS: &[i64] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
];
/// Nor does it guard these, which many file systems do not have, so that programs can do without.
const UNSUPPORTED: &[i64] = &[
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_setxattr,
    FILE_SETATTR,
    REMOVEXATTRAT,
    SETXATTRAT,
];
/// Flags of a file, sealing it, and its project, of any file that can be read.
const UNSUPPORTED_CONTROLS: [u64; 3] = [0x4008_6602, 0x4080_6685, 0x401c_5820];
/// Memory that belongs to no process: whoever looks after how much a script has would not see it.
const ABSENT_FOR_SCRIPTS: &[i64] = &[libc::SYS_memfd_create, libc::SYS_memfd_secret];
/// Numbers that are the same on all machines, and that the library does not know on all of them.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const FILE_SETATTR: i64 = 469;
/// On x86-64 a call has a second number, with this bit, in kernels that know the x32 interface.
#[cfg(target_arch = "x86_64")]
const SECOND_NUMBER: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const SECOND_NUMBER: Option<i64> = None;

/// Calls that get the same answer instead of being made.
#[derive(Default)]
struct Calls(BTreeMap<i64, Vec<SeccompRule>>);

/// The programs to install.
pub(super) fn programs(
    kind: Kind,
    signals_are_fenced: bool,
) -> Result<Vec<BpfProgram>, BackendError> {
    let mut programs = vec![
        refused(kind, signals_are_fenced)?.answered(libc::EPERM)?,
        unsupported()?.answered(libc::EOPNOTSUPP)?,
    ];
    // The flags of clone3 lie in memory, where no filter can look; libraries fall back to clone.
    let mut absent = Calls::default();
    absent.always(&[libc::SYS_clone3]);
    if kind == Kind::Script {
        absent.always(ABSENT_FOR_SCRIPTS);
        let mut pretended = Calls::default();
        pretended.always(PRETENDED_TO_SCRIPTS);
        programs.push(pretended.answered(0)?);
    }
    programs.push(absent.answered(libc::ENOSYS)?);
    Ok(programs)
}

fn refused(kind: Kind, signals_are_fenced: bool) -> Result<Calls, BackendError> {
    let mut refused = Calls::default();
    refused.always(REFUSED);
    if !signals_are_fenced {
        refused.always(SIGNALS);
    }
    for call in OF_A_PROCESS {
        refused.when(*call, vec![argument(0, SeccompCmpOp::Ne, 0)?])?;
    }
    // These two name a kind of target first: one process, and then which.
    for (call, one_process) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)] {
        refused.when(call, vec![argument(0, SeccompCmpOp::Ne, one_process)?])?;
        refused.when(call, vec![argument(1, SeccompCmpOp::Ne, 0)?])?;
    }
    match kind {
        Kind::Script => {
            refused.always(REFUSED_TO_SCRIPTS);
            // As a file in memory, it is held by nobody who could be seen.
            let flags = bits(libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            let shared = argument(3, SeccompCmpOp::MaskedEq(flags), flags)?;
            refused.when(libc::SYS_mmap, vec![shared])?;
        }
        Kind::Agent => {
            let is_other = |family| argument(0, SeccompCmpOp::Ne, bits(family));
            let others = FAMILIES_OF_AGENTS.into_iter().map(is_other).collect::<Result<_, _>>()?;
            refused.when(libc::SYS_socket, others)?;
        }
    }
    // A process in a user namespace of its own has every capability there.
    let flag = bits(libc::CLONE_NEWUSER);
    refused.when(libc::SYS_clone, vec![argument(0, SeccompCmpOp::MaskedEq(flag), flag)?])?;
    Ok(refused)
}

fn unsupported() -> Result<Calls, BackendError> {
    let mut unsupported = Calls::default();
    unsupported.always(UNSUPPORTED);
    for control in UNSUPPORTED_CONTROLS {
        unsupported.when(libc::SYS_ioctl, vec![argument(1, SeccompCmpOp::Eq, control)?])?;
    }
    Ok(unsupported)
}

// === impl Calls ===

impl Calls {
    fn always(&mut self, calls: &[i64]) {
        for call in calls {
            self.0.insert(*call, Vec::new());
            self.0.extend(SECOND_NUMBER.map(|bit| (*call | bit, Vec::new())));
        }
    }

    /// When all conditions hold, or all of those given another time.
    fn when(&mut self, call: i64, conditions: Vec<SeccompCondition>) -> Result<(), BackendError> {
        let rule = SeccompRule::new(conditions)?;
        for call in std::iter::once(call).chain(SECOND_NUMBER.map(|bit| call | bit)) {
            self.0.entry(call).or_default().push(rule.clone());
        }
        Ok(())
    }

    /// Zero is success.
    fn answered(self, error: libc::c_int) -> Result<BpfProgram, BackendError> {
        let answer = SeccompAction::Errno(error.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(self.0, SeccompAction::Allow, answer, arch)?.try_into()
    }
}

/// Of all these calls only the lower half of an argument counts.
fn argument(
    index: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

fn bits(flags: libc::c_int) -> u64 {
    u64::from(flags.unsigned_abs())
}
