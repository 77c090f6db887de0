//! The processes of one installation, found by its data folder's path.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, wait_until};

/// Whether the process runs; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    let state = state(Path::new(&format!("/proc/{pid}/stat")));
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    // Gone already is what a killer wants.
    kill_process(pid, signal).ok();
}

/// Stops the process as a hang would, and waits until each of its threads stands still.
pub async fn freeze(pid: u32) {
    signal(pid, Signal::STOP);
    wait_until(PATIENCE, "every thread stands still", async || {
        let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        tasks.all(|task| state(&task.path().join("stat")) == Some('T')).then_some(())
    })
    .await;
}

/// Every living process that has a path of the data folder in its environment or arguments.
pub(super) fn of_installation(data_dir: &Path) -> Vec<u32> {
    let wanted = data_dir.as_os_str().as_encoded_bytes();
    let has = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let named = |pid: u32, file| fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|it| has(&it));
    pids.filter(|pid| named(*pid, "environ") || named(*pid, "cmdline"))
        .filter(|pid| is_alive(*pid))
        .collect()
}

/// Kills until none is left, as one may just be starting another.
pub(super) fn kill_all(data_dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = of_installation(data_dir);
        if left.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in left {
            signal(pid, Signal::KILL);
        }
        std::thread::yield_now();
    }
}

/// One letter of the kernel's.
fn state(stat: &Path) -> Option<char> {
    let stat = fs::read_to_string(stat).ok()?;
    // The name in parentheses may hold anything.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}
