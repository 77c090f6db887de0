//! The outline of a procedure's text: where its steps begin and end.
//!
//! Steps are the items of numbered lists below `## Steps`, or what stands below `## Step N: Title`.

/// A step as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawStep {
    pub(crate) title: Option<String>,
    /// Without the number, and without the indentation of the item.
    pub(crate) text: String,
    /// Of each line of the text, from 1, below the head.
    pub(crate) lines: Vec<usize>,
    /// Of the heading, or of the number of the list.
    pub(crate) heading_line: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) steps: Vec<RawStep>,
}

pub(crate) fn outline(body: &str) -> Outline {
    let mut reading = Reading::default();
    let mut fence = None;
    for (i, line) in body.lines().enumerate() {
        let is_code = is_code(line, &mut fence);
        reading.line(i + 1, line, is_code);
    }
    reading.end();
    Outline { steps: reading.steps }
}

/// Whether the line belongs to fenced code, its fences included. `fence` goes from line to line.
pub(crate) fn is_code(line: &str, fence: &mut Option<(u8, usize)>) -> bool {
    let text = line.trim_start().trim_end_matches(['\n', '\r']);
    let mark = text.bytes().next().filter(|byte| matches!(byte, b'`' | b'~'));
    let count = mark.map_or(0, |mark| text.bytes().take_while(|byte| *byte == mark).count());
    match (*fence, mark) {
        (Some((open, length)), Some(mark)) if mark == open && count >= length => {
            if text[count..].trim().is_empty() {
                *fence = None;
            }
            true
        }
        (Some(_), _) => true,
        // Backticks behind the fence would make it a span of code in a line.
        (None, Some(mark)) if count >= 3 && !(mark == b'`' && text[count..].contains('`')) => {
            *fence = Some((mark, count));
            true
        }
        (None, _) => false,
    }
}

#[derive(Default)]
struct Reading {
    steps: Vec<RawStep>,
    section: Section,
    open: Option<Open>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Section {
    #[default]
    Other,
    /// Below `## Steps`, with the heading's level.
    List(usize),
    /// Below `## Step N`, with the heading's level.
    Step(usize),
}

struct Open {
    step: RawStep,
    /// Where an item's text begins; what is less indented after an empty line is outside.
    indent: usize,
    after_empty: bool,
}

// === impl Reading ===

impl Reading {
    fn line(&mut self, number: usize, line: &str, is_code: bool) {
        if !is_code && let Some((level, title)) = heading(line) {
            return self.heading(number, level, title);
        }
        match self.section {
            Section::Other => {}
            Section::Step(_) => self.push(number, line),
            Section::List(_) => self.in_list(number, line, is_code),
        }
    }

    fn heading(&mut self, number: usize, level: usize, title: &str) {
        let steps = title.trim_end_matches(':').trim();
        if let Some(title) = step_title(title) {
            self.end();
            self.section = Section::Step(level);
            self.begin(number, Some(title).filter(|it| !it.is_empty()), 0);
        } else if steps.eq_ignore_ascii_case("steps") {
            self.end();
            self.section = Section::List(level);
        } else {
            match self.section {
                Section::List(own) | Section::Step(own) if level > own => {
                    self.push(number, &format!("{} {title}", "#".repeat(level)));
                }
                Section::Other | Section::List(_) | Section::Step(_) => {
                    self.end();
                    self.section = Section::Other;
                }
            }
        }
    }

    fn in_list(&mut self, number: usize, line: &str, is_code: bool) {
        let indent = indent(line);
        let is_inner = self.open.as_ref().is_some_and(|open| indent >= open.indent);
        if !is_code
            && !is_inner
            && let Some((text, text_indent)) = item(line)
        {
            self.end();
            self.begin(number, None, text_indent);
            self.push(number, text);
            return;
        }
        let Some(open) = &mut self.open else { return };
        if line.trim().is_empty() {
            open.after_empty = true;
            self.push(number, "");
        } else if is_inner || is_code || !open.after_empty {
            // Less indented than the item: a line that goes on lazily.
            let line = unindented(line, open.indent);
            open.after_empty = false;
            self.push(number, line);
        } else {
            self.end();
        }
    }

    fn begin(&mut self, heading_line: usize, title: Option<&str>, indent: usize) {
        let title = title.map(str::to_owned);
        let step = RawStep { title, text: String::new(), lines: Vec::new(), heading_line };
        self.open = Some(Open { step, indent, after_empty: false });
    }

    fn push(&mut self, number: usize, line: &str) {
        let Some(open) = &mut self.open else { return };
        if !open.step.lines.is_empty() {
            open.step.text.push('\n');
        }
        open.step.text.push_str(line);
        open.step.lines.push(number);
    }

    fn end(&mut self) {
        let Some(Open { mut step, .. }) = self.open.take() else { return };
        // The lines stay in step with the text.
        while step.text.ends_with('\n') {
            step.text.pop();
            step.lines.pop();
        }
        while step.text.starts_with('\n') {
            step.text.remove(0);
            step.lines.remove(0);
        }
        self.steps.push(step);
    }
}

// === private helpers ===

/// `## Title` with its level.
fn heading(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches(' ');
    let level = text.bytes().take_while(|byte| *byte == b'#').count();
    let rest = &text[level..];
    let is_heading = (1..=6).contains(&level)
        && line.len() - text.len() <= 3
        && (rest.is_empty() || rest.starts_with([' ', '\t']));
    is_heading.then(|| (level, rest.trim().trim_end_matches('#').trim_end()))
}

/// The title in `Step 2: Title` of a heading; it may be empty.
fn step_title(title: &str) -> Option<&str> {
    let rest = title.get(..4).filter(|word| word.eq_ignore_ascii_case("step"))?;
    let rest = title[rest.len()..].strip_prefix(' ')?.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let rest = rest[digits..].trim_start();
    let text = rest.trim_start_matches([':', '.', ')', '-', '–', '—']).trim();
    let is_title = rest.is_empty() || text.len() < rest.len();
    is_title.then_some(text)
}

/// The text of a list's item, and the column where the text begins.
fn item(line: &str) -> Option<(&str, usize)> {
    let indent = indent(line);
    let text = line.trim_start();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if indent > 3 || !(1..=9).contains(&digits) {
        return None;
    }
    let rest = text[digits..].strip_prefix(['.', ')'])?;
    let spaces = rest.bytes().take_while(|byte| *byte == b' ').count();
    match rest.trim() {
        "" => Some(("", indent + digits + 2)),
        _ if spaces == 0 => None,
        // Five and more begin code inside the item.
        _ => Some((rest.trim_start(), indent + digits + 1 + spaces.min(4))),
    }
}

/// Columns of spaces; a tab goes to the next fourth.
fn indent(line: &str) -> usize {
    let mut columns = 0;
    for byte in line.bytes() {
        match byte {
            b' ' => columns += 1,
            b'\t' => columns += 4 - columns % 4,
            _ => break,
        }
    }
    columns
}

fn unindented(line: &str, columns: usize) -> &str {
    let mut seen = 0;
    for (i, byte) in line.bytes().enumerate() {
        if seen >= columns || !matches!(byte, b' ' | b'\t') {
            return &line[i..];
        }
        seen += if byte == b'\t' { 4 - seen % 4 } else { 1 };
    }
    ""
}
