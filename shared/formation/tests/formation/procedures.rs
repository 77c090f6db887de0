use muxi_formation::{Procedure, ProcedureMode};

use crate::bundles::{MINIMAL, faults, loaded};

const HEAD: &str = "---\ntype: sop\ndescription: d\n---\n";

fn manifest() -> String {
    MINIMAL.replace(
        "{id: helper, description: Helps.}",
        "{id: helper, description: d}, {id: writer, description: d}",
    ) + "mcp: {servers: [{id: gh, type: command, command: x}]}\n"
}

fn procedure(body: &str) -> Procedure {
    let (manifest, text) = (manifest(), format!("{HEAD}{body}"));
    let files = [
        ("formation.afs", &*manifest),
        ("sops/deep/it.md", &text),
        ("sops/parts/list.txt", "one\ntwo\n"),
        ("skills/pdf/SKILL.md", "---\ndescription: d\n---\nx"),
        ("skills/pdf/scripts/make.py", "1"),
    ];
    loaded(&files).procedures.remove(0)
}

#[test]
fn steps_are_found_as_markdown_has_them() {
    for (body, expected) in [
        ("## Steps\n1. One\n2. Two\n", vec!["One", "Two"]),
        ("# T\n\n## steps:\n\n1) One\n\n1) Two\n\n## Notes\n1. no step\n", vec!["One", "Two"]),
        (
            "## Steps\n1. One\n   - inner\n   1. deeper\n\n   more\n2. Two\nlazy\n\nOutside\n",
            vec!["One\n- inner\n1. deeper\n\nmore", "Two\nlazy"],
        ),
        (
            "## Steps\n1. One\n   ```\n   2. code [agent:ghost]\n   ```\n2. Two\n",
            vec!["One\n```\n2. code [agent:ghost]\n```", "Two"],
        ),
        (
            "## Steps\n1. One\n```\n## Notes\n2. code\n```\n2. Two\n",
            vec!["One\n```\n## Notes\n2. code\n```", "Two"],
        ),
        ("## Steps\n\n### Ahead\n1. One\n### Within\n2. Two\n", vec!["One\n### Within", "Two"]),
        (
            "## Step 1: First\nDo it.\n\n- a\n## Step 2 - Second\n\nThen.\n### Detail\nthis\n## After\nno\n",
            vec!["Do it.\n\n- a", "Then.\n### Detail\nthis"],
        ),
        ("## Steps\n10. Ten\n11. Eleven\n", vec!["Ten", "Eleven"]),
        ("## Steps\n1.No item\n1. Item\n", vec!["Item"]),
    ] {
        let procedure = procedure(body);
        let steps: Vec<_> = procedure.steps.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(steps, expected, "{body}");
        assert_eq!(procedure.mode, ProcedureMode::Template, "{body}");
        let numbers: Vec<_> = procedure.steps.iter().map(|it| it.number).collect();
        assert!(numbers.into_iter().eq(1..=u32::try_from(expected.len()).unwrap()));
    }
    let titled =
        procedure("## Step 1: First [critical]\nDo [Agent: writer] it.\n## Step 2\nThen.\n");
    assert_eq!(titled.steps[0].title.as_deref(), Some("First"));
    assert!(titled.steps[0].is_critical && !titled.steps[1].is_critical);
    assert_eq!((titled.steps[0].text.as_str(), titled.steps[1].title.as_deref()), ("Do it.", None));
}

#[test]
fn directives_become_what_they_say() {
    let procedure = procedure(
        "Before.\n## Steps\n1. Make it [agent:helper] [MCP:gh/list] [mcp:gh] [skill:pdf/make.py] \
         [skill:compute] [model:o/big] [parallel]\n2. Read [file:parts/list.txt] well\n",
    );
    let step = &procedure.steps[0];
    assert_eq!((step.text.as_str(), step.agent.as_deref()), ("Make it", Some("helper")));
    let named = |name: &str, part: Option<&str>| (name.to_owned(), part.map(str::to_owned));
    assert_eq!(step.tools, [named("gh", Some("list")), named("gh", None)]);
    assert_eq!(step.skills, [named("pdf", Some("make.py")), named("compute", None)]);
    assert_eq!(step.model.as_ref().unwrap().as_str(), "o/big");
    assert!(step.is_parallel && !step.is_critical);
    assert_eq!(procedure.steps[1].text, "Read one\ntwo well");
    assert_eq!(procedure.steps[1].files, ["parts/list.txt"]);
    assert!(
        procedure.body.starts_with("Before.") && procedure.body.ends_with("Read one\ntwo well")
    );
    assert!(procedure.bypass_approval && procedure.synthesis);
    assert_eq!((procedure.id.as_str(), procedure.name.as_str()), ("it", "it"));
}

#[test]
fn what_a_procedure_names_must_be_there() {
    let text = format!(
        "{HEAD}## Steps\n1. a [agent:helpr]\n   b [mcp:gj]\n2. [skill:pfd]\n3. [skill:pdf/mak.py]\n4. [file:../x]\n5. \
         [file:none.md]\n6. [model:big]\n7. [agent:]\n8. [agent:helper] [agent:writer]\n"
    );
    let manifest = manifest();
    let files = [
        ("formation.afs", &*manifest),
        ("sops/it.md", &text),
        ("sops/a b.md", HEAD),
        ("sops/x/it.md", HEAD),
        ("skills/pdf/SKILL.md", "---\ndescription: d\n---\n"),
        ("skills/pdf/scripts/make.py", ""),
    ];
    insta::assert_snapshot!("procedures", faults(&files));
}

#[test]
fn a_procedure_without_steps_is_a_guide_and_says_so() {
    let manifest = manifest();
    let loaded = loaded(&[
        ("formation.afs", &manifest),
        ("sops/free.md", "---\ntype: sop\n---\nJust do it.\n"),
        (
            "sops/guide.md",
            "---\ntype: sop\ndescription: d\nmode: guide\ntags: [a, b]\nsynthesis: false\n---\nX",
        ),
        ("sops/stale.md", "---\nmode: template\ntriggers: {keywords: [a]}\n---\nX"),
        ("sops/notes.md", "No head."),
    ]);
    let told: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("procedures_without_steps", told.join("\n"));
    let [free, guide] = &loaded.procedures[..] else { panic!() };
    assert_eq!((free.mode, guide.mode), (ProcedureMode::Guide, ProcedureMode::Guide));
    assert_eq!((guide.tags.len(), guide.synthesis), (2, false));
}
