//! Results: a table for people, a document for scripts, JUnit XML for CI.

use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::cases::Case;
use super::run::Run;
use crate::fault::Fault;
use crate::files::document;
use crate::terminal::format::{cut, one_line};
use crate::terminal::{Terminal, table};

const ANSWER_CHARS_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Report {
    results: Vec<CaseResult>,
}

/// A case with its runs, at least one.
#[derive(Debug)]
struct CaseResult {
    name: String,
    place: String,
    runs: Vec<Run>,
}

// === impl Report ===

impl Report {
    pub(super) fn new(cases: &[Case], runs: Vec<(usize, Run)>) -> Self {
        let mut results: Vec<CaseResult> = cases
            .iter()
            .map(|it| CaseResult {
                name: it.name.clone(),
                place: it.place.clone(),
                runs: Vec::new(),
            })
            .collect();
        for (at, run) in runs {
            results[at].runs.push(run);
        }
        Self { results }
    }

    pub(super) fn failed(&self) -> usize {
        self.results.iter().filter(|it| !it.passed()).count()
    }

    pub(super) fn to_text(&self, terminal: &Terminal) -> String {
        let repeats = self.results.iter().any(|it| it.runs.len() > 1);
        let heads: &[&str] = if repeats {
            &["CASE", "RESULT", "PASSED", "TIME"]
        } else {
            &["CASE", "RESULT", "TIME"]
        };
        let row = |it: &CaseResult| {
            let mark = if it.passed() {
                terminal.tick() + " passed"
            } else {
                terminal.cross() + " failed"
            };
            let rate = format!("{}/{}", it.passes(), it.runs.len());
            let time = format!("{:.1}s", it.seconds());
            let mut row = vec![one_line(&it.name), mark];
            row.extend(repeats.then_some(rate));
            row.push(time);
            row
        };
        let mut text = table::table(heads, self.results.iter().map(row).collect());
        for result in self.results.iter().filter(|it| !it.passed()) {
            text +=
                &format!("\n{} {} ({})\n", terminal.cross(), one_line(&result.name), result.place);
            for (at, run) in
                result.runs.iter().enumerate().filter(|(_, it)| !it.failures.is_empty())
            {
                let which = if repeats { format!("run {}: ", at + 1) } else { String::new() };
                for failure in &run.failures {
                    text += &format!("  {which}{}\n", one_line(failure));
                }
                if !run.heard.text.is_empty() {
                    text += &format!("  answer: {}\n", cut(&run.heard.text, ANSWER_CHARS_MAX));
                }
            }
        }
        let failed = self.failed();
        text + &format!("\n{} passed, {failed} failed\n", self.results.len() - failed)
    }

    pub(super) fn to_json(&self) -> Value {
        let run = |it: &Run| {
            json!({
                "passed": it.failures.is_empty(), "failures": it.failures, "seconds": it.heard.seconds,
                "answer": it.heard.text, "agent": it.heard.agent, "tools_called": it.heard.tools,
                "approval_required": it.heard.asks, "session_id": it.session,
            })
        };
        let case = |it: &CaseResult| {
            json!({
                "name": it.name, "place": it.place, "passed": it.passed(), "passes": it.passes(),
                "runs": it.runs.iter().map(run).collect::<Vec<_>>(),
            })
        };
        let failed = self.failed();
        json!({
            "cases": self.results.iter().map(case).collect::<Vec<_>>(),
            "passed": self.results.len() - failed, "failed": failed,
        })
    }

    pub(super) fn write_junit(&self, path: &Path) -> Result<(), Fault> {
        let mut suite = TestSuite::new("muxi eval");
        for result in &self.results {
            for (at, run) in result.runs.iter().enumerate() {
                let status = if run.failures.is_empty() {
                    TestCaseStatus::success()
                } else {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status
                        .set_message(run.failures.join("; "))
                        .set_description(run.failures.join("\n"));
                    status
                };
                let name = if result.runs.len() > 1 {
                    format!("{} [run {}]", result.name, at + 1)
                } else {
                    result.name.clone()
                };
                let mut case = TestCase::new(name, status);
                let file =
                    result.place.rsplit_once(':').map_or(result.place.as_str(), |(file, _)| file);
                case.set_classname(file)
                    .set_time(Duration::from_secs_f64(run.heard.seconds))
                    .set_system_out(run.heard.text.clone());
                suite.add_test_case(case);
            }
        }
        let mut report = quick_junit::Report::new("muxi eval");
        report.add_test_suite(suite);
        let xml = report.to_string().map_err(|it| Fault::file("write", path, it))?;
        document::replace(path, &xml)
    }
}

// === impl CaseResult ===

impl CaseResult {
    fn passes(&self) -> usize {
        self.runs.iter().filter(|it| it.failures.is_empty()).count()
    }

    fn passed(&self) -> bool {
        self.passes() == self.runs.len()
    }

    /// On average.
    fn seconds(&self) -> f64 {
        let sum: f64 = self.runs.iter().map(|it| it.heard.seconds).sum();
        sum / f64::from(u32::try_from(self.runs.len()).unwrap_or(1).max(1))
    }
}
