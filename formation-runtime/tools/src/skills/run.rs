//! The tool that runs a skill's scripts, in the sandbox and nowhere else.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use muxi_llm::ToolSpec;
use serde::Deserialize;
use serde_json::json;

use super::{SkillConfig, Skills, listed};
use crate::sandbox::{End, Finished, Job, Sandbox, SandboxError};
use crate::tool::{Call, Content, Danger, Origin, Outcome, Tool, arguments};

const ARGUMENTS_MAX: usize = 64;
const ARGUMENT_BYTES_MAX: usize = 16 << 10;
const FIRST_LINE_BYTES_MAX: u64 = 256;
/// Where a script's first line does not say it.
const INTERPRETERS: [(&str, &str); 8] = [
    ("bash", "bash"),
    ("js", "node"),
    ("mjs", "node"),
    ("pl", "perl"),
    ("py", "python3"),
    ("r", "Rscript"),
    ("rb", "ruby"),
    ("sh", "sh"),
];

#[derive(Debug)]
pub(super) struct RunSkill {
    spec: ToolSpec,
    skills: Skills,
    sandbox: Arc<Sandbox>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    skill: String,
    script: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
    timeout_seconds: Option<u64>,
}

// === impl RunSkill ===

impl RunSkill {
    pub(super) fn new(skills: Skills, sandbox: Arc<Sandbox>) -> Self {
        let limits = sandbox.limits();
        let parameters = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["skill", "script"],
            "properties": {
                "skill": {"type": "string", "enum": skills.names()},
                "script": {
                    "type": "string",
                    "description": "As it is listed in the skill, such as scripts/convert.py."
                },
                "args": {
                    "type": "array",
                    "items": {"type": "string"},
                    "maxItems": ARGUMENTS_MAX,
                    "description": "Its arguments, one an entry; no shell reads them."
                },
                "stdin": {"type": "string", "description": "What it reads from standard input."},
                "timeout_seconds": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": limits.timeout_max.as_secs(),
                    "default": limits.timeout.as_secs()
                }
            }
        });
        let spec = ToolSpec {
            name: "run_skill".to_owned(),
            description: "Run a script that belongs to a skill. It has no network. Files that it \
                          writes into its working directory ($OUTPUT_DIR) go to the user with \
                          your answer."
                .to_owned(),
            parameters: Arc::new(parameters),
        };
        Self { spec, skills, sandbox }
    }

    async fn run(&self, call: Call) -> Outcome {
        let wanted: Arguments = match arguments(call.arguments) {
            Ok(wanted) => wanted,
            Err(outcome) => return outcome,
        };
        let skill = match self.skills.find(&wanted.skill) {
            Ok(skill) => skill,
            Err(outcome) => return outcome,
        };
        let Some(script) = listed(skill.scripts.iter(), "scripts/", &wanted.script) else {
            let scripts = skill.scripts.join(", ");
            let scripts = if scripts.is_empty() { "none" } else { &scripts };
            return Outcome::refused(format!("the skill has no such script; it has: {scripts}"));
        };
        let timeout = wanted.timeout_seconds.map(Duration::from_secs);
        let limits = self.sandbox.limits();
        let timeout = timeout.unwrap_or(limits.timeout).min(limits.timeout_max);
        let job = match job(skill, script, wanted) {
            Ok(job) => job,
            Err(outcome) => return outcome,
        };
        let timeout = Some(timeout.min(call.time_left));
        match self.sandbox.run(Job { timeout, cancelled: call.cancelled, ..job }).await {
            Ok(finished) => told(script, finished),
            Err(error) => {
                tracing::warn!(skill = %skill.name, %script, %error, "a script did not run");
                match error {
                    SandboxError::Stdin { .. }
                    | SandboxError::Start(_)
                    | SandboxError::NotConfined(_)
                    | SandboxError::Closed => Outcome::refused(format!("{script}: {error}")),
                    // These name places on the machine.
                    SandboxError::Folder { .. }
                    | SandboxError::Launcher { .. }
                    | SandboxError::Follow(_)
                    | SandboxError::Task(_) => {
                        Outcome::refused(format!("{script} could not be run; the log says why"))
                    }
                }
            }
        }
    }
}

impl Tool for RunSkill {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &Origin::Builtin
    }

    /// The sandbox leaves it nothing to change.
    fn danger(&self) -> Danger {
        Danger::ReadOnly
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Outcome> {
        Box::pin(self.run(call))
    }
}

