//! Nonces of version 2 signatures that were seen; each is good once.
//!
//! A nonce is remembered for as long as its timestamp is accepted. The memory is lost with the
//! process; what changes something is therefore also remembered by its signature in the store.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// What was seen, bounded.
#[derive(Debug, Default)]
pub(super) struct Nonces(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    hashes: HashSet<[u8; 32]>,
    by_end: BTreeSet<(i64, [u8; 32])>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    Fresh,
    Repeated,
    /// More are valid at once than are kept; only holders of keys can bring it about.
    Full,
}

/// About 20 MB at most.
const NONCES_MAX: usize = 200_000;

// === impl Nonces ===

impl Nonces {
    /// Remembers a nonce of a valid signature until `end_s`.
    pub(super) fn note(&self, key: &str, nonce: &str, end_s: i64, now_s: i64) -> Novelty {
        let hash = Sha256::new().chain_update(key).chain_update([0]).chain_update(nonce).finalize();
        let hash: [u8; 32] = hash.into();
        // Each change below is whole by itself.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { hashes, by_end } = &mut *seen;
        while by_end.first().is_some_and(|(end_s, _)| *end_s < now_s) {
            if let Some((_, past)) = by_end.pop_first() {
                hashes.remove(&past);
            }
        }
        if hashes.contains(&hash) {
            return Novelty::Repeated;
        }
        if hashes.len() >= NONCES_MAX {
            return Novelty::Full;
        }
        hashes.insert(hash);
        by_end.insert((end_s, hash));
        Novelty::Fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_for_each_key_and_forgotten_when_its_time_is_over() {
        let nonces = Nonces::default();
        assert_eq!(nonces.note("a", "n", 100, 50), Novelty::Fresh);
        assert_eq!(nonces.note("a", "n", 100, 100), Novelty::Repeated);
        assert_eq!(nonces.note("b", "n", 100, 50), Novelty::Fresh);
        assert_eq!(nonces.note("c", "m", 200, 101), Novelty::Fresh);
        assert_eq!(nonces.0.lock().unwrap().hashes.len(), 1);
    }

    #[test]
    fn the_memory_is_bounded() {
        let nonces = Nonces::default();
        for count in 0..NONCES_MAX {
            assert_eq!(nonces.note("a", &count.to_string(), 100, 50), Novelty::Fresh);
        }
        assert_eq!(nonces.note("a", "one more", 100, 50), Novelty::Full);
        assert_eq!(nonces.note("a", "later", 300, 101), Novelty::Fresh);
    }
}
