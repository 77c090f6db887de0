//! Names of tools that every provider takes.

use sha2::{Digest as _, Sha256};

const NAME_BYTES_MAX: usize = 64;
const HASH_CHARS: usize = 8;

/// `server__tool` where that is a valid name and cannot mean another pair; otherwise with a short hash of
/// both, so that no two tools share a name.
pub fn exposed_name(server: &str, tool: &str) -> String {
    let plain = format!("{server}__{tool}");
    let is_clear = !server.contains("__") && !server.ends_with('_') && !tool.starts_with('_');
    if is_clear && plain.len() <= NAME_BYTES_MAX && plain.bytes().all(is_fit) {
        return plain;
    }
    let digest = Sha256::new().chain_update(server).chain_update([0]).chain_update(tool).finalize();
    let fit: String =
        plain.chars().map(|it| if it.is_ascii() && is_fit(it as u8) { it } else { '_' }).collect();
    let kept = &fit[..fit.len().min(NAME_BYTES_MAX - HASH_CHARS - 1)];
    format!("{kept}_{}", &hex::encode(digest)[..HASH_CHARS])
}

fn is_fit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay() {
        assert_eq!(exposed_name("files", "read_file"), "files__read_file");
        assert_eq!(exposed_name("brave-search", "web"), "brave-search__web");
    }

    #[test]
    fn names_that_could_be_mistaken_have_a_hash() {
        let names = [
            exposed_name("a", "b__c"),
            exposed_name("a__b", "c"),
            exposed_name("a_", "_b__c"),
            exposed_name("a", "b.c"),
            exposed_name("a", "b_c"),
            exposed_name("a", "b c"),
            exposed_name("a", &"x".repeat(200)),
            exposed_name("a", &"x".repeat(201)),
        ];
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_providers_take(server in ".{0,80}", tool in ".{0,200}") {
            let name = exposed_name(&server, &tool);
            prop_assert!((1..=64).contains(&name.len()) && name.bytes().all(is_fit), "{name}");
        }
    }
}
