//! The procedures of `sops/`: every Markdown file there whose head says `type: sop`.

use serde::Deserialize;

use super::Reading;
use super::content::markdown_below;
use super::heads::Headed;
use super::servers::Servers;
use super::skills::BUILTIN;
use crate::diagnostic::{Diagnostic, Place};
use crate::manifest::ModelName;
use crate::procedure::{
    Directive, DirectiveFault, Marked, Procedure, ProcedureMode, RawStep, Step, find, outline,
};
use crate::schema::{PROCEDURE, closest, is_word};
use crate::skill::Skill;

const FOLDER: &str = "sops";
const PROCEDURES_MAX: usize = 500;
const STEPS_MAX: usize = 100;
/// Of a procedure with all files that it writes out.
const BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize)]
struct Head {
    name: Option<String>,
    #[serde(default)]
    description: String,
    mode: Option<Mode>,
    #[serde(default)]
    tags: Vec<String>,
    model: Option<ModelName>,
    #[serde(default = "yes")]
    bypass_approval: bool,
    #[serde(default = "yes")]
    synthesis: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Template,
    Guide,
}

/// What procedures may name.
struct Known<'a> {
    agents: &'a [String],
    servers: &'a Servers,
    skills: &'a [Skill],
}

/// The file that is read.
struct Source<'a> {
    file: &'a str,
    headed: &'a Headed,
}

// === impl Reading ===

