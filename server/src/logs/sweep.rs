//! What rotation by writers does not reach: logs that nobody writes to any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::segments::{Appender, Rotation, numbers, path};
use crate::layout::Layout;
use crate::store::formations;
use crate::supervisor::Context;

/// Files of this kind hold what versions before segments wrote.
const OLD_SUFFIXES: [&str; 2] = ["-out.log", "-err.log"];

const PERIOD: Duration = Duration::from_hours(1);

/// Sweeps now and every hour until the manager stops.
pub async fn sweep_hourly(context: Arc<Context>) {
    let stopping = context.shutdown.stopping.clone();
    let sweeping = async {
        loop {
            // Without rotation the operator looks after the files.
            if let Some(rotation) = context.live().formations.log_rotation()
                && let Ok(stored) = context.store.read(formations::with_drafts).await
            {
                let mut used: BTreeSet<String> =
                    stored.into_iter().map(|it| it.id.to_string()).collect();
                used.insert(Layout::MODEL_HOST_LOG.to_owned());
                let (logs, now) = (context.layout.logs(), context.clock.now());
                let sweep = move || sweep(&logs, rotation, now, |name| used.contains(name));
                // The next hour is another chance.
                drop(tokio::task::spawn_blocking(sweep).await);
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    stopping.run_until_cancelled(sweeping).await;
}

/// Deletes what is older than rotation keeps, over all logs in `logs`; a folder of which nothing is
/// left goes unless `is_used`. It blocks.
fn sweep(logs: &Path, rotation: Rotation, now: Timestamp, is_used: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(logs).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else { continue };
        let swept = match entry.file_type() {
            Ok(kind) if kind.is_dir() => sweep_log(&path, rotation, now, is_used(name)),
            Ok(kind) if kind.is_file() && OLD_SUFFIXES.iter().any(|it| name.ends_with(it)) => {
                sweep_file(&path, rotation, now).map(drop)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = swept {
            tracing::warn!(path = %path.display(), %error, "old log lines could not be deleted");
        }
    }
}

fn sweep_log(folder: &Path, rotation: Rotation, now: Timestamp, is_used: bool) -> io::Result<()> {
    let found = numbers(folder)?;
    if found.is_empty() {
        return Ok(());
    }
    let mut appender = Appender::new(folder.to_owned(), Some(rotation));
    let mut locked = match appender.lock() {
        Ok(locked) => locked,
        // It is written to at this moment: its writer rotates it.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    let newest = locked.newest().metadata()?;
    if newest.len() > 0 && is_expired(&newest, rotation, now) {
        // An empty successor keeps the count: places in what is deleted stay in the past.
        locked.rotate()?;
    }
    locked.delete_oldest(rotation.segments_max)?;
    for number in numbers(folder)? {
        if locked.is_newest(number) || !sweep_file(&path(folder, number), rotation, now)? {
            break;
        }
    }
    let is_empty = locked.newest().metadata()?.len() == 0 && numbers(folder)?.len() == 1;
    if is_empty && !is_used {
        // Under the lock, whose file goes, too: a writer that waits for it sees that and begins anew.
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Whether the file was old enough to be deleted.
fn sweep_file(path: &Path, rotation: Rotation, now: Timestamp) -> io::Result<bool> {
    let expired = is_expired(&fs::metadata(path)?, rotation, now);
    if expired {
        fs::remove_file(path)?;
    }
    Ok(expired)
}

fn is_expired(metadata: &fs::Metadata, rotation: Rotation, now: Timestamp) -> bool {
    let written = metadata.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
    let age = written.and_then(|at| Duration::try_from(now.duration_since(at)).ok());
    age.is_some_and(|age| age > rotation.age_max())
}
