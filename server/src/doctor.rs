//! `muxi-server doctor`: looks at everything an installation stands on and says what is wrong with it,
//! each with its mend. It changes nothing, and works whether a manager runs or not.

mod machine;
mod manager;
mod place;
mod programs;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Folders, Source};
use crate::layout::Layout;
use crate::running::Holder;

/// What was found, in the order of the installation's layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The worst of all.
    pub status: Verdict,
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub status: Verdict,
    pub found: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It works, but not for long or not in every case.
    Warn,
    /// Something does not work.
    Fail,
}

/// What every check looks at.
struct Patient {
    folders: Folders,
    layout: Layout,
    /// Defaults where there is none that can be read.
    config: Config,
    holder: Holder,
}

/// Looks at everything. It blocks for some seconds where programs or ports are slow.
pub fn examine(source: &Source, folders: &Folders) -> std::io::Result<Report> {
    let layout = folders.layout()?;
    let read = source.read();
    let mut checks = vec![place::configuration(source, &read)];
    let holder = crate::running::holder(&layout);
    let config = read.map(|(config, _)| config).unwrap_or_default();
    let patient = Patient {
        folders: folders.clone(),
        layout,
        config,
        holder: holder.as_ref().map_or(Holder::Nobody, Holder::clone),
    };
    checks.extend([
        place::private("config folder", &patient.folders.config),
        place::private("data folder", patient.layout.root()),
        place::disk(&patient),
        place::store(&patient),
        manager::holder(&holder),
        manager::answers(&patient),
        manager::port(&patient),
        manager::port_range(&patient),
        programs::runtime(&patient),
        programs::models(&patient),
        programs::service(&patient),
        machine::isolation(&patient),
        machine::open_files(&patient),
        machine::clock(&patient),
        machine::authorities(),
    ]);
    checks.extend(machine::certificate(&patient));
    let status = checks.iter().map(|check| check.status).max().unwrap_or(Verdict::Ok);
    Ok(Report { status, checks })
}

/// Runs what must be asked asynchronously, on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a thread can wait").block_on(future)
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

// === impl Check ===

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status: Verdict::Ok, found: found.into(), mend: None }
    }

    fn warn(name: &str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { status: Verdict::Warn, mend: Some(mend.into()), ..Self::ok(name, found) }
    }

    fn fail(name: &str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { status: Verdict::Fail, mend: Some(mend.into()), ..Self::ok(name, found) }
    }

    fn render(&self, width: usize, colour: bool) -> String {
        let Self { name, status, found, mend } = self;
        let (word, code) = match status {
            Verdict::Ok => ("ok  ", "32"),
            Verdict::Warn => ("warn", "33"),
            Verdict::Fail => ("fail", "31"),
        };
        let word = if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        let indent = format!("\n{:1$}", "", width + 8);
        let found = found.replace('\n', &indent);
        let mend = mend.as_ref().map(|mend| mend.replace('\n', &format!("{indent}  ")));
        let mend = mend.map(|mend| format!("{indent}→ {mend}")).unwrap_or_default();
        format!("{word}  {name:width$}  {found}{mend}\n")
    }
}

// === impl Report ===

impl Report {
    /// Aligned lines, each mend below what it mends.
    pub fn render(&self, colour: bool) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let lines: String = self.checks.iter().map(|check| check.render(width, colour)).collect();
        let count = |status| self.checks.iter().filter(|check| check.status == status).count();
        let (warnings, failures) = (count(Verdict::Warn), count(Verdict::Fail));
        format!("{lines}\n{failures} failed, {warnings} to look at, of {}\n", self.checks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_aligned_and_coloured_only_when_asked() {
        let report = Report {
            status: Verdict::Fail,
            checks: vec![
                Check::ok("store", "version 2"),
                Check::fail("data folder", "belongs to\nuser 7", "chown it"),
            ],
        };
        let plain = "ok    store        version 2\n\
                     fail  data folder  belongs to\n                   user 7\n                   → chown it\n\
                     \n1 failed, 0 to look at, of 2\n";
        assert_eq!(report.render(false), plain);
        assert!(report.render(true).starts_with("\x1b[32mok  \x1b[0m  store"));
    }
}
