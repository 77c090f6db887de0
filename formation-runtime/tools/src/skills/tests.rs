//! What a model finds of skills: one line, then the whole once, then files by their names.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::tests::call;

fn skill(folder: &Path) -> SkillConfig {
    let files = SkillFiles::of(folder).unwrap();
    SkillConfig {
        name: "forms".into(),
        description: "Fills\nforms".into(),
        body: "Ask for the name first.\n".into(),
        folder: folder.to_owned(),
        resources: files.resources,
        scripts: files.scripts,
        allowed_tools: vec!["files__*".into()],
    }
}

fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let skill = root.path().join("forms");
    for folder in ["references/deep", "scripts"] {
        std::fs::create_dir_all(skill.join(folder)).unwrap();
    }
    for (file, content) in [
        ("../secret", "the secret"),
        ("SKILL.md", "---\n---\n"),
        (".env", "KEY=1"),
        ("references/guide.md", "Be kind."),
        ("references/deep/more.md", "More."),
        ("references/long.txt", &"aé".repeat(20_000)),
        ("scripts/fill.py", "print(1)"),
    ] {
        std::fs::write(skill.join(file), content).unwrap();
    }
    std::fs::write(skill.join("logo.png"), [0x89, b'P', 0xff, 0]).unwrap();
    std::os::unix::fs::symlink("../secret", skill.join("link")).unwrap();
    root
}

fn skills(root: &tempfile::TempDir) -> Skills {
    Skills::new([Arc::new(skill(&root.path().join("forms")))]).unwrap()
}

async fn ask(skills: &Skills, tool: &str, arguments: Value) -> Outcome {
    let activations = Arc::new(RecentActivations::new(10));
    let tools = skills.tools(activations, None);
    tools.iter().find(|each| each.spec().name == tool).unwrap().call(call(arguments)).await
}

#[test]
fn files_are_found_without_hidden_ones_and_links() {
    let root = folder();
    let files = SkillFiles::of(&root.path().join("forms")).unwrap();
    let resources =
        ["logo.png", "references/deep/more.md", "references/guide.md", "references/long.txt"];
    assert_eq!(files.resources, resources);
    assert_eq!(files.scripts, ["scripts/fill.py"]);
}

#[test]
fn the_catalogue_has_one_bounded_line_of_each() {
    let root = folder();
    let mut long = skill(&root.path().join("forms"));
    long.name = "zeta".into();
    long.description = "ä".repeat(5_000);
    let forms = Arc::new(skill(&root.path().join("forms")));
    let skills = Skills::new([Arc::new(long), Arc::clone(&forms)]).unwrap();
    let catalogue = skills.catalogue();
    let lines: Vec<_> = catalogue.lines().collect();
    assert_eq!(lines[0], "- forms: Fills forms");
    assert_eq!(lines[1].chars().count(), CATALOGUE_LINE_CHARS + 1);
    let twice = Skills::new([Arc::clone(&forms), forms]).unwrap_err();
    assert_eq!(twice.to_string(), "two skills are called `forms`");
}

#[tokio::test]
async fn the_whole_is_told_once_in_a_session() {
    let root = folder();
    let tools = skills(&root).tools(Arc::new(RecentActivations::new(2)), None);
    let names: Vec<_> = tools.iter().map(|tool| tool.spec().name.as_str()).collect();
    // Without a sandbox, nothing is run.
    assert_eq!(names, ["activate_skill", "read_skill_resource"]);
    let activate = |session: &str, again: bool| {
        let mut call = call(json!({"name": "forms", "again": again}));
        call.session = session.parse().unwrap();
        tools[0].call(call)
    };
    let first = activate("one", false).await;
    insta::assert_snapshot!(first.text());
    assert_eq!(first.structured.as_ref().unwrap()["allowed_tools"], json!(["files__*"]));
    let second = activate("one", false).await;
    assert!(second.text().contains("active already") && !second.text().contains("Ask for"));
    assert!(activate("one", true).await.text().contains("Ask for"));
    // Another session has to read it itself; the oldest is forgotten when there are too many.
    assert!(activate("two", false).await.text().contains("Ask for"));
    assert!(activate("three", false).await.text().contains("Ask for"));
    assert!(activate("one", false).await.text().contains("Ask for"));
    let unknown = tools[0].call(call(json!({"name": "other"}))).await;
    assert_eq!(unknown.text(), "there is no such skill; there are: forms");
    let odd = tools[0].call(call(json!({"nam": "forms"}))).await;
    assert!(odd.is_error && odd.text().contains("unknown field `nam`"), "{odd:?}");
}

#[tokio::test]
async fn files_are_read_in_parts_and_only_those_of_the_skill() {
    let root = folder();
    let mut skills = skills(&root);
    let read = async |path: &str, offset: u64| {
        ask(
            &skills,
            "read_skill_resource",
            json!({"skill": "forms", "path": path, "offset": offset}),
        )
        .await
    };
    for path in ["references/guide.md", "guide.md", "./references/guide.md"] {
        assert_eq!(read(path, 0).await.text(), "Be kind.");
    }
    assert_eq!(read("scripts/fill.py", 0).await.text(), "print(1)");
    let part = read("references/long.txt", 0).await.text();
    let (text, rest) = part.rsplit_once('\n').unwrap();
    assert_eq!(rest, "[it goes on at offset 49999]");
    let whole = format!("{text}{}", read("references/long.txt", 49_999).await.text());
    assert_eq!(whole, "aé".repeat(20_000));
    assert!(read("logo.png", 0).await.text().contains("it is no text"));
    assert!(read("references/long.txt", 2).await.text().contains("within a character"));
    assert_eq!(read("references/guide.md", u64::MAX).await.text(), "");
    for path in [
        "../secret",
        "link",
        ".env",
        "SKILL.md",
        "references/../../secret",
        "/etc/passwd",
        "",
        "/",
        "references",
        "references/guide.md/../../../secret",
        "references\0/guide.md",
    ] {
        let outcome = read(path, 0).await;
        assert!(outcome.is_error && outcome.text().contains("no such file"), "{path}: {outcome:?}");
    }
    // A loader that lists what lies outside, or a link, does not make it readable.
    let mut listed = skill(&root.path().join("forms"));
    listed.resources = vec!["../secret".into(), "link".into()];
    skills = Skills::new([Arc::new(listed)]).unwrap();
    for path in ["../secret", "link"] {
        let arguments = json!({"skill": "forms", "path": path});
        let outcome = ask(&skills, "read_skill_resource", arguments).await;
        assert!(outcome.text().contains("is no file in the skill's folder"), "{outcome:?}");
    }
}
