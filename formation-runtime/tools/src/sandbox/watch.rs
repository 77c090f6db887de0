//! Looks after limits that the kernel has no counter for: those of a job's processes together.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::Pid;

use super::{End, Limits, files};

/// Short enough that little can be taken in between, long enough to cost nothing.
const EVERY: Duration = Duration::from_millis(100);
/// Folders are measured less often than processes.
const LOOKS_A_MEASURE: u32 = 5;

/// Resolves when one of the limits is crossed.
pub(super) async fn until_beyond(group: Pid, folder: PathBuf, limits: &Limits) -> End {
    let limits = *limits;
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0_u32;
    loop {
        looks.tick().await;
        count = count.wrapping_add(1);
        let measure = count.is_multiple_of(LOOKS_A_MEASURE).then(|| folder.clone());
        let look = tokio::task::spawn_blocking(move || {
            let on_disk = measure.map(|folder| files::measure(&folder, &limits));
            (usage(group), on_disk)
        });
        // A look that failed is made again.
        let Ok(((processes, resident), on_disk)) = look.await else { continue };
        if processes > limits.processes {
            return End::TooManyProcesses(limits.processes);
        }
        if resident > limits.memory_bytes {
            return End::TooMuchMemory(limits.memory_bytes);
        }
        if let Some((entries, bytes)) = on_disk
            && (entries > limits.folder_entries || bytes > limits.folder_bytes)
        {
            return End::TooMuchOnDisk(limits.folder_bytes);
        }
    }
}

/// Processes of the group, and what they have in memory together.
fn usage(group: Pid) -> (usize, u64) {
    let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    let page_bytes = page_bytes.ok().flatten().and_then(|size| u64::try_from(size).ok());
    let (mut processes, mut pages) = (0, 0);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        // One that ended meanwhile does not count.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((of, resident)) = group_and_pages(&stat)
            && of == group.as_raw()
        {
            processes += 1;
            pages += resident;
        }
    }
    (processes, pages * page_bytes.unwrap_or(4_096))
}

/// The fields 5 and 24; the name before them may hold anything, even blanks and parentheses.
fn group_and_pages(stat: &str) -> Option<(i32, u64)> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(21)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_seen_with_what_it_holds() {
        let (processes, resident) = usage(nix::unistd::getpgrp());
        assert!(processes >= 1 && resident > 1 << 20, "{processes} {resident}");
        let odd = format!("7 (a) b) S 1 42 {} 99 0", ["0"; 18].join(" "));
        assert_eq!(group_and_pages(&odd), Some((42, 99)));
    }
}
