//! What is known of coding jobs on this machine: a small file each, for the process that comes after a
//! crash and for jobs that go on with earlier ones. What an agent calls its session is nowhere else.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan as _};
use muxi_memory::TaskEnd;
use muxi_tools::program::Identity;
use serde::{Deserialize, Serialize};

use super::workplace;

/// The journals of the formation.
#[derive(Debug)]
pub(in crate::jobs) struct Journals(PathBuf);

/// The journal of one job.
#[derive(Debug)]
pub(in crate::jobs) struct Journal(PathBuf);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::jobs) struct Kept {
    pub(in crate::jobs) folder: PathBuf,
    /// Whether the folder goes with the job.
    pub(in crate::jobs) is_tidied: bool,
    /// While it runs.
    pub(in crate::jobs) process: Option<Identity>,
    /// The process of the formation that looks after it.
    #[serde(default)]
    pub(in crate::jobs) worker: Option<Identity>,
    pub(in crate::jobs) session: Option<String>,
    /// Has its home and its temporary folder, and those of the jobs that go on with it.
    pub(in crate::jobs) place: PathBuf,
    pub(in crate::jobs) ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::jobs) struct Ended {
    how: How,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    Completed,
    Failed,
    TimedOut,
}

const FOLDER: &str = "coding";
const PLACES: &str = "places";
/// Tasks are remembered as long, see the memory.
const KEPT_HOURS: i64 = 30 * 24;

// === impl Journals ===

impl Journals {
    pub(in crate::jobs) fn below(data_dir: &Path) -> Self {
        Self(data_dir.join(FOLDER))
    }

    /// `task` is the id of a task, which this program makes.
    pub(in crate::jobs) fn of(&self, task: &str) -> Journal {
        Journal(self.0.join(format!("{task}.json")))
    }

    /// Where the job has its home, unless it goes on with another.
    pub(in crate::jobs) fn place(&self, task: &str) -> PathBuf {
        self.0.join(PLACES).join(task)
    }

    /// Ends what works on though the process that looked after it is gone. Whoever claims the job says
    /// what became of it; of a cancelled one nobody hears, so that it is ended here and not there.
    pub(in crate::jobs) fn end_orphans(&self) {
        for journal in self.all() {
            let Ok(Some(kept)) = journal.read() else { continue };
            let is_looked_after = kept.worker.as_ref().is_some_and(Identity::is_alive);
            if !is_looked_after && kept.process.as_ref().is_some_and(Identity::kill) {
                let job = journal.0.file_stem().unwrap_or_default().to_string_lossy();
                tracing::warn!(%job, "ended what a coding job had left behind");
            }
        }
    }

    /// Forgets jobs that ended long ago, with what was left for going on with them.
    pub(in crate::jobs) async fn sweep(&self, now: Timestamp) {
        // Before the journals, since a job writes its journal before it makes its place.
        let places = fs::read_dir(self.0.join(PLACES)).into_iter().flatten().flatten();
        let mut places: HashSet<PathBuf> = places.map(|entry| entry.path()).collect();
        let before = now - KEPT_HOURS.hours();
        for journal in self.all() {
            let kept = journal.read().ok().flatten();
            let changed = fs::metadata(&journal.0).and_then(|it| it.modified()).ok();
            let changed = changed.and_then(|it| Timestamp::try_from(it).ok());
            let is_old = changed.is_some_and(|changed| changed < before);
            let is_alive = |kept: &Kept| kept.process.as_ref().is_some_and(Identity::is_alive);
            if !is_old || kept.as_ref().is_some_and(is_alive) {
                kept.map(|kept| places.remove(&kept.place));
                continue;
            }
            if let Some(kept) = kept.filter(|kept| kept.is_tidied) {
                workplace::remove_of_user(kept.folder).await;
            }
            if let Err(error) = fs::remove_file(&journal.0) {
                tracing::warn!(error = %error, "an old coding job is not forgotten");
            }
        }
        for place in places {
            workplace::remove(place).await;
        }
    }

    fn all(&self) -> Vec<Journal> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let files = entries.map(|entry| entry.path());
        let journals = files.filter(|path| path.extension().is_some_and(|it| it == "json"));
        journals.map(Journal).collect()
    }
}

// === impl Journal ===

impl Journal {
    /// Nothing if the job was not begun here.
    pub(in crate::jobs) fn read(&self) -> Result<Option<Kept>, String> {
        match fs::read(&self.0) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|error| self.fault(&error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Whole or not at all, also when the machine stops.
    pub(in crate::jobs) fn write(&self, kept: &Kept) -> Result<(), String> {
        let write = || {
            let folder = self.0.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            let next = self.0.with_extension("next");
            let mut options = fs::File::options();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(&serde_json::to_vec(kept)?)?;
            file.sync_all()?;
            fs::rename(&next, &self.0)
        };
        write().map_err(|error: io::Error| self.fault(&error))
    }

    pub(super) fn end(&self, end: TaskEnd, text: &str) -> Result<(), String> {
        // One that could not even begin has nothing to go on with.
        let Some(mut kept) = self.read()? else { return Ok(()) };
        let how = match end {
            TaskEnd::Completed => How::Completed,
            TaskEnd::Failed => How::Failed,
            TaskEnd::TimedOut => How::TimedOut,
        };
        kept.ended = Some(Ended { how, text: text.to_owned() });
        self.write(&kept)
    }

    fn fault(&self, error: &dyn std::fmt::Display) -> String {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("its journal {FOLDER}/{name} below the data folder: {error}")
    }
}

// === impl Kept ===

impl Kept {
    pub(super) fn end(&self) -> Option<(TaskEnd, String)> {
        let Ended { how, text } = self.ended.as_ref()?;
        let end = match how {
            How::Completed => TaskEnd::Completed,
            How::Failed => TaskEnd::Failed,
            How::TimedOut => TaskEnd::TimedOut,
        };
        Some((end, text.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_journal_is_read_as_it_was_written_and_forgotten_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("work");
        fs::create_dir(&place).unwrap();
        let journals = Journals::below(folder.path());
        let journal = journals.of("code_1");
        assert_eq!(journal.read(), Ok(None));
        journal.end(TaskEnd::Failed, "it never began").unwrap();
        assert_eq!(journal.read(), Ok(None));
        let kept = Kept {
            folder: place.clone(),
            is_tidied: true,
            process: None,
            worker: None,
            session: Some("s".to_owned()),
            place: journals.place("code_1"),
            ended: None,
        };
        fs::create_dir_all(kept.place.join("home")).unwrap();
        journal.write(&kept).unwrap();
        assert_eq!(journal.read(), Ok(Some(kept)));
        let later = Timestamp::now() + (KEPT_HOURS + 1).hours();
        journal.end(TaskEnd::TimedOut, "late").unwrap();
        let end = journal.read().unwrap().unwrap().end();
        assert_eq!(end, Some((TaskEnd::TimedOut, "late".to_owned())));
        journals.sweep(Timestamp::now()).await;
        assert!(journal.read().unwrap().is_some() && journals.place("code_1").exists());
        journals.sweep(later).await;
        assert_eq!((journal.read(), place.exists()), (Ok(None), false));
        assert!(!journals.place("code_1").exists());
    }
}
