//! Paths as they were meant, for comparing them; what is passed on stays as it was written.

/// Percent-decodes a path; a broken escape stays as it is.
pub(crate) fn decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn broken_escapes_stay() {
        for (written, meant) in
            [("/a%2Db", "/a-b"), ("/%5F", "/_"), ("/%", "/%"), ("/%4", "/%4"), ("/%zz%41", "/%zzA")]
        {
            assert_eq!(decode(written), meant, "{written}");
        }
    }
}
