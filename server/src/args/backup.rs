//! `muxi-server backup` and `restore`: the data folder as one file, and back.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use muxi_contract::FormationId;
use muxi_server::backup::{self, BackedUp, BackupOptions, Progress, RestoreOptions, Restored};
use muxi_server::config::Folders;
use muxi_server::running::{self, Holder};

use super::print;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The manager may run meanwhile: databases are copied through SQLite, each as it is at one moment, and
what is deployed or deleted while the backup is taken does no harm.

The file holds the bundles with their secrets and the keys that open them, and every conversation. It
is written so that only you can read it; keep it as safe as the data folder. Sockets, uploads on their
way in and, unless asked for, logs and config.yaml are left out; so is what of a formation's files cannot
be read, which is told.

Examples:
  muxi-server backup --output /backups/muxi.tar.gz
  muxi-server backup --formation hello --output hello.tar.gz")]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist. [default: muxi-backup-DATE-TIME.tar.gz here]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Take the logs along.
    #[arg(long)]
    include_logs: bool,
    /// Take config.yaml along, which holds the secrets of the management keys.
    #[arg(long)]
    include_config: bool,
    /// Take this formation alone, without keys, events and the audit of the manager.
    #[arg(long, value_name = "ID")]
    formation: Option<FormationId>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Everything in the file is unpacked beside what is there and compared with its checksums before anything
is replaced. With --force, what the data folder holds is moved into a folder before-restore-DATE within
it; nothing is deleted. No manager may run on the folder meanwhile.

Formations come back with the next start, on the same ports and with the same keys and conversations.

Example:
  muxi-server restore /backups/muxi.tar.gz")]
pub(crate) struct RestoreArgs {
    /// The file that `muxi-server backup` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Move aside what the data folder holds.
    #[arg(long)]
    force: bool,
    /// Restore into this folder instead of the usual one.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// For databases that formations have locked.
const PATIENCE: Duration = Duration::from_secs(30);
const TELL_EVERY: Duration = Duration::from_millis(200);

// === impl BackupArgs ===

impl BackupArgs {
    pub(crate) fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let output = self.output.unwrap_or_else(|| {
            jiff::Zoned::now().strftime("muxi-backup-%Y%m%d-%H%M%S.tar.gz").to_string().into()
        });
        let layout = folders.layout()?;
        // The manager that runs may have been given another file.
        let config_file = match running::holder(&layout)? {
            Holder::Manager(running) => running.config_file,
            Holder::Starting { .. } | Holder::Nobody => folders.config_file(),
        };
        let options = BackupOptions {
            output,
            include_logs: self.include_logs,
            include_config: self.include_config,
            config_file,
            config_dir: folders.config.clone(),
            formation: self.formation,
            patience: PATIENCE,
        };
        let mut meter = Meter::new();
        let done = backup::create(&layout, &options, &mut |it| meter.tell(it));
        meter.end();
        let done = done?;
        Ok(print(&if self.json { json(&done)? } else { tell_backup(&done)? }))
    }
}

fn tell_backup(done: &BackedUp) -> anyhow::Result<String> {
    let mut text = format!(
        "Wrote {} ({}): {} files of {} formation(s), {} before compression.\n",
        done.output.display(),
        size(done.archive_bytes),
        done.files,
        done.formations.len(),
        size(done.bytes),
    );
    for it in &done.left_out {
        writeln!(text, "warning: `{}` is left out: {}", it.path, it.reason)?;
    }
    text.push_str("It holds secrets and conversations; only you can read it. Keep it safe.\n");
    Ok(text)
}

// === impl RestoreArgs ===

impl RestoreArgs {
    pub(crate) fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let mut folders = folders.clone();
        folders.data = self.data_dir.unwrap_or(folders.data);
        let options = RestoreOptions {
            archive: self.file,
            force: self.force,
            config_file: folders.config_file(),
        };
        let done = backup::restore(&folders.layout()?, &options)?;
        Ok(print(&if self.json { json(&done)? } else { tell_restore(&done)? }))
    }
}

fn tell_restore(done: &Restored) -> anyhow::Result<String> {
    let mut text = format!(
        "Restored {} files ({}) into {}, as they were at {}.\n",
        done.files,
        size(done.bytes),
        done.data_dir.display(),
        done.created_at,
    );
    if let Some(aside) = &done.moved_aside {
        writeln!(text, "What was there before lies in {}.", aside.display())?;
    }
    if let Some(config) = &done.config {
        writeln!(text, "The configuration is in {}.", config.display())?;
    }
    if done.formations.is_empty() {
        text.push_str("It holds no formations.\n");
        return Ok(text);
    }
    text.push_str("With the next start:\n");
    for it in &done.formations {
        let (id, version, generation, port) = (&it.id, &it.version, it.generation, it.port);
        let what = if it.starts { "is started" } else { "stays stopped" };
        writeln!(text, "  {id} {version} (generation {generation}) {what} on port {port}")?;
        if it.port_taken {
            writeln!(text, "    warning: another program has port {port} now; free it first")?;
        }
    }
    Ok(text)
}

/// Says on a terminal how far the work is.
struct Meter {
    is_shown: bool,
    told_at: Option<Instant>,
}

// === impl Meter ===

impl Meter {
    fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), told_at: None }
    }

    fn tell(&mut self, progress: Progress) {
        if self.is_shown && self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            let Progress { files, bytes } = progress;
            // A terminal that is gone sees no progress.
            drop(write!(std::io::stderr(), "\r{files} files, {}\x1b[K", size(bytes)));
        }
    }

    fn end(&self) {
        if self.told_at.is_some() {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

fn json(done: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(done)? + "\n")
}

/// With a unit that keeps the number short.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} bytes");
    }
    let power = (bytes.ilog2() / 10).min(3);
    let tenths = bytes * 10 / (1 << (10 * power));
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let cases =
            [(0, "0 bytes"), (1_023, "1023 bytes"), (1_536, "1.5 KiB"), (5 << 30, "5.0 GiB")];
        for (bytes, shown) in cases {
            assert_eq!(size(bytes), shown);
        }
    }
}
