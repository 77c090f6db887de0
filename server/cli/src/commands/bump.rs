//! `muxi bump`: the next version, in the one line that names it.

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::files::document;

#[derive(Debug, Args)]
pub(crate) struct BumpArgs {
    /// Which number to raise; those behind it become 0
    #[arg(default_value = "patch")]
    part: Part,
    /// Write this version instead
    #[arg(long, value_name = "VERSION", conflicts_with = "part")]
    set: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Patch,
    Minor,
    Major,
}

// === impl BumpArgs ===

impl BumpArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let bundle = Bundle::required(&context.folder)?;
        let before = bundle.version()?;
        let after = match &self.set {
            Some(version) => checked(version)?,
            None => raised(&before, self.part)?,
        };
        let text = document::text(&bundle.manifest)?.unwrap_or_default();
        document::replace(&bundle.manifest, with_version(&text, &after))?;
        if bundle.version()? != after {
            // The line is not written as anybody would write it; nothing may be left half changed.
            document::replace(&bundle.manifest, &text)?;
            let file = context.relative(&bundle.manifest).display();
            return Err(Fault::failed(format!("the version in {file} could not be changed"))
                .mend(format!("write `version: \"{after}\"` on a line of its own")));
        }
        let value = json!({"id": bundle.id()?, "before": before, "version": after});
        Ok(context.done(&value, &format!("{before} → {after}")))
    }
}

// === private helpers ===

fn raised(version: &str, part: Part) -> Result<String, Fault> {
    let Some([major, minor, patch]) = parts(version) else {
        return Err(Fault::failed(format!("{version} is not three numbers such as 1.2.3"))
            .mend("muxi bump --set 1.0.0"));
    };
    Ok(match part {
        Part::Patch => format!("{major}.{minor}.{}", patch + 1),
        Part::Minor => format!("{major}.{}.0", minor + 1),
        Part::Major => format!("{}.0.0", major + 1),
    })
}

fn checked(version: &str) -> Result<String, Fault> {
    let rest = version.split_once(['-', '+']).map_or("", |(_, rest)| rest);
    let is_rest = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '+');
    if parts(version).is_some() && rest.chars().all(is_rest) {
        return Ok(version.to_owned());
    }
    Err(Fault::usage(format!("{version} is no version")).mend("write three numbers: 1.2.3"))
}

/// Of a version such as 1.2.3; what stands behind a hyphen or a plus does not count here.
pub(super) fn parts(version: &str) -> Option<[u64; 3]> {
    let core = version.split(['-', '+']).next()?;
    let numbers: Vec<u64> = core.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

/// Only the version's line changes; a manifest without one gets it below its id.
fn with_version(text: &str, version: &str) -> String {
    let line = |key: &str| text.split_inclusive('\n').position(|it| it.starts_with(key));
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    if let Some(at) = line("version:") {
        lines[at] = replaced(&lines[at], version);
    } else {
        let at = line("id:").map_or(lines.len(), |it| it + 1);
        if let Some(before) = at.checked_sub(1).and_then(|it| lines.get_mut(it))
            && !before.ends_with('\n')
        {
            before.push('\n');
        }
        lines.insert(at, format!("version: \"{version}\"\n"));
    }
    lines.concat()
}

/// Quotes, comment and line end stay.
fn replaced(line: &str, version: &str) -> String {
    let rest = &line["version:".len()..];
    let value = rest.trim_start();
    let space = &rest[..rest.len() - value.len()];
    let (quote, value) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => (quote.to_string(), &value[1..]),
        _ => (String::new(), value),
    };
    let is_end = |it: char| it.is_whitespace() || matches!(it, '"' | '\'');
    let after = &value[value.find(is_end).unwrap_or(value.len())..];
    let space = if space.is_empty() { " " } else { space };
    format!("version:{space}{quote}{version}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_changes() {
        for (before, after) in [
            ("id: a\nversion: 1.0.0\nx: 1\n", "id: a\nversion: 2.0.0\nx: 1\n"),
            ("version:  \"1.0.0\"  # first\n", "version:  \"2.0.0\"  # first\n"),
            ("version: '1.0.0'\r\nid: a\n", "version: '2.0.0'\r\nid: a\n"),
            ("id: a\n# c\n", "id: a\nversion: \"2.0.0\"\n# c\n"),
            ("id: a", "id: a\nversion: \"2.0.0\"\n"),
            ("x: {version: 1}\nversion: 1.0.0", "x: {version: 1}\nversion: 2.0.0"),
        ] {
            assert_eq!(with_version(before, "2.0.0"), after);
        }
    }

    #[test]
    fn numbers_behind_the_raised_one_begin_anew() {
        for (part, version) in
            [(Part::Patch, "1.2.4"), (Part::Minor, "1.3.0"), (Part::Major, "2.0.0")]
        {
            assert_eq!(raised("1.2.3-rc.1", part).unwrap(), version);
        }
        assert!(raised("1.2", Part::Patch).is_err());
        assert!(checked("1.2.3-rc.1+b").is_ok() && checked("x").is_err());
    }
}
