use std::fs;
use std::path::Path;

use muxi_formation::manifest::Capability;
use muxi_formation::manifest::logging::{LineTarget, LogFormat, LogLevel, LogTransport};
use muxi_formation::{
    DEFAULT_SOUL, Diagnostic, Limits, Loaded, Persistent, Resolve, Severity, Source, load,
};
use secrecy::ExposeSecret as _;

pub(crate) const MINIMAL: &str = "schema: 1.0.0\nid: my-team\ndescription: d\nllm: {models: {text: a/b}}\n\
                       agents: [{id: helper, description: Helps.}]\n";

pub(crate) fn bundle(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

pub(crate) fn loaded(files: &[(&str, &str)]) -> Loaded {
    load(bundle(files).path(), Resolve::Keep).unwrap_or_else(|faults| panic!("{}", told(&faults)))
}

pub(crate) fn faults(files: &[(&str, &str)]) -> String {
    told(&load(bundle(files).path(), Resolve::Keep).unwrap_err())
}

fn told(diagnostics: &[Diagnostic]) -> String {
    let line = |it: &Diagnostic| match it.severity {
        Severity::Error => format!("{it}\n"),
        Severity::Warning => format!("warning: {it}\n"),
    };
    diagnostics.iter().map(line).collect()
}

#[test]
fn the_examples_in_the_repository_load_and_use_no_key_that_has_no_effect() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../formations");
    let mut seen = 0;
    for example in fs::read_dir(examples).unwrap() {
        let example = example.unwrap();
        if !example.file_type().unwrap().is_dir() {
            continue;
        }
        let loaded = load(&example.path(), Resolve::With(&|_, _| Some("given".to_owned())))
            .unwrap_or_else(|faults| panic!("{}", told(&faults)));
        assert_eq!(loaded.manifest.id.as_str(), example.file_name().to_str().unwrap());
        assert_eq!(told(&loaded.warnings), "", "{}", example.file_name().display());
        assert!(example.path().join("README.md").is_file(), "{}", example.file_name().display());
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[test]
fn the_smallest_example_is_read_in_all_its_parts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../formations/hello");
    let loaded = load(&folder, Resolve::Keep).unwrap();
    assert_eq!(loaded.agents[0].id, "greeter");
    let model = loaded.manifest.llm.choose(&loaded.agents[0], Capability::Text).unwrap();
    assert_eq!(model.model.as_str(), "local/smollm2-135m-instruct");
    assert_eq!(model.max_tokens, 128);
    assert!(loaded.soul.starts_with("You are Hello"));
}

/// A fixture is a folder; what is told about it is a snapshot.
#[test]
fn each_faulty_bundle_is_told_everything_at_once() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut seen = 0;
    for fixture in fs::read_dir(fixtures).unwrap() {
        let fixture = fixture.unwrap();
        let told = match load(&fixture.path(), Resolve::Keep) {
            Ok(loaded) => format!("loads\n{}", told(&loaded.warnings)),
            Err(faults) => told(&faults),
        };
        insta::assert_snapshot!(fixture.file_name().to_str().unwrap(), told);
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn defaults_are_the_documented_ones() {
    let loaded = loaded(&[("formation.yaml", MINIMAL)]);
    let manifest = &loaded.manifest;
    assert_eq!(manifest.version, "1.0.0");
    assert_eq!((manifest.server.host.as_str(), manifest.server.port), ("0.0.0.0", 8271));
    assert_eq!((manifest.memory.buffer.size, manifest.memory.buffer.multiplier), (10, 10));
    assert_eq!(place(&manifest.memory.persistent), "memory.db");
    assert_eq!(manifest.input_limits.max_message_length, 100_000);
    assert_eq!(loaded.soul, DEFAULT_SOUL);
    let model = manifest.llm.choose(&loaded.agents[0], Capability::Text).unwrap();
    assert_eq!((model.temperature.to_string().as_str(), model.max_tokens), ("0.7", 4096));
    assert_eq!((model.timeout_seconds, model.max_retries), (30, 3));
}

#[test]
fn a_manifest_that_has_the_block_wants_jobs_unless_it_says_otherwise() {
    for (block, enabled) in [
        ("", false),
        ("scheduler: {}\n", true),
        ("scheduler: {timezone: Europe/Berlin, missed_runs: skip}\n", true),
        ("scheduler: {enabled: false, timezone: Europe/Berlin}\n", false),
    ] {
        let scheduler =
            loaded(&[("formation.yaml", &format!("{MINIMAL}{block}"))]).manifest.scheduler;
        assert_eq!(scheduler.enabled, enabled, "{block}");
        let is_berlin = block.contains("Berlin");
        assert_eq!(scheduler.timezone, if is_berlin { "Europe/Berlin" } else { "UTC" });
        assert_eq!(
            scheduler.missed_runs.as_str(),
            if block.contains("skip") { "skip" } else { "once" }
        );
        assert_eq!((scheduler.check_interval_minutes, scheduler.max_concurrent_jobs), (1, 10));
        assert_eq!((scheduler.max_failures_before_pause, scheduler.max_jobs_per_user), (3, 100));
    }
}

#[test]
fn logs_have_an_older_form_and_defaults() {
    let logging = |block: &str| {
        loaded(&[("formation.yaml", &format!("{MINIMAL}logging: {block}\n"))]).manifest.logging
    };
    let nothing = loaded(&[("formation.yaml", MINIMAL)]).manifest.logging;
    assert!(nothing.streams.is_empty() && nothing.system.target == LineTarget::Stdout);
    assert_eq!((nothing.system.level, nothing.entities), (None, None));
    let file =
        "{transport: file, destination: logs/a.log, format: text, level: error, max_files: 2}";
    for block in [
        format!("{{enabled: true, streams: [{file}]}}"),
        format!("{{conversation: {{streams: [{file}]}}}}"),
    ] {
        let streams = logging(&block).streams;
        let [stream] = &streams[..] else { panic!("{streams:?}") };
        let LogTransport::Lines(LineTarget::File(file)) = &stream.transport else { panic!() };
        assert_eq!((file.path.as_str(), file.files_max), ("logs/a.log", 2));
        assert_eq!(file.size_max_bytes, 10 << 20);
        assert_eq!((stream.level, stream.format), (LogLevel::Error, LogFormat::Text));
    }
    for block in ["{conversation: {enabled: false, streams: [{transport: stdout}]}}", "{}"] {
        assert!(logging(block).streams.is_empty(), "{block}");
    }
    let stream = &logging("{conversation: {enabled: true}}").streams[0];
    assert!(matches!(stream.transport, LogTransport::Lines(LineTarget::Stdout)));
    let auth = "{type: basic, username: u, password: '${{ secrets.LOGS }}'}";
    let http = format!("{{transport: stream, destination: 'https://h/x', auth: {auth}}}");
    let stream = &logging(&format!("{{streams: [{http}]}}")).streams[0];
    let LogTransport::Http { url, auth } = &stream.transport else { panic!("{stream:?}") };
    assert_eq!((url.as_str(), auth.name()), ("https://h/x", "basic"));
    let system = logging("{system: {level: warning, destination: s.log, max_size: 1MiB}}").system;
    assert_eq!(system.level, Some(LogLevel::Warning));
    let LineTarget::File(file) = system.target else { panic!("{:?}", system.target) };
    assert_eq!((file.path.as_str(), file.size_max_bytes), ("s.log", 1 << 20));
}

#[test]
fn limits_are_read_with_the_manifest_and_alone() {
    let text = format!("{MINIMAL}limits: {{memory: 512MiB, cpu_percent: 50, disk: 2000000}}\n");
    let folder = bundle(&[("formation.yaml", &text)]);
    let limits = Limits {
        memory_bytes: Some(512 << 20),
        cpu_percent: Some(50),
        disk_bytes: Some(2_000_000),
        ..Limits::default()
    };
    assert_eq!(load(folder.path(), Resolve::Keep).unwrap().manifest.limits, limits);
    assert_eq!(muxi_formation::limits(folder.path()), limits);
    assert_eq!(muxi_formation::limits(Path::new("/nowhere")), Limits::default());
}

#[test]
fn a_local_model_answers_briefly_unless_told_otherwise() {
    for (model, max_tokens) in [
        ("local/smollm2-135m-instruct", 256),
        ("llama_cpp/a.gguf", 256),
        ("local/a, settings: {max_tokens: 9}", 9),
    ] {
        let manifest = MINIMAL.replace("a/b", model);
        let loaded = loaded(&[("formation.yaml", &manifest)]);
        let chosen = loaded.manifest.llm.choose(&loaded.agents[0], Capability::Text).unwrap();
        assert_eq!(chosen.max_tokens, max_tokens, "{model}");
    }
}

/// Where the memory goes, in a word.
fn place(persistent: &Persistent) -> String {
    match persistent {
        Persistent::Off => "nowhere".to_owned(),
        Persistent::Sqlite { file } => file.to_string(),
        Persistent::Postgres { url } => url.expose_secret().to_owned(),
    }
}

#[test]
fn persistent_memory_has_five_spellings() {
    for (text, expected) in [
        ("false", "nowhere"),
        ("true", "memory.db"),
        ("{enabled: false}", "nowhere"),
        ("{connection_string: 'sqlite:///data/my.db'}", "data/my.db"),
        ("{enabled: true, connection_string: other.db}", "other.db"),
        ("{connection_string: 'postgresql://u@h/d'}", "postgresql://u@h/d"),
    ] {
        let text = format!("{MINIMAL}memory: {{persistent: {text}}}\n");
        let manifest = loaded(&[("formation.afs", &text)]).manifest;
        assert_eq!(place(&manifest.memory.persistent), expected);
    }
}

#[test]
fn the_soul_has_an_order() {
    let inline = format!("{MINIMAL}overlord: {{soul: inline}}\n");
    let soul = |files: &[(&str, &str)]| loaded(files).soul;
    let manifest = ("formation.afs", inline.as_str());
    assert_eq!(soul(&[manifest, ("SOUL.md", "big\n"), ("soul.md", "small")]), "big\n");
    assert_eq!(soul(&[manifest, ("soul.md", "small")]), "small");
    assert_eq!(soul(&[manifest, ("SOUL.md", " \n")]), "inline");
}

#[test]
fn agents_are_found_by_stem_by_id_and_in_their_folder() {
    let agent = "schema: 1.0.0\nid: helper\ndescription: Helps.\n";
    for (listed, path) in [
        ("helper", "agents/helper.afs"),
        ("helper", "agents/other-name.yaml"),
        ("other-name", "agents/other-name.yml"),
        ("helper", "agents/helper/helper.afs"),
        ("{$include: agents/helper.afs}", "agents/helper.afs"),
    ] {
        let manifest = MINIMAL.replace("{id: helper, description: Helps.}", listed);
        let loaded = loaded(&[("formation.afs", &manifest), (path, agent)]);
        assert_eq!(loaded.agents[0].id, "helper", "{path}");
        assert_eq!(loaded.warnings, [], "{path}");
    }
}

#[test]
fn an_agent_decides_over_the_formation_and_aliases_are_followed() {
    let manifest = "schema: 1.0.0\nid: my-team\ndescription: d\n\
        llm:\n  aliases: {fast: openai/mini, safe: anthropic/big}\n  api_keys: {openai: sk-1}\n  \
        settings: {temperature: 1, max_retries: 0, fallback_model: safe}\n  models: [{text: safe}]\n\
        agents:\n- id: helper\n  description: d\n  \
        llm_models: [{text: fast, settings: {temperature: 0}}]\n";
    let loaded = loaded(&[("formation.afs", manifest)]);
    let model = loaded.manifest.llm.choose(&loaded.agents[0], Capability::Text).unwrap();
    assert_eq!((model.model.provider(), model.model.model()), ("openai", "mini"));
    assert_eq!((model.temperature.to_string().as_str(), model.max_retries), ("0", 0));
    assert_eq!(model.fallback_model.unwrap().as_str(), "anthropic/big");
    assert!(model.api_key.is_some());
    assert!(!format!("{:?}", loaded.manifest).contains("sk-1"));
}

#[test]
fn placeholders_are_filled_in_or_kept() {
    let manifest = "schema: 1.0.0\nid: my-team\ndescription: d\n\
        server: {port: '${{ env.PORT }}', api_keys: {admin_key: 'fma_${{secrets.admin key}}'}}\n\
        llm: {models: {text: '${{ env.MODEL }}'}}\n\
        agents: [{id: helper, description: d, system_message: 'a ${{ env.MODEL }} b'}]\n";
    let folder = bundle(&[("formation.afs", manifest)]);

    let kept = load(folder.path(), Resolve::Keep).unwrap();
    assert_eq!(kept.manifest.server.port, 8271);
    assert_eq!(kept.agents[0].system_message.as_deref(), Some("a ${{ env.MODEL }} b"));
    let references: Vec<_> =
        kept.references.iter().map(|it| (it.source, &*it.name, it.line)).collect();
    assert_eq!(
        references,
        [(Source::Env, "PORT", 4), (Source::Secrets, "admin key", 4), (Source::Env, "MODEL", 5)]
    );
    assert_eq!(kept.warnings.len(), 1, "{}", told(&kept.warnings));

    let look_up = |source: Source, name: &str| match (source, name) {
        (Source::Env, "PORT") => Some("8005".to_owned()),
        (Source::Env, "MODEL") => Some("openai/x".to_owned()),
        (Source::Secrets, "admin key") => Some("hunter2".to_owned()),
        _ => None,
    };
    let filled = load(folder.path(), Resolve::With(&look_up)).unwrap();
    assert_eq!(filled.manifest.server.port, 8005);
    assert_eq!(filled.agents[0].system_message.as_deref(), Some("a openai/x b"));
    assert!(!format!("{filled:?}").contains("hunter2"));
}

#[test]
fn every_missing_value_is_told_once_and_no_resolved_one_is_quoted() {
    let manifest = "schema: 1.0.0\nid: my-team\ndescription: '${{ secrets.A }} ${{ secrets.A }}'\n\
        url: '${{ env.B }}'\n\
        server: {port: '${{ secrets.C }}'}\n\
        llm: {models: {text: '${{ secrets.C }}'}}\n\
        agents: ['${{ secrets.C }}']\n";
    let folder = bundle(&[("formation.afs", manifest)]);
    let look_up = |_, name: &str| (name == "C").then(|| "hunter2".to_owned());
    let faults = told(&load(folder.path(), Resolve::With(&look_up)).unwrap_err());
    assert!(!faults.contains("hunter2"), "{faults}");
    insta::assert_snapshot!("missing_values", faults);
}

#[test]
fn yaml_that_would_cost_much_is_refused_early() {
    let deep = (0..40).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n");
    let brackets = format!("id: {}", "[".repeat(100_000));
    let aliases = (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, i| {
        let many = format!("*a{}, ", i - 1).repeat(9);
        format!("{text}a{i}: &a{i} [{many}]\n")
    });
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(30_000));
    let nested = format!("s: &s {}\n{aliases}", "x".repeat(10_000)).replace("[x]", "[*s]");
    let recursive = "a: &a [*a]\n";
    let big = format!("{MINIMAL}# {}", "x".repeat(300_000));
    for (text, expected) in [
        (deep.as_str(), "nested deeper than 32 levels"),
        (brackets.as_str(), "not valid YAML"),
        (aliases.as_str(), "aliases make this larger"),
        (long.as_str(), "aliases make this larger"),
        (nested.as_str(), "aliases make this larger"),
        (recursive, "not valid YAML"),
        (big.as_str(), "larger than 256 KiB"),
        ("id: \"\u{0}\"", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "second YAML document"),
        ("", "must be a map"),
        ("- a\n- b\n", "must be a map"),
        ("id: !secret x\n", "the tag"),
        ("1: a\n", "not a text"),
        ("a: *nowhere\n", "not valid YAML"),
    ] {
        let faults = faults(&[("formation.afs", text)]);
        assert!(faults.contains(expected), "{faults}");
    }
}

#[test]
fn files_beyond_the_folder_are_not_read() {
    let outside = bundle(&[("agent.afs", "schema: 1.0.0\nid: helper\ndescription: d\n")]);
    let manifest = MINIMAL.replace("{id: helper, description: Helps.}", "helper");
    let folder = bundle(&[("formation.afs", &manifest), ("agents/keep", "")]);
    let link = folder.path().join("agents/helper.afs");
    std::os::unix::fs::symlink(outside.path().join("agent.afs"), link).unwrap();
    let faults = told(&load(folder.path(), Resolve::Keep).unwrap_err());
    assert!(faults.contains("cannot be read"), "{faults}");
}

#[test]
fn a_folder_has_one_manifest() {
    assert!(faults(&[("README.md", "x")]).contains("the bundle has no manifest"));
    let two = faults(&[("formation.afs", MINIMAL), ("formation.yml", MINIMAL)]);
    assert!(two.contains("second manifest"), "{two}");
    let nowhere = load(Path::new("/nonexistent/folder"), Resolve::Keep).unwrap_err();
    assert!(told(&nowhere).contains("cannot be opened"));
}
