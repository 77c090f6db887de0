//! The disk that each formation uses, measured now and then. One that is over its limit is stopped
//! until an operator acts: its data stays whole, and the disk stays for the others.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use muxi_contract::FormationId;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use super::limits::bytes_text;
use crate::proxy::routes::Routes;
use crate::store::{formations, holds};
use crate::supervisor::{Context, Supervisor};

/// A walk is work; a formation that makes it long is over its limit, too.
const ENTRIES_MAX: u64 = 500_000;
const DEPTH_MAX: usize = 64;
/// The kernel's unit of used disk.
const BLOCK_BYTES: u64 = 512;

/// What some folders hold.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Usage {
    bytes: u64,
    entries: u64,
    /// Something lay deeper than is looked.
    too_deep: bool,
}

/// Looks at one running formation or draft after the other, until the manager stops.
pub(crate) async fn watch(supervisor: Supervisor) {
    let context = supervisor.context();
    loop {
        let pause = Duration::from_secs(context.live().limits.disk_check_s.into());
        tokio::select! {
            biased;
            // Cancel-safe: nothing is under way while it pauses.
            () = context.shutdown.stopping.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        for id in running(&context.routes).chain(running(&context.drafts).map(|id| id.draft())) {
            if context.shutdown.stopping.is_cancelled() {
                return;
            }
            if let Some(reason) = excess(context, &id).await {
                hold(&supervisor, &id, reason).await;
            }
        }
    }
}

fn running(routes: &Routes) -> impl Iterator<Item = FormationId> + use<> {
    let all = BTreeMap::clone(&routes.all());
    all.into_iter().filter(|(_, published)| published.pid.is_some()).map(|(id, _)| id)
}

/// How the formation is over its limit, if it is.
async fn excess(context: &Context, id: &FormationId) -> Option<String> {
    let read = id.clone();
    let formation = context.store.read(move |db| formations::get(db, &read)).await.ok()??;
    let (layout, config, id) = (context.layout.clone(), context.live(), id.clone());
    let look = move || {
        let effective = super::effective(&config, &layout, &id, formation.generation());
        let limit = effective.disk_bytes.value?;
        let usage = measure(&[layout.formation_data(&id), layout.temps(&id)]);
        describe(usage, limit)
    };
    tokio::task::spawn_blocking(look).await.expect("measuring does not panic")
}

/// Stops the formation and says why. One that something else is under way with is left for the next
/// look.
async fn hold(supervisor: &Supervisor, id: &FormationId, reason: String) {
    let context = supervisor.context();
    if let Err(error) = supervisor.stop(id).await {
        tracing::warn!(formation = %id, %error, "over its disk limit, but not to be stopped now");
        return;
    }
    tracing::warn!(formation = %id, reason, "stopped until an operator acts");
    let (held, now_ms) = (id.clone(), context.clock.now_ms());
    let noted = context.store.write(move |tx| holds::put(tx, &held, &reason, now_ms)).await;
    if let Err(error) = noted {
        let error = anyhow::Error::new(error);
        tracing::error!(formation = %id, "the reason could not be kept: {error:#}");
    }
}

fn describe(usage: Usage, limit: u64) -> Option<String> {
    let found = if usage.bytes > limit {
        let (used, limit) = (bytes_text(usage.bytes), bytes_text(limit));
        format!("its data folder holds {used}, more than its disk limit of {limit}")
    } else if usage.entries > ENTRIES_MAX {
        format!("its data folder holds more than {ENTRIES_MAX} files")
    } else if usage.too_deep {
        format!("its data folder has folders more than {DEPTH_MAX} deep")
    } else {
        return None;
    };
    let mend = "free space or raise the limit, then start it";
    Some(format!("stopped by the manager: {found}; {mend}"))
}

/// What is used below these folders. What cannot be read, such as a folder that is just removed, does
/// not count; links are not followed.
fn measure(folders: &[PathBuf]) -> Usage {
    let mut usage = Usage::default();
    for folder in folders {
        if let Ok(opened) = open(CWD, folder.as_path()) {
            // A folder that goes away in between is no reason to stop anyone.
            let _gone_meanwhile = add(&opened, DEPTH_MAX, &mut usage);
        }
    }
    usage
}

fn add(folder: &OwnedFd, depth: usize, usage: &mut Usage) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        usage.entries += 1;
        if usage.entries > ENTRIES_MAX {
            return Ok(());
        }
        let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        // Blocks, not lengths: a hole takes no disk.
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        usage.bytes = usage.bytes.saturating_add(blocks.saturating_mul(BLOCK_BYTES));
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if depth == 0 {
                usage.too_deep = true;
            } else if let Ok(inner) = open(folder, name) {
                add(&inner, depth - 1, usage)?;
            }
        }
    }
    Ok(())
}

fn open(folder: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_measured_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (data, elsewhere) = (root.path().join("data"), root.path().join("elsewhere"));
        for folder in [data.join("in"), elsewhere.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(data.join("in/file"), vec![1; 1 << 20]).unwrap();
        fs::write(elsewhere.join("large"), vec![1; 8 << 20]).unwrap();
        std::os::unix::fs::symlink(&elsewhere, data.join("link")).unwrap();
        fs::File::create(data.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        let usage = measure(&[data, root.path().join("absent")]);
        assert!((1 << 20..3 << 20).contains(&usage.bytes), "{usage:?}");
        assert_eq!((usage.entries, usage.too_deep), (4, false));
    }

    #[test]
    fn a_deep_folder_ends_the_walk_and_is_told() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d/".repeat(DEPTH_MAX + 5));
        fs::create_dir_all(deep).unwrap();
        assert!(measure(&[root.path().to_owned()]).too_deep);
    }

    #[test]
    fn each_excess_has_its_reason() {
        let usage = |bytes, entries, too_deep| Usage { bytes, entries, too_deep };
        for (usage, said) in [
            (usage(100, 5, false), None),
            (usage(101, 5, false), Some("holds 101 bytes, more than its disk limit of 100 bytes")),
            (usage(0, ENTRIES_MAX + 1, false), Some("more than 500000 files")),
            (usage(0, 1, true), Some("more than 64 deep")),
        ] {
            let described = describe(usage, 100);
            match said {
                None => assert_eq!(described, None),
                Some(said) => assert!(described.unwrap().contains(said)),
            }
        }
    }
}
