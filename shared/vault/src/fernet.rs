//! The Fernet token: `0x80 ‖ time ‖ iv ‖ AES-128-CBC(PKCS7) ‖ HMAC-SHA256`, in url-safe base64.
//!
//! Invariant: nothing is decrypted before its authentication code was checked in constant time.
//! The time is not checked on reading: a secret at rest does not expire.

use aes::Aes128;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const VERSION: u8 = 0x80;
const TIME_BYTES: usize = 8;
const IV_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
const HEADER_BYTES: usize = 1 + TIME_BYTES + IV_BYTES;
const TOKEN_BYTES_MIN: usize = HEADER_BYTES + MAC_BYTES;

/// Two halves: the first signs, the second encrypts. Wiped when dropped.
pub(crate) struct Key(Zeroizing<[u8; 32]>);

/// Why a token cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("the text is not url-safe base64")]
    Base64,
    #[error("the token is too short to be complete")]
    Short,
    #[error("the token has version {0:#04x}, not {VERSION:#04x}")]
    Version(u8),
    #[error("the key is not the one it was written with, or the file was changed")]
    Mac,
    #[error("the encrypted text does not end at a block or has wrong padding")]
    Padding,
}

pub(crate) fn encrypt(
    key: &Key,
    plain: &[u8],
    now_unix_s: u64,
) -> Result<String, getrandom::Error> {
    let mut iv = [0; IV_BYTES];
    getrandom::fill(&mut iv)?;
    Ok(encrypt_with_iv(key, plain, now_unix_s, iv))
}

pub(crate) fn decrypt(key: &Key, token: &[u8]) -> Result<Zeroizing<Vec<u8>>, TokenFault> {
    let token = URL_SAFE.decode(token).map_err(|_| TokenFault::Base64)?;
    if token.first().is_some_and(|version| *version != VERSION) {
        return Err(TokenFault::Version(token[0]));
    }
    if token.len() < TOKEN_BYTES_MIN {
        return Err(TokenFault::Short);
    }
    let (signed, code) = token.split_at(token.len() - MAC_BYTES);
    key.mac(signed).verify_slice(code).map_err(|_| TokenFault::Mac)?;
    let (header, encrypted) = signed.split_at(HEADER_BYTES);
    let mut buffer = Zeroizing::new(encrypted.to_vec());
    let plain_bytes = key
        .cipher::<cbc::Decryptor<Aes128>>(&header[1 + TIME_BYTES..])
        .decrypt_padded::<Pkcs7>(&mut buffer)
        .map_err(|_| TokenFault::Padding)?
        .len();
    buffer.truncate(plain_bytes);
    Ok(buffer)
}

// === impl Key ===

impl Key {
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes)?;
        Ok(Self(bytes))
    }

    pub(crate) fn from_base64(text: &[u8]) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE.decode(text).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    pub(crate) fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE.encode(*self.0))
    }

    fn mac(&self, signed: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::new_from_slice(&self.0[..16]).expect("HMAC takes keys of every length");
        mac.chain_update(signed)
    }

    fn cipher<C: KeyIvInit>(&self, iv: &[u8]) -> C {
        C::new_from_slices(&self.0[16..], iv).expect("AES-128 takes 16 bytes of key and of iv")
    }
}

// === private helpers ===

fn encrypt_with_iv(key: &Key, plain: &[u8], now_unix_s: u64, iv: [u8; IV_BYTES]) -> String {
    let encrypted = key.cipher::<cbc::Encryptor<Aes128>>(&iv).encrypt_padded_vec::<Pkcs7>(plain);
    let mut token = vec![VERSION];
    token.extend_from_slice(&now_unix_s.to_be_bytes());
    token.extend_from_slice(&iv);
    token.extend_from_slice(&encrypted);
    let code = key.mac(&token).finalize().into_bytes();
    token.extend_from_slice(&code);
    URL_SAFE.encode(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own vectors (github.com/fernet/spec), less those about expiry.
    const SPEC_KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const SPEC_TOKEN: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
    const SPEC_TIME: u64 = 499_162_800;

    fn spec_key() -> Key {
        Key::from_base64(SPEC_KEY.as_bytes()).unwrap()
    }

    #[test]
    fn the_specifications_token_is_made_byte_for_byte() {
        let iv = std::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(encrypt_with_iv(&spec_key(), b"hello", SPEC_TIME, iv), SPEC_TOKEN);
    }

    #[test]
    fn the_specifications_token_is_read() {
        assert_eq!(*decrypt(&spec_key(), SPEC_TOKEN.as_bytes()).unwrap(), b"hello");
    }

    #[test]
    fn the_specifications_bad_tokens_are_refused_each_for_its_reason() {
        let cases = [
            (
                TokenFault::Mac,
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==",
            ),
            (TokenFault::Short, "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA=="),
            (
                TokenFault::Base64,
                "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
            ),
            (
                TokenFault::Padding,
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm",
            ),
            (
                TokenFault::Padding,
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==",
            ),
            (
                TokenFault::Padding,
                "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==",
            ),
        ];
        for (fault, token) in cases {
            assert_eq!(decrypt(&spec_key(), token.as_bytes()).unwrap_err(), fault, "{token}");
        }
    }

    #[test]
    fn every_changed_byte_of_a_token_is_noticed() {
        let token = URL_SAFE.decode(SPEC_TOKEN).unwrap();
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] ^= 1;
            let fault = decrypt(&spec_key(), URL_SAFE.encode(changed).as_bytes()).unwrap_err();
            assert_eq!(fault, if at == 0 { TokenFault::Version(0x81) } else { TokenFault::Mac });
        }
    }
}
