//! What the manifests must say. They are read by line: ours are written one dependency a line.

use std::path::Path;

use super::Fault;

/// With `forbid` in the root and the lints inherited, an `allow(unsafe_code)` does not compile; so
/// these two lines are all that has to be watched.
pub(super) fn check_root(text: &str) -> Option<Fault> {
    let forbids = |line: &str| compact(line) == "unsafe_code=\"forbid\"";
    let found = section(text, "workspace.lints.rust").any(|(_, line)| forbids(line));
    (!found).then(|| {
        Fault::new(
            "Cargo.toml: unsafe code is not forbidden",
            "write `unsafe_code = \"forbid\"` under [workspace.lints.rust]",
        )
    })
}

/// Every dependency comes from the workspace's table, and the lints are the workspace's.
pub(super) fn check_member(path: &Path, text: &str) -> Vec<Fault> {
    let path = path.display();
    let mut faults = Vec::new();
    if !section(text, "lints").any(|(_, line)| compact(line) == "workspace=true") {
        faults.push(Fault::new(
            format!("{path}: the lints of the workspace are not inherited"),
            "write `workspace = true` under [lints]",
        ));
    }
    for (header, at, line) in lines(text) {
        let table = header.rsplit('.').next().unwrap_or(header);
        let is_list = table.ends_with("dependencies") && !header.starts_with("workspace");
        let parent = header.rsplit_once('.').map_or("", |(parent, _)| parent);
        if parent.ends_with("dependencies") {
            faults.push(Fault::new(
                format!("{path}:{at}: a dependency has a table of its own"),
                "write it on one line: `name = { workspace = true, … }`",
            ));
        } else if is_list && !is_from_workspace(line) {
            faults.push(Fault::new(
                format!("{path}:{at}: `{line}` is not from the workspace's table"),
                "put the version into [workspace.dependencies] and write `name.workspace = true`",
            ));
        }
    }
    faults
}

// === private helpers ===

fn is_from_workspace(line: &str) -> bool {
    let line = compact(line);
    let inline = |(_, value): (&str, &str)| {
        value.starts_with('{')
            && (value.contains("{workspace=true") || value.contains(",workspace=true"))
    };
    line.ends_with(".workspace=true") || line.split_once('=').is_some_and(inline)
}

/// The lines that say something: their section's header, their number, themselves.
fn lines(text: &str) -> impl Iterator<Item = (&str, usize, &str)> {
    let mut header = "";
    text.lines().enumerate().filter_map(move |(at, line)| {
        let line = line.trim();
        if line.starts_with('[') {
            header = line.trim_start_matches('[').trim_end_matches(']').trim();
            return None;
        }
        (!line.is_empty() && !line.starts_with('#')).then_some((header, at + 1, line))
    })
}

fn section<'a>(text: &'a str, wanted: &str) -> impl Iterator<Item = (usize, &'a str)> {
    lines(text).filter(move |(header, ..)| *header == wanted).map(|(_, at, line)| (at, line))
}

fn compact(line: &str) -> String {
    line.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    fn count(rest: &str) -> usize {
        check_member(Path::new("a/Cargo.toml"), &format!("{LINTS}{rest}")).len()
    }

    #[test]
    fn dependencies_come_from_the_workspace() {
        for (text, expected) in [
            ("[dependencies]\nserde.workspace = true\n# a comment\n", 0),
            ("[dev-dependencies]\ntokio = { workspace = true, features = [\"test-util\"] }\n", 0),
            ("[dependencies]\nserde = { features = [\"derive\"], workspace = true }\n", 0),
            ("[dependencies]\nserde = \"1\"\n", 1),
            ("[build-dependencies]\ncc = { version = \"1\" }\n", 1),
            ("[target.'cfg(unix)'.dependencies]\nnix = \"0.31\"\nlibc.workspace = true\n", 1),
            ("[dependencies.serde]\nversion = \"1\"\n", 1),
            ("[package]\nname = \"a\"\nversion.workspace = true\n", 0),
            ("[[test]]\nname = \"e2e\"\npath = \"main.rs\"\n", 0),
        ] {
            assert_eq!(count(text), expected, "{text}");
        }
    }

    #[test]
    fn unsafe_code_is_forbidden_everywhere() {
        assert_eq!(check_member(Path::new("a/Cargo.toml"), "[package]\nname = \"a\"\n").len(), 1);
        assert_eq!(check_root("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"), None);
        for text in
            ["", "[workspace.lints.rust]\nunsafe_code = \"deny\"\n", "unsafe_code = \"forbid\"\n"]
        {
            assert!(check_root(text).is_some(), "{text}");
        }
    }
}
