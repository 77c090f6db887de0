//! The form in which bytes are kept, before they are sealed. Pure.

use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

pub(super) fn pack(plain: &[u8]) -> io::Result<Vec<u8>> {
    // Most files are compressed already; the others shrink well enough.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// None if it does not become so many bytes; never more are made.
pub(super) fn unpack(packed: &[u8], size_bytes: u64) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let read = GzDecoder::new(packed).take(size_bytes + 1).read_to_end(&mut plain).ok()?;
    (read as u64 == size_bytes).then_some(plain)
}

pub(super) fn sha256(plain: &[u8]) -> String {
    hex::encode(Sha256::digest(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_and_a_bomb_does_not() {
        let zeros = vec![0; 100_000];
        for plain in [&b""[..], b"text", &zeros] {
            let packed = pack(plain).unwrap();
            let size = plain.len() as u64;
            assert_eq!(unpack(&packed, size).as_deref(), Some(plain));
            assert_eq!(unpack(&packed, size + 1), None);
            assert_eq!(unpack(&packed[1..], size), None);
        }
        assert_eq!(unpack(&pack(&zeros).unwrap(), 10), None);
    }
}
