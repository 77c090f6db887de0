//! Bundles with the files, the keys and the traps of the documented examples, in our own words.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use muxi_formation::{Loaded, Resolve, Source, load, tool_table};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documented").join(name)
}

#[expect(clippy::unnecessary_wraps, reason = "it is handed over as what looks secrets up")]
fn all_secrets(source: Source, name: &str) -> Option<String> {
    assert_eq!(source, Source::Secrets);
    let value = if name.ends_with("URL") { "https://hooks.example/x" } else { "hunter22" };
    Some(value.to_owned())
}

fn loaded(name: &str) -> Loaded {
    load(&folder(name), Resolve::With(&all_secrets)).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

#[test]
fn documented_examples_load_and_nothing_of_them_is_ignored_in_silence() {
    let mut told = String::new();
    let mut names: Vec<_> =
        fs::read_dir(folder("")).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    for name in &names {
        let loaded = loaded(name.to_str().unwrap());
        writeln!(told, "# {}", name.display()).unwrap();
        for warning in &loaded.warnings {
            writeln!(told, "{warning}").unwrap();
        }
        for row in tool_table(&loaded) {
            let servers: Vec<_> = row.servers.iter().map(|(id, _)| id.as_str()).collect();
            writeln!(told, "{}: {}", row.agent, servers.join(", ")).unwrap();
        }
        assert!(!format!("{loaded:?}").contains("hunter22"), "{}", name.display());
    }
    assert_eq!(names.len(), 6);
    insta::assert_snapshot!("documented", told);
}

#[test]
fn the_demo_is_read_in_all_its_parts() {
    let demo = loaded("hello-demo");
    let [github, firecrawl] = &demo.mcp_servers[..] else { panic!("{:?}", demo.mcp_servers) };
    assert!(!github.is_global && !firecrawl.is_global);
    assert_eq!((github.timeout_seconds, firecrawl.timeout_seconds), (30, 60));
    let [assistant, developer] = &demo.agents[..] else { panic!() };
    assert!(assistant.a2a.internal && !assistant.a2a.external);
    assert!(!developer.a2a.internal && developer.a2a.external);
    let [brief] = &demo.procedures[..] else { panic!() };
    assert_eq!((brief.id.as_str(), brief.name.as_str()), ("brief", "Project brief"));
    assert_eq!(brief.tags, ["brief", "project"]);
    let steps: Vec<_> = brief
        .steps
        .iter()
        .map(|it| (it.number, it.text.as_str(), it.agent.as_deref(), it.is_critical))
        .collect();
    assert_eq!(
        steps,
        [
            (1, "Find the project's repository", Some("developer"), true),
            (2, "Read what is written about it", Some("assistant"), false),
            (3, "Write one page", Some("assistant"), true),
        ]
    );
    let search = Some("search_repositories".to_owned());
    assert_eq!(brief.steps[0].tools, [("github".to_owned(), search)]);
    let table = tool_table(&demo);
    let (_, filter) = &table[1].servers[0];
    assert!(filter.allows("create_issue") && !filter.allows("delete_file"));
    assert!(!table[0].servers[0].1.allows("crawl"));
}

#[test]
fn a_secret_that_an_example_forgets_is_named() {
    let look_up = |_, name: &str| (name != "WEBHOOK_URL").then(|| "x".to_owned());
    let faults = load(&folder("code-reviewer"), Resolve::With(&look_up)).unwrap_err();
    let faults: Vec<_> =
        faults.iter().filter(|it| it.is_error()).map(ToString::to_string).collect();
    assert!(faults[0].contains("the secret `WEBHOOK_URL` is not set"), "{faults:?}");
}
