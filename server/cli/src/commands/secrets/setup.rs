//! `muxi secrets setup`: whatever the formation needs and is not set.

use std::collections::BTreeMap;

use muxi_vault::normalize_name;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{change, normal, shown, used};
use crate::check::Placeholder;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::terminal::input::piped;

pub(super) fn run(is_stdin: bool, context: &Context) -> Result<Exit, Fault> {
    let bundle = Bundle::required(&context.folder)?;
    // Two spellings are one secret.
    let missing: BTreeMap<String, Placeholder> = used(&bundle)
        .into_iter()
        .filter(|it| !it.is_set)
        .map(|it| (normalize_name(&it.name), it))
        .collect();
    let told = if is_stdin {
        lines(&piped()?)?
    } else if missing.is_empty() {
        Vec::new()
    } else if context.terminal.can_ask() {
        typed(&missing, context)?
    } else {
        return Err(unaskable(&missing));
    };
    let set: Vec<String> = told.iter().map(|(name, _)| name.clone()).collect();
    if !told.is_empty() {
        change(&bundle, |vault| {
            told.into_iter().try_for_each(|(name, value)| vault.set(&name, value).map(drop))
        })?;
    }
    let left: Vec<&String> = missing.keys().filter(|it| !set.contains(it)).collect();
    for name in &left {
        context.terminal.caution(place(name, &missing[*name]));
    }
    let value = json!({"set": set, "missing": left});
    let text = match (set.is_empty(), left.is_empty()) {
        (true, true) => "Every secret that the formation uses is set".to_owned(),
        (true, false) => return Ok(context.show(&value, |_| "Nothing was set.\n".to_owned())),
        (false, _) => format!("Set {}", set.join(", ")),
    };
    Ok(context.done(&value, &text))
}

// === private helpers ===

/// Enter leaves one out.
fn typed(
    missing: &BTreeMap<String, Placeholder>,
    context: &Context,
) -> Result<Vec<(String, SecretString)>, Fault> {
    let mut told = Vec::new();
    for (name, it) in missing {
        let at = shown(it).map_or_else(String::new, |it| format!(", used at {it}"));
        let value =
            context.terminal.ask_secret(&format!("{name}{at} (Enter: later)"), "--stdin")?;
        if !value.expose_secret().is_empty() {
            told.push((name.clone(), value));
        }
    }
    Ok(told)
}

/// Empty lines, comments and names without a value are passed over, as in the template.
fn lines(text: &str) -> Result<Vec<(String, SecretString)>, Fault> {
    let mut told = Vec::new();
    for (i, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            // Without the line itself: it may be a secret.
            return Err(Fault::usage(format!(
                "line {} of standard input is not NAME=VALUE",
                i + 1
            ))
            .mend("write one secret a line: OPENAI_API_KEY=…"));
        };
        let (name, value) = (of_shell(name), unquoted(value.trim()));
        if !value.is_empty() {
            told.push((normal(name)?, SecretString::from(value)));
        }
    }
    Ok(told)
}

/// Files for shells say `export` before a name.
fn of_shell(name: &str) -> &str {
    let name = name.trim();
    name.strip_prefix("export").filter(|it| it.starts_with([' ', '\t'])).map_or(name, str::trim)
}

/// Without one pair of quotes around the whole.
fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

fn unaskable(missing: &BTreeMap<String, Placeholder>) -> Fault {
    let count = super::super::validate::count(missing.len(), "secret");
    Fault::usage(format!("{count} cannot be asked for: there is no terminal"))
        .details(missing.iter().map(|(name, it)| place(name, it)))
        .mend("muxi secrets setup --stdin   reads lines of NAME=VALUE")
        .mend("muxi secrets set NAME --stdin   reads one value")
}

fn place(name: &str, it: &Placeholder) -> String {
    let at = shown(it).map_or_else(String::new, |it| format!(", used at {it}"));
    format!("{name} is not set{at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_names_and_values_are_read_and_faults_quote_nothing() {
        let told = lines("# c\n\nopenai api key = sk-1=2\nEMPTY=\nexport B='x y'\nEXPORTS=\"1\"\n")
            .unwrap();
        let told: Vec<_> =
            told.iter().map(|(name, it)| (name.as_str(), it.expose_secret())).collect();
        assert_eq!(told, [("OPENAI_API_KEY", "sk-1=2"), ("B", "x y"), ("EXPORTS", "1")]);
        let fault = lines("A=1\nhunter2").unwrap_err().to_text();
        assert!(fault.contains("line 2") && !fault.contains("hunter2"), "{fault}");
    }
}
