//! Calls that are signed with a shared secret: over the time and the body, and each of them once.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac as Digest, KeyInit as _, Mac as _};
use muxi_formation::manifest::Hmac;
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use super::{Proof, Refusal};

/// The signatures of the calls that could still be repeated.
#[derive(Debug, Default)]
pub(super) struct Signed(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    known: HashSet<Signature>,
    /// By when each of them is too old anyway.
    ends: BTreeSet<(i64, Signature)>,
}

type Signature = [u8; 32];

/// Of one window; who cannot be remembered is not let in.
const REMEMBERED_MAX: usize = 50_000;

// === impl Signed ===

impl Signed {
    /// The signature covers the body: one over the time alone would let whoever hears a call send another
    /// one, so that older form is not taken.
    pub(super) fn check(&self, hmac: &Hmac, proof: &Proof<'_>) -> Result<(), Refusal> {
        let field = |name: &str| proof.headers.get(name).and_then(|it| it.to_str().ok());
        let timestamp = field(&hmac.timestamp_header).ok_or(Refusal::Unproven)?.trim();
        let given = field(&hmac.signature_header).ok_or(Refusal::Unproven)?.trim();
        let given = given.strip_prefix("sha256=").unwrap_or(given);
        let signature: Signature = hex::decode(given)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Refusal::Unproven)?;
        let key = hmac.secret.expose_secret().as_bytes();
        let mut digest = Digest::<Sha256>::new_from_slice(key).map_err(|_| Refusal::Unproven)?;
        digest.update(timestamp.as_bytes());
        digest.update(b".");
        digest.update(proof.body);
        digest.verify_slice(&signature).map_err(|_| Refusal::Unproven)?;
        // After the proof, so that nobody else learns what is wrong with the time.
        let signed: i64 = timestamp.parse().map_err(|_| Refusal::Stale)?;
        let tolerance = i64::from(hmac.timestamp_tolerance_seconds);
        let now = proof.now.as_second();
        if signed.abs_diff(now) > tolerance.unsigned_abs() {
            return Err(Refusal::Stale);
        }
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.remember(signature, signed.saturating_add(tolerance), now)
    }
}

// === impl Memory ===

impl Memory {
    fn remember(&mut self, signature: Signature, until: i64, now: i64) -> Result<(), Refusal> {
        while let Some((end, old)) = self.ends.first().copied().filter(|(end, _)| *end < now) {
            self.ends.remove(&(end, old));
            self.known.remove(&old);
        }
        if self.known.contains(&signature) {
            return Err(Refusal::Repeated);
        }
        if self.known.len() >= REMEMBERED_MAX {
            return Err(Refusal::Full);
        }
        self.known.insert(signature);
        self.ends.insert((until, signature));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let signature = |number: u32| {
            let mut signature = Signature::default();
            signature[..4].copy_from_slice(&number.to_be_bytes());
            signature
        };
        let mut memory = Memory::default();
        for number in 0..u32::try_from(REMEMBERED_MAX).unwrap() {
            memory.remember(signature(number), 100, 1).unwrap();
        }
        assert_eq!(memory.remember(signature(7), 100, 1), Err(Refusal::Repeated));
        assert_eq!(memory.remember(signature(u32::MAX), 100, 100), Err(Refusal::Full));
        assert_eq!(memory.remember(signature(u32::MAX), 300, 101), Ok(()));
        assert_eq!((memory.known.len(), memory.ends.len()), (1, 1));
    }
}
