//! Which crate of ours may depend on which.

use super::{Fault, Kind, Package};

/// Test helpers; nothing that is shipped may contain them.
const TESTKIT: &str = "muxi-testkit";

/// What each crate may depend on besides crates of others. Read it from the bottom of the house to
/// the roof: nothing points up, and the two daemons never point at each other.
const ALLOWED: &[(&str, &[&str])] = &[
    ("muxi-contract", &[]),
    ("muxi-vault", &[]),
    ("muxi-formation", &["muxi-contract"]),
    ("muxi-service", &["muxi-contract"]),
    ("muxi-llm", &["muxi-contract"]),
    ("muxi-memory", &["muxi-contract"]),
    ("muxi-local-llm", &["muxi-contract", "muxi-service"]),
    ("muxi-rendering", &[]),
    ("muxi-orchestration", &[]),
    ("muxi-tools", &["muxi-contract", "muxi-service", "muxi-llm", "muxi-rendering"]),
    ("muxi-server", &["muxi-contract", "muxi-formation", "muxi-service"]),
    ("muxi-cli", &["muxi-contract", "muxi-formation", "muxi-vault"]),
    (
        "formation-runtime",
        &[
            "muxi-contract",
            "muxi-formation",
            "muxi-vault",
            "muxi-service",
            "muxi-llm",
            "muxi-memory",
            "muxi-local-llm",
            "muxi-tools",
            "muxi-rendering",
            "muxi-orchestration",
        ],
    ),
    (TESTKIT, &["muxi-contract", "muxi-formation", "muxi-service"]),
    ("muxi-e2e", &["muxi-contract", "muxi-formation", TESTKIT]),
    ("xtask", &[]),
];

/// Every dependency between members that the table does not allow.
pub(super) fn check(members: &[&Package]) -> Vec<Fault> {
    members.iter().flat_map(|member| check_member(member, members)).collect()
}

fn check_member(member: &Package, members: &[&Package]) -> Vec<Fault> {
    let name = &member.name;
    let Some((_, allowed)) = ALLOWED.iter().find(|(listed, _)| listed == name) else {
        return vec![Fault::new(
            format!("the crate `{name}` has no place in the layers"),
            "add it to ALLOWED in scripts/xtask/src/layers/directions.rs",
        )];
    };
    let ours = member.dependencies.iter().filter(|it| members.iter().any(|m| m.name == it.name));
    ours.filter(|it| {
        let is_test_help = it.name == TESTKIT && it.kind == Some(Kind::Dev);
        !is_test_help && !allowed.contains(&it.name.as_str())
    })
    .map(|it| {
        let mend = if it.name == TESTKIT {
            "list it under [dev-dependencies]".to_owned()
        } else {
            format!("move what both need into a crate that `{name}` may use")
        };
        Fault::new(format!("`{name}` must not depend on `{}`", it.name), mend)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Dependency;
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<Kind>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: *kind })
            .collect();
        Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            source: None,
            manifest_path: "Cargo.toml".into(),
            dependencies,
        }
    }

    fn faults(name: &str, dependency: &str, kind: Option<Kind>) -> usize {
        let (member, other) = (package(name, &[(dependency, kind)]), package(dependency, &[]));
        check_member(&member, &[&member, &other]).len()
    }

    #[test]
    fn dependencies_point_down_only() {
        for (name, dependency, kind, expected) in [
            ("muxi-server", "muxi-contract", None, 0),
            ("muxi-server", "formation-runtime", None, 1),
            ("muxi-server", "formation-runtime", Some(Kind::Dev), 1),
            ("formation-runtime", "muxi-server", None, 1),
            ("muxi-contract", "muxi-vault", Some(Kind::Build), 1),
            ("muxi-vault", "muxi-contract", None, 1),
            ("muxi-memory", TESTKIT, Some(Kind::Dev), 0),
            ("muxi-memory", TESTKIT, None, 1),
            ("muxi-e2e", TESTKIT, None, 0),
        ] {
            assert_eq!(faults(name, dependency, kind), expected, "{name} → {dependency} {kind:?}");
        }
    }

    #[test]
    fn crates_of_others_are_not_judged_here_and_new_crates_need_a_place() {
        let member = package("muxi-server", &[("serde", None)]);
        assert_eq!(check_member(&member, &[&member]), []);
        let newcomer = package("muxi-new", &[]);
        assert_eq!(check_member(&newcomer, &[&newcomer]).len(), 1);
    }

    #[test]
    fn the_table_has_no_circle() {
        for (at, (name, allowed)) in ALLOWED.iter().enumerate() {
            for dependency in *allowed {
                let below = ALLOWED.iter().position(|(listed, _)| listed == dependency);
                assert!(below.is_some_and(|below| below < at), "{name} → {dependency}");
            }
        }
    }
}