impl Reading<'_> {
    pub(super) fn procedures(
        &mut self,
        agents: &[String],
        servers: &Servers,
        skills: &[Skill],
    ) -> Vec<Procedure> {
        let known = Known { agents, servers, skills };
        let mut paths = Vec::new();
        markdown_below(self.folder, FOLDER, 0, &mut paths);
        let (mut procedures, mut ids) = (Vec::new(), Vec::<(String, String)>::new());
        for path in paths {
            let Some(headed) = self.sop(&path) else { continue };
            if ids.len() == PROCEDURES_MAX {
                let message = format!("there are more than {PROCEDURES_MAX} procedures");
                self.found.push(Diagnostic::error(&path, Place::START, message, "remove some"));
                break;
            }
            let stem = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".md");
            if !is_word(stem) {
                let message = format!("`{stem}` cannot be a procedure's name");
                let mend = "rename the file: use letters, digits, `-` and `_`";
                self.found.push(Diagnostic::error(&path, Place::START, message, mend));
                continue;
            }
            if let Some((_, first)) = ids.iter().find(|(id, _)| id == stem) {
                let message = format!("a second procedure is named `{stem}`, beside {first}");
                self.found.push(Diagnostic::error(&path, Place::START, message, "rename one"));
                continue;
            }
            ids.push((stem.to_owned(), path.clone()));
            procedures.extend(self.procedure(
                stem,
                &Source { file: &path, headed: &headed },
                &known,
            ));
        }
        procedures
    }

    /// The file, if it is a procedure: other Markdown is material that procedures quote.
    fn sop(&mut self, path: &str) -> Option<Headed> {
        let text = self.folder.text(path).ok().flatten()?;
        let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
        let (head, _) = super::heads::parts(&text)?;
        let node = crate::yaml::parse(path, head).ok();
        let Some(kind) = node.as_ref().and_then(|node| node.get("type")) else {
            // A head that cannot be read, or that only looks like one of a procedure, is told.
            let looks_like = |key: &&str| head.lines().any(|it| it.starts_with(*key));
            if ["mode:", "bypass_approval:", "synthesis:"].iter().any(looks_like) {
                let message = "the head has no `type: sop`, so this is no procedure";
                let mend = "add it, or remove the head";
                self.found.push(Diagnostic::warning(path, Place::START, message, mend));
            }
            return None;
        };
        let is_sop = kind.as_text().is_some_and(|text| text.written == "sop");
        if is_sop { self.headed(path) } else { None }
    }

    fn procedure(&mut self, id: &str, source: &Source<'_>, known: &Known<'_>) -> Option<Procedure> {
        let Source { file, headed } = source;
        let node = self.head(file, &headed.head)?;
        let fitting = self.checker(file).table(&node, "", &PROCEDURE);
        let outline = outline(headed.body());
        let mut room = BYTES_MAX;
        let mut steps = Vec::new();
        if let Some(first) = outline.steps.get(STEPS_MAX) {
            let place = source.line(first.lines.first().copied().unwrap_or(1));
            let message = format!("the procedure has more than {STEPS_MAX} steps");
            self.found.push(Diagnostic::error(file, place, message, "split it"));
        }
        for raw in outline.steps.iter().take(STEPS_MAX) {
            let step = self.step(raw, source, known, &mut room);
            steps.push(Step { number: u32::try_from(steps.len() + 1).unwrap_or(u32::MAX), ..step });
        }
        let body = self.with_files(source, &mut room);
        let head: Head = self.typed(file, fitting)?;
        let mut mode = match head.mode {
            Some(Mode::Guide) => ProcedureMode::Guide,
            Some(Mode::Template) | None => ProcedureMode::Template,
        };
        if steps.is_empty() && mode == ProcedureMode::Template {
            let message = "no steps were found, so a model follows the text as a guide";
            let mend = "number them below `## Steps`, or write `mode: guide`";
            self.found.push(Diagnostic::warning(file, source.line(1), message, mend));
            mode = ProcedureMode::Guide;
        }
        if head.description.is_empty() && head.tags.is_empty() {
            let message = "nothing says which requests the procedure is for";
            let mend = "add a `description` to its head; until then it runs by its name only";
            self.found.push(Diagnostic::warning(file, Place::START, message, mend));
        }
        Some(Procedure {
            id: id.to_owned(),
            name: head.name.unwrap_or_else(|| id.to_owned()),
            description: head.description,
            mode,
            tags: head.tags,
            model: head.model,
            bypass_approval: head.bypass_approval,
            synthesis: head.synthesis,
            steps,
            body,
        })
    }

    fn step(
        &mut self,
        raw: &RawStep,
        source: &Source<'_>,
        known: &Known<'_>,
        room: &mut usize,
    ) -> Step {
        let mut step = Step { title: raw.title.clone(), ..Step::default() };
        let mut title = String::new();
        // A heading may have directives, too; it stands on the line before its text.
        if let Some(written) = &raw.title {
            let place = source.line(raw.heading_line);
            title = self.directives(written, source, known, room, &mut step, |_| place);
        }
        if !title.trim().is_empty() {
            step.title = Some(tidy(&title));
        }
        let place = |at: usize| {
            let line = raw.text[..at].matches('\n').count();
            source.line(raw.lines.get(line).copied().unwrap_or(1))
        };
        let text = self.directives(&raw.text, source, known, room, &mut step, place);
        step.text = tidy(&text);
        step
    }

    /// The text without its directives, which are noted in the step.
    fn directives(
        &mut self,
        text: &str,
        source: &Source<'_>,
        known: &Known<'_>,
        room: &mut usize,
        step: &mut Step,
        place: impl Fn(usize) -> Place,
    ) -> String {
        let (mut plain, mut at) = (String::new(), 0);
        for Marked { start, end, directive } in find(text) {
            plain.push_str(&text[at..start]);
            at = end;
            let place = place(start);
            let fault = match directive {
                Ok(Directive::File(path)) => {
                    let inlined = self.inlined(source.file, place, &path, room);
                    plain.push_str(inlined.as_deref().unwrap_or_default());
                    step.files.extend(inlined.map(|_| path));
                    continue;
                }
                Ok(directive) => known.note(directive, self, step),
                Err(DirectiveFault(word)) => Some((
                    format!("`[{word}:]` names nothing"),
                    format!("write `[{word}:NAME]`, or remove it"),
                )),
            };
            if let Some((message, mend)) = fault {
                self.found.push(Diagnostic::error(source.file, place, message, mend));
            }
        }
        plain.push_str(&text[at..]);
        plain
    }

    /// The body with the files that it names written out; faults are told of steps already.
    fn with_files(&mut self, source: &Source<'_>, room: &mut usize) -> String {
        let (text, mut at, mut body) = (source.headed.body(), 0, String::new());
        let told = self.found.len();
        for Marked { start, end, directive } in find(text) {
            let Ok(Directive::File(path)) = directive else { continue };
            body.push_str(&text[at..start]);
            at = end;
            let place = source.headed.place(source.headed.body_start + start);
            if let Some(inlined) = self.inlined(source.file, place, &path, room) {
                body.push_str(&inlined);
            }
        }
        body.push_str(&text[at..]);
        // Of what stands in a step, the step has told.
        let again = self.found.split_off(told);
        for fault in again {
            let is_told = |it: &Diagnostic| {
                (&it.file, it.line, &it.message) == (&fault.file, fault.line, &fault.message)
            };
            if !self.found.iter().any(is_told) {
                self.found.push(fault);
            }
        }
        body.trim().to_owned()
    }

    /// The text of a file below `sops/`.
    fn inlined(
        &mut self,
        file: &str,
        place: Place,
        path: &str,
        room: &mut usize,
    ) -> Option<String> {
        let mut fault = |message: String, mend: &str| {
            self.found.push(Diagnostic::error(file, place, message, mend));
            None
        };
        if crate::schema::path_inside(path).is_err() {
            let message = format!("`{path}` is not below `{FOLDER}/`");
            return fault(message, "write it without a leading `/` and without `..`");
        }
        match self.folder.text(&format!("{FOLDER}/{path}")) {
            Ok(Some(text)) if text.len() <= *room => {
                *room -= text.len();
                Some(text.trim_end().to_owned())
            }
            Ok(Some(_)) => {
                let message =
                    format!("with `{path}` the procedure has more than {BYTES_MAX} bytes");
                fault(message, "quote less")
            }
            Ok(None) => {
                let message = format!("there is no file {FOLDER}/{path}");
                fault(message, "add it, or correct the path")
            }
            Err(unreadable) => fault(unreadable.message, "check the file"),
        }
    }
}

