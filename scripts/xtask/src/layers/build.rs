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

const CRATES_IO: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

/// Everything comes from this repository or from crates.io.
pub(super) fn check_sources(packages: &[Package], members: &[String]) -> Vec<Fault> {
    let foreign = packages.iter().filter(|package| match &package.source {
        Some(source) => !CRATES_IO.contains(&source.as_str()),
        None => !members.contains(&package.id),
    });
    foreign
        .map(|package| {
            let source = package.source.as_deref().unwrap_or("a folder outside the workspace");
            Fault::new(
                format!("`{} {}` comes from {source}", package.name, package.version),
                "take a release from crates.io",
            )
        })
        .collect()
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
    fn sources_are_this_repository_and_crates_io() {
        let package = |source: Option<&str>| Package {
            id: "a".to_owned(),
            name: "a".to_owned(),
            version: "1.0.0".to_owned(),
            source: source.map(str::to_owned),
            manifest_path: "Cargo.toml".into(),
            dependencies: Vec::new(),
        };
        let count = |source, members: &[String]| check_sources(&[package(source)], members).len();
        assert_eq!(count(Some(CRATES_IO[0]), &[]), 0);
        assert_eq!(count(None, &["a".to_owned()]), 0);
        assert_eq!(count(None, &[]), 1);
        assert_eq!(count(Some("git+https://example.com/a#1"), &[]), 1);
    }
}
