//! Work on code that is handed to a command-line agent: which one, how it is called, and where.
//!
//! Invariant: a call is a list of arguments; nothing here or later is ever read by a shell.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use crate::manifest::secrets;

/// The adapters that come with this version; a file `coding/NAME.yaml` of a bundle goes first.
pub(crate) const BUNDLED: [(&str, &str); 4] = [
    ("claude-code", include_str!("coding/claude-code.yaml")),
    ("droid", include_str!("coding/droid.yaml")),
    ("opencode", include_str!("coding/opencode.yaml")),
    ("pi", include_str!("coding/pi.yaml")),
];

/// The `coding` block with its adapter.
#[derive(Debug, Clone)]
pub struct Coding {
    pub adapter: Adapter,
    /// As the command-line agent calls it.
    pub model: Option<String>,
    /// Folders below which each job gets one of its own. Relative ones are below the bundle.
    pub workdirs: Vec<Utf8PathBuf>,
    pub cleanup: Cleanup,
    pub timeout_seconds: u64,
    /// Of the formation.
    pub max_concurrent: u32,
    pub extra_args: Vec<String>,
    /// The only part of the block that may hold secrets.
    pub env: BTreeMap<String, SecretString>,
}

/// What becomes of a job's folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cleanup {
    #[default]
    Delete,
    Keep,
}

/// How a command-line agent is called and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    pub name: String,
    pub command: String,
    pub args: AdapterArgs,
    pub output: AdapterOutput,
    pub parse: AdapterParse,
    /// What would change how the agent is called or read.
    pub forbidden_extra_args: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterArgs {
    pub base: Vec<String>,
    pub prompt: PromptWay,
    pub session: SessionWay,
    /// With `{model}`; empty when the agent takes none.
    pub model: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptWay {
    Stdin,
    /// With `{prompt}`.
    Arguments(Vec<String>),
}

/// How a job goes on with an earlier one; all with `{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionWay {
    None,
    /// The caller names the session, the first time and later, in the same words.
    Same(Vec<String>),
    /// The caller names the session, in other words the first time.
    NewAndResume {
        new: Vec<String>,
        resume: Vec<String>,
    },
    /// The agent names the session in its output.
    Resume(Vec<String>),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterOutput {
    /// One JSON value a line.
    StreamJson,
    Json,
    #[default]
    Text,
}

/// Paths such as `message.content.0.text`; of several results the last that is not empty counts, of
/// several session ids the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AdapterParse {
    pub result: Option<String>,
    pub session_id: Option<String>,
}

/// One call of a command-line agent.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub prompt: &'a str,
    /// Wins over the block's.
    pub model: Option<&'a str>,
    pub session: Session<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session<'a> {
    /// With an id for adapters whose callers name sessions.
    New(&'a str),
    Resume(&'a str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    pub program: String,
    pub args: Vec<String>,
    /// What is written to the standard input.
    pub stdin: Option<String>,
}

/// The block as it is written, without its adapter.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CodingFields {
    model: Option<String>,
    workdirs: Vec<Utf8PathBuf>,
    #[serde(default)]
    cleanup: Cleanup,
    #[serde(default = "half_an_hour")]
    timeout: u64,
    #[serde(default = "three")]
    max_concurrent: u32,
    #[serde(default)]
    extra_args: Vec<String>,
    #[serde(default, deserialize_with = "secrets")]
    env: BTreeMap<String, SecretString>,
}

/// An adapter as its file has it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AdapterFields {
    pub(crate) name: Option<String>,
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) args: ArgsFields,
    #[serde(default)]
    pub(crate) output: AdapterOutput,
    #[serde(default)]
    pub(crate) parse: AdapterParse,
    #[serde(default)]
    pub(crate) forbidden_extra_args: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ArgsFields {
    base: Vec<String>,
    #[serde(deserialize_with = "prompt_way")]
    prompt: Option<PromptWay>,
    session: Vec<String>,
    session_new: Vec<String>,
    session_resume: Vec<String>,
    model: Vec<String>,
}

// === impl Coding ===

impl Coding {
    pub(crate) fn new(fields: CodingFields, adapter: Adapter) -> Self {
        Self {
            adapter,
            model: fields.model,
            workdirs: fields.workdirs,
            cleanup: fields.cleanup,
            timeout_seconds: fields.timeout,
            max_concurrent: fields.max_concurrent,
            extra_args: fields.extra_args,
            env: fields.env,
        }
    }

