use std::path::Path;

use super::*;

#[test]
fn the_example_in_the_repository_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../formations/hello");
    let loaded = load(&folder, Resolve::Keep).unwrap();
    assert_eq!(loaded.manifest.id.as_str(), "hello");
    assert_eq!(loaded.agents[0].id, "greeter");
    let model = loaded.manifest.llm.choose(&loaded.agents[0]).unwrap();
    assert_eq!(model.model.as_str(), "local/smollm2-135m-instruct");
    assert_eq!(model.max_tokens, 128);
    assert!(loaded.soul.starts_with("You are Hello"));
    assert_eq!(loaded.warnings, []);
}