fn job(skill: &SkillConfig, script: &str, wanted: Arguments) -> Result<Job, Outcome> {
    if wanted.args.len() > ARGUMENTS_MAX {
        return Err(Outcome::refused(format!("a script gets at most {ARGUMENTS_MAX} arguments")));
    }
    if wanted.args.iter().any(|arg| arg.len() > ARGUMENT_BYTES_MAX || arg.contains('\0')) {
        return Err(Outcome::refused(format!(
            "an argument has at most {ARGUMENT_BYTES_MAX} bytes, none of them 0; longer ones fit \
             into `stdin`"
        )));
    }
    let path = skill.path_of(script)?;
    let (program, mut arguments) = interpreter(&path).ok_or_else(|| {
        Outcome::refused(format!(
            "nothing says what runs {script}: it has no line #!, no known extension, and may not \
             be executed"
        ))
    })?;
    arguments.extend(wanted.args.into_iter().map(OsString::from));
    let folder = skill.folder.to_string_lossy().into_owned();
    Ok(Job {
        program,
        arguments,
        environment: BTreeMap::from([("SKILL_DIR".to_owned(), folder.into())]),
        read: vec![skill.folder.clone()],
        stdin: wanted.stdin.into(),
        timeout: None,
        cancelled: tokio_util::sync::CancellationToken::new(),
    })
}

/// The program that runs a script, and its arguments with the script's path. An archive need not
/// keep the right to execute, so the first line is read here.
fn interpreter(script: &Path) -> Option<(OsString, Vec<OsString>)> {
    if let Some(line) = first_line(script)
        && let Some(command) = line.strip_prefix("#!")
    {
        let mut words = command.split_whitespace().map(OsString::from);
        let program = words.next()?;
        return Some((program, words.chain([script.into()]).collect()));
    }
    let extension = script.extension().map(OsStr::to_ascii_lowercase);
    let known =
        INTERPRETERS.iter().find(|(known, _)| extension.as_deref() == Some((*known).as_ref()));
    if let Some((_, program)) = known {
        return Some((program.into(), vec![script.into()]));
    }
    let is_executable =
        script.metadata().is_ok_and(|about| about.permissions().mode() & 0o111 != 0);
    is_executable.then(|| (script.into(), Vec::new()))
}

fn first_line(script: &Path) -> Option<String> {
    let mut line = Vec::new();
    let file = File::open(script).ok()?.take(FIRST_LINE_BYTES_MAX);
    BufReader::new(file).read_until(b'\n', &mut line).ok()?;
    String::from_utf8(line).ok()
}

fn told(script: &str, finished: Finished) -> Outcome {
    let how = match finished.end {
        End::Exited(0) => "succeeded".to_owned(),
        End::Exited(code) => format!("failed with exit code {code}"),
        End::Killed(signal) => format!("was ended by signal {signal}"),
        End::TimedOut(after) => format!("did not end within {} s and was ended", after.as_secs()),
        End::Cancelled => "was cancelled".to_owned(),
        End::TooManyProcesses(most) => format!("was ended: it had more than {most} processes"),
        End::TooMuchMemory(most) => {
            format!("was ended: it used more than {} MB of memory", most >> 20)
        }
        End::TooMuchOnDisk(most) => {
            format!("was ended: it wrote too many files, or more than {} MB of them", most >> 20)
        }
    };
    let mut parts = vec![format!("{script} {how}")];
    for (name, output) in [("Output", &finished.stdout), ("Error output", &finished.stderr)] {
        if !output.bytes.is_empty() {
            parts.push(format!("{name}:\n{}", output.text().trim_end()));
        }
    }
    let names: Vec<_> = finished.files.iter().map(|file| file.name.as_str()).collect();
    if !names.is_empty() {
        parts.push(format!("Files for the user: {}", names.join(", ")));
    }
    if !finished.left_out.is_empty() {
        parts.push(format!("Files left out: {}", finished.left_out.join(", ")));
    }
    let files = finished.files.into_iter().map(|file| Content::File {
        media_type: muxi_rendering::media_type(&file.name).to_owned(),
        name: file.name,
        bytes: file.bytes,
    });
    Outcome {
        is_error: finished.end != End::Exited(0),
        content: [Content::Text(parts.join("\n\n"))].into_iter().chain(files).collect(),
        structured: None,
        // A script says what it likes, of whatever it was given.
        is_trusted: false,
    }
}