    /// Command, base, model, session, extra arguments, prompt.
    pub fn command_line(&self, call: Call<'_>) -> CommandLine {
        let Adapter { command, args, .. } = &self.adapter;
        let filled = |fragment: &[String], name: &str, value: &str| -> Vec<String> {
            fragment.iter().map(|it| it.replace(name, value)).collect()
        };
        let mut all = args.base.clone();
        if let Some(model) = call.model.or(self.model.as_deref()) {
            all.extend(filled(&args.model, "{model}", model));
        }
        all.extend(match (&args.session, call.session) {
            (SessionWay::None, _) | (SessionWay::Resume(_), Session::New(_)) => Vec::new(),
            (SessionWay::Same(words), Session::New(id) | Session::Resume(id))
            | (SessionWay::NewAndResume { new: words, .. }, Session::New(id))
            | (
                SessionWay::NewAndResume { resume: words, .. } | SessionWay::Resume(words),
                Session::Resume(id),
            ) => filled(words, "{id}", id),
        });
        all.extend(self.extra_args.iter().cloned());
        let stdin = match &args.prompt {
            PromptWay::Stdin => Some(call.prompt.to_owned()),
            PromptWay::Arguments(words) => {
                all.extend(filled(words, "{prompt}", call.prompt));
                None
            }
        };
        CommandLine { program: command.clone(), args: all, stdin }
    }
}

// === impl Adapter ===

impl Adapter {
    /// Whether an extra argument would change how the agent is called or read.
    pub(crate) fn forbids(&self, argument: &str) -> bool {
        let is_same = |forbidden: &String| {
            argument == forbidden
                || argument.strip_prefix(forbidden.as_str()).is_some_and(|it| it.starts_with('='))
        };
        self.forbidden_extra_args.iter().any(is_same)
    }
}

// === impl AdapterFields ===

impl AdapterFields {
    /// What is wrong with the adapter, and the key that says it.
    pub(crate) fn faults(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let args = &self.args;
        let mut faults = Vec::new();
        let mut needs = |key, words: &[String], name: &str, mend| {
            if !words.is_empty() && !words.iter().any(|word| word.contains(name)) {
                faults.push((key, "does not say where the value goes", mend));
            }
        };
        if let Some(PromptWay::Arguments(words)) = &args.prompt {
            needs(
                "args.prompt",
                words,
                "{prompt}",
                "write `{prompt}` in one of its words, or `stdin`",
            );
        }
        for (key, words) in [
            ("args.session", &args.session),
            ("args.session_new", &args.session_new),
            ("args.session_resume", &args.session_resume),
        ] {
            needs(key, words, "{id}", "write `{id}` in one of its words");
        }
        needs("args.model", &args.model, "{model}", "write `{model}` in one of its words");
        if args.prompt.is_none() || args.prompt == Some(PromptWay::Arguments(Vec::new())) {
            faults.push(("args.prompt", "is missing", "write a list with `{prompt}`, or `stdin`"));
        }
        let is_named_otherwise = !args.session_new.is_empty() || !args.session_resume.is_empty();
        if !args.session.is_empty() && is_named_otherwise {
            let mend = "keep it, or `session_new` with `session_resume`";
            faults.push(("args.session", "stands beside another way to name sessions", mend));
        }
        if !args.session_new.is_empty() && args.session_resume.is_empty() {
            faults.push(("args.session_new", "has no `session_resume`", "say how a job goes on"));
        }
        let asks_agent = args.session_new.is_empty() && !args.session_resume.is_empty();
        if asks_agent && self.parse.session_id.is_none() {
            let mend = "say in `parse.session_id` where its id is";
            faults.push(("args.session_resume", "resumes a session that nobody names", mend));
        }
        if self.output == AdapterOutput::Text && self.parse != AdapterParse::default() {
            let mend = "write `output: json` or `stream-json`, or remove it";
            faults.push(("parse", "cannot be read from text", mend));
        }
        faults
    }

    /// Only of one without faults.
    pub(crate) fn into_adapter(self, name: &str) -> Adapter {
        let ArgsFields { base, prompt, session, session_new, session_resume, model } = self.args;
        let session = match (session, session_new, session_resume) {
            (same, _, _) if !same.is_empty() => SessionWay::Same(same),
            (_, new, resume) if !new.is_empty() => SessionWay::NewAndResume { new, resume },
            (_, _, resume) if !resume.is_empty() => SessionWay::Resume(resume),
            _ => SessionWay::None,
        };
        Adapter {
            name: self.name.unwrap_or_else(|| name.to_owned()),
            command: self.command,
            args: AdapterArgs { base, prompt: prompt.unwrap_or(PromptWay::Stdin), session, model },
            output: self.output,
            parse: self.parse,
            forbidden_extra_args: self.forbidden_extra_args,
        }
    }
}

// === private helpers ===

const fn half_an_hour() -> u64 {
    30 * 60
}

const fn three() -> u32 {
    3
}

/// `stdin`, or a list.
fn prompt_way<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PromptWay>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Arguments(Vec<String>),
        Word(String),
    }
    Ok(match Written::deserialize(from)? {
        Written::Arguments(words) => Some(PromptWay::Arguments(words)),
        Written::Word(word) if word == "stdin" => Some(PromptWay::Stdin),
        Written::Word(word) => Some(PromptWay::Arguments(vec![word])),
    })
}
