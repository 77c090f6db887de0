//! The files of `triggers/`, read and refused.

use muxi_formation::{Resolve, Source, load};
use secrecy::ExposeSecret as _;

use crate::bundles::{MINIMAL, bundle, faults, loaded};

fn told(name: &str, text: &str) -> String {
    faults(&[("formation.yaml", MINIMAL), (&format!("triggers/{name}"), text)])
}

#[test]
fn a_trigger_is_a_text_with_or_without_a_head() {
    let loaded = loaded(&[
        ("formation.yaml", MINIMAL),
        ("triggers/plain.md", "\u{feff}Sum up ${{ data.a }}.\n\n---\nEnd\n"),
        (
            "triggers/headed.md",
            "---\r\nname: headed\r\ntags: [x]\r\nwebhook: https://x/y/\r\n---\r\n\r\nHi\r\n",
        ),
        ("triggers/notes.txt", "no trigger"),
        ("triggers/deeper/inner.md", "no trigger either"),
    ]);
    let triggers: Vec<_> = loaded
        .triggers
        .iter()
        .map(|it| {
            let webhook = it.webhook.as_ref().map(secrecy::ExposeSecret::expose_secret);
            (it.name.as_str(), it.template.source(), webhook)
        })
        .collect();
    let plain = ("plain", "Sum up ${{ data.a }}.\n\n---\nEnd", None);
    assert_eq!(triggers, [("headed", "Hi", Some("https://x/y")), plain]);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn every_fault_has_its_line() {
    let text = "---\nname: other\nchannel: slack\nmodel: a/b\nparse: {message: $.a}\n\
                transformer: slack\nwebhok: http://x\nwebhook: ftp://x\n---\n\nHi\n  ${{ secrets.A }} \
                ${{ data.a b }}\n";
    assert_eq!(
        told("issue.md", text),
        "triggers/issue.md:2:7: `name` is not `issue`, the name of the file; rename one of them, or remove it
warning: triggers/issue.md:3:1: `channel` has no effect in this version; it is documented and not built; remove it, or leave it
warning: triggers/issue.md:4:1: `model` has no effect in this version; it is documented and not built; remove it, or leave it
triggers/issue.md:5:1: section `parse` is documented but not built in this version; remove it
warning: triggers/issue.md:6:1: `transformer` has no effect in this version; it is documented and not built; remove it, or leave it
triggers/issue.md:7:1: `webhok` is not a known key; did you mean `webhook`?
triggers/issue.md:8:10: `webhook` is not an http or https address; write `http://…` or `https://…`
"
    );
    assert_eq!(
        told("issue.md", "---\n---\n\nHi\n  ${{ secrets.A }} ${{ data.a b }}\n"),
        "triggers/issue.md:5:3: `${{ secrets.A }}` is not a placeholder of a trigger's text; write `${{ data.NAME }}`, with more names or numbers after dots
triggers/issue.md:5:20: `${{ data.a b }}` is not a placeholder of a trigger's text; write `${{ data.NAME }}`, with more names or numbers after dots
"
    );
    for (name, text, expected) in [
        ("a.md", "---\nname: a\n", "a.md:1:1: the head starts with `---` and does not end"),
        ("a.md", "---\nname: [\n---\nHi", "a.md:3:"),
        ("a.md", "---\n- x\n---\nHi", "a.md:2:1: the file must be a map"),
        ("a.md", "---\nname: a\n---\n \n", "a.md:1:1: the trigger says nothing"),
        ("a.md", "${{ data.a", "a.md:1:1: a placeholder starts with `${{` and does not end"),
        ("a b.md", "Hi", "a b.md:1:1: `a b` cannot be a trigger's name"),
        ("big.md", &"x".repeat(300_000), "big.md:1:1: the file is larger than 256 KiB"),
    ] {
        let told = told(name, text);
        assert!(told.contains(&format!("triggers/{expected}")), "{told}");
    }
}

#[test]
fn triggers_are_bounded() {
    let names: Vec<String> = (0..201).map(|it| format!("triggers/t{it:03}.md")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "Hi")).collect();
    files.push(("formation.yaml", MINIMAL));
    assert_eq!(
        faults(&files),
        "triggers/t200.md:1:1: there are more than 200 triggers; remove some\n"
    );
}

#[test]
fn the_address_of_a_webhook_may_hold_a_secret() {
    let text = "---\nwebhook: ${{ secrets.HOOK }}\n---\nHi\n";
    let folder = bundle(&[("formation.yaml", MINIMAL), ("triggers/a.md", text)]);
    let known = |_: Source, name: &str| (name == "HOOK").then(|| "https://x/secret".to_owned());
    let loaded = load(folder.path(), Resolve::With(&known)).unwrap();
    assert_eq!(loaded.triggers[0].webhook.as_ref().unwrap().expose_secret(), "https://x/secret");
    assert_eq!(loaded.references[0].file, "triggers/a.md");
    let unknown = load(folder.path(), Resolve::With(&|_, _| None)).unwrap_err();
    assert!(
        unknown
            .iter()
            .any(|it| it.to_string().starts_with("triggers/a.md:2:10: the secret `HOOK`"))
    );
    // A manager checks without secrets.
    assert!(load(folder.path(), Resolve::Keep).is_ok());
}
