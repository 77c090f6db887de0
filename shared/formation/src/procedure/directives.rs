//! What stands in brackets in a procedure: `[agent:x]`, `[mcp:server/tool]`, `[critical]`.
//!
//! Only these words are directives, in any case; links, boxes to tick and code are text.

/// A directive and where it stands in its text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) directive: Result<Directive, DirectiveFault>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Directive {
    Agent(String),
    Mcp(String, Option<String>),
    Skill(String, Option<String>),
    Model(String),
    File(String),
    Parallel,
    Critical,
}

/// The word of a directive that names nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirectiveFault(pub(crate) &'static str);

/// All directives of a text, but for those in code.
pub(crate) fn find(text: &str) -> Vec<Marked> {
    let mut found = Vec::new();
    let mut fence = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if !super::markdown::is_code(line, &mut fence) {
            in_line(line, at, &mut found);
        }
        at += line.len();
    }
    found
}

// === private helpers ===

fn in_line(line: &str, at: usize, found: &mut Vec<Marked>) {
    let mut rest = 0;
    while let Some(offset) = line[rest..].find(['[', '`']) {
        let start = rest + offset;
        if line.as_bytes()[start] == b'`' {
            rest = after_code(line, start);
            continue;
        }
        rest = start + 1;
        let Some(length) = line[rest..].find([']', '[']) else { continue };
        let end = rest + length + 1;
        // `[file:x](address)` is a link with an odd text.
        let is_link = line[end..].starts_with('(');
        if line.as_bytes()[end - 1] == b']'
            && !is_link
            && let Some(directive) = parse(&line[rest..end - 1])
        {
            found.push(Marked { start: at + start, end: at + end, directive });
            rest = end;
        }
    }
}

/// The end of a code span that starts here, or of the backticks alone when nothing closes them.
fn after_code(line: &str, start: usize) -> usize {
    let ticks = line[start..].bytes().take_while(|byte| *byte == b'`').count();
    let inner = start + ticks;
    let mut from = inner;
    while let Some(offset) = line[from..].find('`') {
        let close = from + offset;
        let count = line[close..].bytes().take_while(|byte| *byte == b'`').count();
        from = close + count;
        if count == ticks {
            return from;
        }
    }
    inner
}

fn parse(inner: &str) -> Option<Result<Directive, DirectiveFault>> {
    let (word, value) = match inner.split_once(':') {
        Some((word, value)) => (word, Some(value.trim())),
        None => (inner, None),
    };
    let word = word.trim().to_lowercase();
    let named = |word: &'static str| value.filter(|it| !it.is_empty()).ok_or(DirectiveFault(word));
    Some(match (word.as_str(), value) {
        ("parallel", None) => Ok(Directive::Parallel),
        ("critical", None) => Ok(Directive::Critical),
        ("agent", Some(_)) => named("agent").map(|it| Directive::Agent(it.to_owned())),
        ("model", Some(_)) => named("model").map(|it| Directive::Model(it.to_owned())),
        ("file", Some(_)) => named("file").map(|it| Directive::File(it.to_owned())),
        ("mcp", Some(_)) => named("mcp").map(|it| {
            let (server, tool) = with_part(it);
            Directive::Mcp(server, tool)
        }),
        ("skill", Some(_)) => named("skill").map(|it| {
            let (skill, script) = with_part(it);
            Directive::Skill(skill, script)
        }),
        _ => return None,
    })
}

fn with_part(value: &str) -> (String, Option<String>) {
    match value.split_once('/') {
        Some((whole, part)) if !part.trim().is_empty() => {
            (whole.trim().to_owned(), Some(part.trim().to_owned()))
        }
        Some((whole, _)) => (whole.trim().to_owned(), None),
        None => (value.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directives_are_directives() {
        let some = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("do [agent:writer] it", vec![Ok(Directive::Agent("writer".into()))]),
            (
                "[Agent: Writer ] [CRITICAL]",
                vec![Ok(Directive::Agent("Writer".into())), Ok(Directive::Critical)],
            ),
            ("[mcp:gh]", vec![Ok(Directive::Mcp("gh".into(), None))]),
            ("[mcp:gh/list/all]", vec![Ok(Directive::Mcp("gh".into(), some("list/all")))]),
            ("[mcp:gh/]", vec![Ok(Directive::Mcp("gh".into(), None))]),
            ("[skill:pdf/make.py]", vec![Ok(Directive::Skill("pdf".into(), some("make.py")))]),
            ("[model:openai/gpt-4o]", vec![Ok(Directive::Model("openai/gpt-4o".into()))]),
            (
                "[file:a/b.md][parallel]",
                vec![Ok(Directive::File("a/b.md".into())), Ok(Directive::Parallel)],
            ),
            ("[agent:]", vec![Err(DirectiveFault("agent"))]),
            ("[a] [x](y) [agent] [parallel:x] [todo:y] [[agent:z", vec![]),
            ("[[agent:z]]", vec![Ok(Directive::Agent("z".into()))]),
            ("[file:x](http://y)", vec![]),
            ("`[agent:x]` ``[`agent:x]`` [critical]", vec![Ok(Directive::Critical)]),
            ("` [critical]", vec![Ok(Directive::Critical)]),
            ("a\n```\n[agent:x]\n```\n[critical]", vec![Ok(Directive::Critical)]),
            ("~~~~ sh\n[agent:x]\n~~~\n[agent:y]\n~~~~\n", vec![]),
        ] {
            let found: Vec<_> = find(text).into_iter().map(|it| it.directive).collect();
            assert_eq!(found, expected, "{text}");
        }
        let marked = find("é\nx [critical]!")[0].clone();
        assert_eq!(&"é\nx [critical]!"[marked.start..marked.end], "[critical]");
    }
}
