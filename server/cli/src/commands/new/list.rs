//! One more entry in a list of the manifest; comments and layout stay as they are.

use serde_yaml::Value;

use crate::fault::Fault;

/// `path` is `agents` or `mcp.servers`. A manifest in an unusual notation is left alone, with the mend.
pub(super) fn add(text: &str, path: &str, item: &str) -> Result<String, Fault> {
    let unusual = || {
        Fault::failed(format!(
            "`{path}` of the manifest is not written in a way that can be added to"
        ))
        .mend(format!("add `{item}` to `{path}` by hand"))
    };
    let before: Value = serde_yaml::from_str(text).map_err(|_| unusual())?;
    let keys: Vec<&str> = path.split('.').collect();
    let listed =
        keys.iter().try_fold(&before, |value, key| value.get(key)).and_then(Value::as_sequence);
    if listed.is_some_and(|it| it.iter().any(|entry| entry.as_str() == Some(item))) {
        return Ok(text.to_owned());
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    insert(&mut lines, &keys, item).ok_or_else(unusual)?;
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let after = format!("{}{end}", lines.join(end));
    // What was understood as text must be what the loader reads.
    let is_right =
        serde_yaml::from_str::<Value>(&after).is_ok_and(|it| it == with(before, &keys, item));
    if is_right { Ok(after) } else { Err(unusual()) }
}

// === private helpers ===

fn with(mut root: Value, keys: &[&str], item: &str) -> Value {
    let mut place = &mut root;
    for key in keys {
        if place.is_null() {
            *place = Value::Mapping(serde_yaml::Mapping::new());
        }
        let Value::Mapping(map) = place else { return root };
        place = map.entry(Value::from(*key)).or_insert(Value::Null);
    }
    if let Value::Sequence(entries) = place {
        entries.push(Value::from(item));
    } else {
        *place = Value::Sequence(vec![Value::from(item)]);
    }
    root
}

fn insert(lines: &mut Vec<String>, keys: &[&str], item: &str) -> Option<()> {
    let (mut from, mut until, mut indent) = (0, lines.len(), 0);
    for (depth, key) in keys.iter().enumerate() {
        let Some(at) = (from..until).find(|at| is_key(&lines[*at], indent, key)) else {
            append(lines, until, indent, &keys[depth..], item, depth == 0);
            return Some(());
        };
        let end = block_end(lines, at, until);
        let inline = value_of(&lines[at], key).to_owned();
        let is_last = depth + 1 == keys.len();
        if is_last {
            return into_list(lines, at, end, &inline, indent, item);
        }
        if !inline.is_empty() {
            return None;
        }
        let inner = lines[at + 1..end].iter().find(|it| is_content(it));
        (from, until) = (at + 1, end);
        indent = inner.map_or(indent + 2, |it| indent_of(it));
    }
    None
}

/// The list is there: behind its last entry, or before its closing bracket.
fn into_list(
    lines: &mut Vec<String>,
    at: usize,
    end: usize,
    inline: &str,
    indent: usize,
    item: &str,
) -> Option<()> {
    if inline.is_empty() {
        let first = lines[at + 1..end].iter().find(|it| is_content(it));
        let entries = first.map_or(indent + 2, |it| indent_of(it));
        lines.insert(end, format!("{}- {item}", " ".repeat(entries)));
        return Some(());
    }
    let open = lines[at].find('[')?;
    let close = open + lines[at][open..].find(']')?;
    let is_empty = lines[at][open + 1..close].trim().is_empty();
    lines[at].insert_str(close, &if is_empty { item.to_owned() } else { format!(", {item}") });
    Some(())
}

/// What of the path is not there yet.
fn append(
    lines: &mut Vec<String>,
    at: usize,
    indent: usize,
    keys: &[&str],
    item: &str,
    is_root: bool,
) {
    let mut added: Vec<String> = if is_root { vec![String::new()] } else { Vec::new() };
    for (i, key) in keys.iter().enumerate() {
        added.push(format!("{}{key}:", " ".repeat(indent + 2 * i)));
    }
    added.push(format!("{}- {item}", " ".repeat(indent + 2 * keys.len())));
    lines.splice(at..at, added);
}

/// One behind the last line with content that belongs to the key at `at`.
fn block_end(lines: &[String], at: usize, until: usize) -> usize {
    let indent = indent_of(&lines[at]);
    let mut end = at + 1;
    for (i, line) in lines.iter().enumerate().take(until).skip(at + 1) {
        if !is_content(line) {
            continue;
        }
        let belongs = indent_of(line) > indent
            || (indent_of(line) == indent && line.trim_start().starts_with("- "));
        if !belongs {
            break;
        }
        end = i + 1;
    }
    end
}

fn is_key(line: &str, indent: usize, key: &str) -> bool {
    indent_of(line) == indent
        && line.trim_start().strip_prefix(key).is_some_and(|it| it.trim_start().starts_with(':'))
}

/// Behind the colon, without a comment.
fn value_of<'a>(line: &'a str, key: &str) -> &'a str {
    let rest = line.trim_start()[key.len()..].trim_start().trim_start_matches(':').trim();
    if rest.starts_with('#') { "" } else { rest }
}

fn is_content(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_added_and_the_rest_stays() {
        for (before, path, after) in [
            (
                "agents:\n  - a # first\n\n# end\nx: 1\n",
                "agents",
                "agents:\n  - a # first\n  - new\n\n# end\nx: 1\n",
            ),
            ("agents:\n- a\nx: 1\n", "agents", "agents:\n- a\n- new\nx: 1\n"),
            (
                "agents:\n  - id: a\n    description: b\n",
                "agents",
                "agents:\n  - id: a\n    description: b\n  - new\n",
            ),
            ("agents: [a] # all\n", "agents", "agents: [a, new] # all\n"),
            ("agents: []\n", "agents", "agents: [new]\n"),
            ("id: a\n", "agents", "id: a\n\nagents:\n  - new\n"),
            ("id: a\n", "mcp.servers", "id: a\n\nmcp:\n  servers:\n    - new\n"),
            (
                "mcp:\n  max_tool_calls: 5\nid: a\n",
                "mcp.servers",
                "mcp:\n  max_tool_calls: 5\n  servers:\n    - new\nid: a\n",
            ),
            (
                "mcp:\n    servers:\n        - a\n",
                "mcp.servers",
                "mcp:\n    servers:\n        - a\n        - new\n",
            ),
            ("agents:\n  - new\n", "agents", "agents:\n  - new\n"),
        ] {
            assert_eq!(add(before, path, "new").unwrap(), after);
        }
    }

    #[test]
    fn what_cannot_be_added_to_is_left_alone() {
        for (text, path) in [
            ("agents: [a,\n  b]\n", "agents"),
            ("mcp: {servers: [a]}\n", "mcp.servers"),
            ("agents: 5\n", "agents"),
        ] {
            let fault = add(text, path, "new").unwrap_err();
            assert!(fault.to_text().contains("by hand"), "{text}");
        }
    }
}
