//! The file `secrets`: the names that a formation needs, for whoever sets it up elsewhere.

use std::collections::BTreeSet;

use muxi_vault::normalize_name;
use serde_json::json;

use super::used;
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::Bundle;
use crate::files::document;

const FILE: &str = "secrets";
const HEAD: &str = "# Values go into secrets.enc, never in here: muxi secrets set NAME\n";

pub(super) fn sync(context: &Context) -> Result<Exit, Fault> {
    let bundle = Bundle::required(&context.folder)?;
    let vault = bundle.vault()?.unwrap_or_default();
    let mut names: BTreeSet<String> = vault.names().map(str::to_owned).collect();
    names.extend(used(&bundle).iter().map(|it| normalize_name(&it.name)));
    let names: Vec<String> = names.into_iter().collect();
    let path = bundle.folder.join(FILE);
    let before = document::text(&path)?.unwrap_or_default();
    let (text, with_values) = template(&before, &names);
    for name in with_values {
        context.terminal.caution(format!(
            "{FILE} has a value for {name}, which was left there: muxi secrets set {name}, and take it away"
        ));
    }
    document::replace(&path, &text)?;
    let shown = context.relative(&path).display();
    let value = json!({"file": shown.to_string(), "names": names});
    let count = super::super::validate::count(names.len(), "name");
    Ok(context.done(&value, &format!("Wrote {shown}: {count}")))
}

/// Comments and order stay, names that nobody uses go; also the names that have a value.
pub(crate) fn template(before: &str, names: &[String]) -> (String, Vec<String>) {
    let mut text = if before.is_empty() { HEAD.to_owned() } else { String::new() };
    let (mut there, mut with_values) = (BTreeSet::new(), Vec::new());
    for line in before.lines() {
        let entry = line.split_once('=').filter(|_| !line.trim_start().starts_with('#'));
        if let Some((name, value)) = entry {
            let name = normalize_name(name);
            if !value.trim().is_empty() {
                with_values.push(name.clone());
            } else if !names.contains(&name) {
                continue;
            }
            there.insert(name);
        }
        text.push_str(line);
        text.push('\n');
    }
    for name in names.iter().filter(|it| !there.contains(*it)) {
        text.push_str(&format!("{name}=\n"));
    }
    (text, with_values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_stay_and_names_follow_what_is_used() {
        let names = ["A".to_owned(), "B".to_owned()];
        let (text, with_values) = template("# mine\nB=\nOLD=\nKEPT=x\n", &names);
        assert_eq!(text, "# mine\nB=\nKEPT=x\nA=\n");
        assert_eq!(with_values, ["KEPT"]);
        assert_eq!(template("", &names).0, format!("{HEAD}A=\nB=\n"));
    }
}