// === impl Known ===

impl Known<'_> {
    /// Notes a directive; what is wrong with it, and the mend.
    fn note(
        &self,
        directive: Directive,
        reading: &Reading<'_>,
        step: &mut Step,
    ) -> Option<(String, String)> {
        match directive {
            Directive::Parallel => step.is_parallel = true,
            Directive::Critical => step.is_critical = true,
            Directive::File(_) => {}
            Directive::Agent(name) => {
                let mut agents = self.agents.iter().map(String::as_str);
                if !self.agents.contains(&name) {
                    return Some(unknown("agent", &name, &mut agents));
                }
                if step.agent.as_ref().is_some_and(|it| *it != name) {
                    let message = "a step has one agent".to_owned();
                    return Some((message, "make two steps of it".to_owned()));
                }
                step.agent = Some(name);
            }
            Directive::Mcp(server, tool) => {
                if !self.servers.ids().any(|id| id == server) {
                    return Some(unknown("server", &server, &mut self.servers.ids()));
                }
                step.tools.push((server, tool));
            }
            Directive::Skill(name, script) => {
                let skill = self.skills.iter().find(|it| it.name == name);
                if skill.is_none() && !BUILTIN.contains(&name.as_str()) {
                    let mut skills = self.skills.iter().map(|it| it.name.as_str()).chain(BUILTIN);
                    return Some(unknown("skill", &name, &mut skills));
                }
                if let (Some(skill), Some(script)) = (skill, &script)
                    && skill.script(script).is_none()
                {
                    let mut scripts =
                        skill.scripts.iter().map(|it| it.trim_start_matches("scripts/"));
                    return Some(unknown("script", script, &mut scripts));
                }
                step.skills.push((name, script));
            }
            Directive::Model(name) => {
                let name = reading.aliases.get(&name).unwrap_or(&name);
                let Ok(model) = name.parse() else {
                    let message = format!("`{name}` is neither `provider/model` nor an alias");
                    return Some((message, "write it such as `openai/gpt-4o`".to_owned()));
                };
                step.model = Some(model);
            }
        }
        None
    }
}

// === impl Source ===

impl Source<'_> {
    /// A line of the body, from 1.
    fn line(&self, line: usize) -> Place {
        Place { line: self.headed.lines_before() + line, column: 1 }
    }
}

// === private helpers ===

const fn yes() -> bool {
    true
}

fn unknown(noun: &str, name: &str, known: &mut dyn Iterator<Item = &str>) -> (String, String) {
    let message = format!("there is no {noun} `{name}`");
    let mend = match closest(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "correct the name, or add it to the bundle".to_owned(),
    };
    (message, mend)
}

/// Without the gaps that directives leave.
fn tidy(text: &str) -> String {
    let mut fence = None;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let is_code = crate::procedure::is_code(line, &mut fence);
        let trimmed = line.trim_end();
        if is_code || !trimmed.trim_start().contains("  ") {
            lines.push(trimmed.to_owned());
        } else {
            let indent = &trimmed[..trimmed.len() - trimmed.trim_start().len()];
            let words: Vec<&str> = trimmed.split(' ').filter(|it| !it.is_empty()).collect();
            lines.push(format!("{indent}{}", words.join(" ")));
        }
    }
    lines.join("\n").trim().to_owned()
}
