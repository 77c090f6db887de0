use muxi_formation::{Resolve, SkillScope, load};

use crate::bundles::{MINIMAL, bundle, faults, loaded};

const SKILL: &str = "---\nname: pdf\ndescription: Makes PDF files.\nallowed-tools: read_* write\nlicense: MIT\n\
    metadata: {owner: us}\n---\n# How\nUse ${{ secrets.KEY }}.\n";

#[test]
fn skills_are_found_in_their_folders() {
    let two = MINIMAL.replace(
        "{id: helper, description: Helps.}",
        "{id: a, description: d}, {id: b, description: d}",
    );
    let skill = |name: &str| SKILL.replace("pdf", name);
    let (other, own, no) = (skill("other"), skill("own"), "---\nname: x\n---\n".to_owned());
    let files = |manifest: &str| {
        let files = [
            ("formation.afs", manifest),
            ("skills/pdf/SKILL.md", SKILL),
            ("skills/pdf/references/a.md", "a"),
            ("skills/pdf/scripts/deep/make.py", "1"),
            ("skills/other/SKILL.md", &other),
            ("skills/undescribed/SKILL.md", &no),
            ("agents/b/skills/own/SKILL.md", &own),
        ];
        loaded(&files)
    };
    let names = |loaded: &muxi_formation::Loaded, agent: &str| -> Vec<String> {
        loaded.skills_of(agent).map(|it| it.name.clone()).collect()
    };

    let all = files(&two);
    assert_eq!(names(&all, "a"), ["other", "pdf"]);
    assert_eq!(names(&all, "b"), ["other", "pdf", "own"]);
    let pdf = all.skills.iter().find(|it| it.name == "pdf").unwrap();
    assert_eq!(pdf.allowed_tools.as_deref().unwrap(), ["read_*", "write"]);
    assert_eq!(
        (&pdf.resources[..], &pdf.scripts[..]),
        (&["references/a.md".to_owned()][..], &["scripts/deep/make.py".to_owned()][..])
    );
    assert_eq!(pdf.body, "# How\nUse ${{ secrets.KEY }}.");
    assert_eq!(
        (pdf.script("deep/make.py"), pdf.metadata["owner"].as_str()),
        (Some("scripts/deep/make.py"), Some("us"))
    );
    assert_eq!(all.references[0].name, "KEY");
    let told = all.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(
        told.contains("skills/undescribed/SKILL.md:1:1: the skill has no `description`"),
        "{told}"
    );

    let some = files(&format!("{two}skills: [other]\n"));
    assert_eq!(names(&some, "a"), ["other"]);
    let told = format!("{:?}", some.warnings);
    assert!(told.contains("add `pdf` to `skills`"), "{told}");

    let private =
        files(&two.replace("{id: a, description: d}", "{id: a, description: d, skills: [pdf]}"));
    assert_eq!(
        (names(&private, "a"), names(&private, "b")),
        (vec!["other".into(), "pdf".into()], vec!["other".into(), "own".into()])
    );
    assert!(private.skills.iter().any(|it| it.scope == SkillScope::Agent("a".into())));
}

#[test]
fn a_skill_that_is_listed_must_be_there_and_a_secret_of_its_body_may_lack() {
    let manifest = format!("{MINIMAL}skills: {{names: [pfd, compute], disable_builtin: true}}\n");
    let told = faults(&[("formation.afs", &manifest), ("skills/pdf/SKILL.md", SKILL)]);
    assert!(
        told.contains("formation.afs:6:18: the skill `pfd` has no folder; did you mean `pdf`?"),
        "{told}"
    );
    let folder = bundle(&[("formation.afs", MINIMAL), ("skills/pdf/SKILL.md", SKILL)]);
    let loaded = load(folder.path(), Resolve::With(&|_, _| None)).unwrap();
    assert_eq!(
        loaded.warnings[0].to_string(),
        "skills/pdf/SKILL.md:9:17: `secrets.KEY` is not set, and the skill will lack it; set it"
    );
}
