//! What the build may contain.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Package};

/// Crates that must not be built, with the reason and the mend.
const BANNED: &[(&str, &str, &str)] = &[
    ("ring", "it is a second TLS provider", "turn off the feature that brings it"),
    ("openssl-sys", "it needs a library of the machine", "choose the rustls feature instead"),
    ("serde_yml", "it is unsound", "use `serde_yaml` of the workspace, which is yaml_serde"),
    ("serde_yaml", "it is archived", "use `serde_yaml` of the workspace, which is yaml_serde"),
];

/// Crates of which two versions would fail at run time or do the same thing twice.
const ONE_VERSION: &[&str] = &["rustls", "libsqlite3-sys", "tokio", "hyper"];

/// Everything comes from this repository or from cargo's one registry.
pub(super) fn check_sources(packages: &[Package], members: &[String]) -> Vec<Fault> {
    // Cargo names its registry in every crate's source, so the commonest source is it.
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for source in packages.iter().filter_map(|package| package.source.as_deref()) {
        *uses.entry(source).or_default() += 1;
    }
    let registries = uses.iter().filter(|(source, _)| is_registry(source));
    let registry = registries.max_by_key(|(_, count)| **count).map(|(source, _)| *source);
    let foreign = packages.iter().filter(|package| match &package.source {
        Some(source) => Some(source.as_str()) != registry,
        None => !members.contains(&package.id),
    });
    foreign
        .map(|package| {
            let source = package.source.as_deref().unwrap_or("a folder outside the workspace");
            Fault::new(
                format!("`{} {}` comes from {source}", package.name, package.version),
                "take a release from the registry that all others come from",
            )
        })
        .collect()
}

fn is_registry(source: &str) -> bool {
    source.starts_with("registry+") || source.starts_with("sparse+")
}

/// Judges the lines of `cargo tree --prefix none --format '{p}'`: `name vVERSION`.
pub(super) fn check_tree(tree: &str) -> Vec<Fault> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    let banned = BANNED.iter().filter(|(name, ..)| versions.contains_key(name));
    let banned = banned.map(|(name, reason, mend)| {
        let what = format!("`{name}` is in the build: {reason}");
        Fault::new(what, format!("{mend} (`cargo tree --workspace --invert {name}` shows who)"))
    });
    let doubled = ONE_VERSION.iter().filter_map(|name| {
        let found: Vec<&str> = versions.get(name)?.iter().copied().collect();
        (found.len() > 1).then(|| {
            Fault::new(
                format!("`{name}` is built in {} versions: {}", found.len(), found.join(", ")),
                format!("bring them together (`cargo tree --workspace --invert {name}` shows who)"),
            )
        })
    });
    banned.chain(doubled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_has_one_tls_and_nothing_banned() {
        let fine = "rustls v0.23.46\nyaml_serde v0.10.7\nrustls v0.23.46 (*)\nserde v1.0.229\n";
        assert_eq!(check_tree(fine), []);
        let cases = [
            ("ring v0.17.14", "ring"),
            ("openssl-sys v0.9.1", "openssl-sys"),
            ("serde_yaml v0.9.34", "serde_yaml"),
            ("serde_yml v0.0.12", "serde_yml"),
            ("rustls v0.21.0", "rustls"),
        ];
        for (line, name) in cases {
            let faults = check_tree(&format!("{fine}{line}\n"));
            assert_eq!(faults.len(), 1, "{line}");
            assert!(faults[0].to_string().contains(&format!("`{name}`")), "{}", faults[0]);
        }
    }

    #[test]
    fn sources_are_this_repository_and_one_registry() {
        let package = |source: Option<&str>| Package {
            id: "a".to_owned(),
            name: "a".to_owned(),
            version: "1.0.0".to_owned(),
            source: source.map(str::to_owned),
            manifest_path: "Cargo.toml".into(),
            dependencies: Vec::new(),
        };
        let count = |sources: &[Option<&str>], members: &[String]| {
            let packages: Vec<_> = sources.iter().map(|source| package(*source)).collect();
            check_sources(&packages, members).len()
        };
        let one = Some("registry+https://registry.example/one");
        assert_eq!(count(&[one, one, one], &[]), 0);
        assert_eq!(count(&[None], &["a".to_owned()]), 0);
        assert_eq!(count(&[None], &[]), 1);
        assert_eq!(count(&[one, one, Some("sparse+https://registry.example/two")], &[]), 1);
        assert_eq!(count(&[Some("git+https://example.com/a#1")], &[]), 1);
    }
}
