use super::*;

/// Made with `printf '%s;%s;%s' TIMESTAMP METHOD PATH | openssl dgst -sha256 -hmac SECRET -binary |
/// openssl base64 -A`: secret, timestamp, method, path, signature.
const GOLDEN: &str = include_str!("golden.tsv");

#[test]
fn signatures_are_those_that_openssl_makes() {
    for line in GOLDEN.lines() {
        let [secret, timestamp, method, path, signature] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(sign(secret, timestamp, method, path), signature, "{line}");
        assert!(verify(secret, timestamp, method, path, signature), "{line}");
        assert!(!verify(secret, timestamp, method, "/rpc/other", signature), "{line}");
        assert!(!verify("other", timestamp, method, path, signature), "{line}");
    }
}

#[test]
fn headers_are_read_as_tolerantly_as_clients_write_them() {
    let ok = |header| Authorization::parse(header).unwrap();
    let plain = Authorization { key: "k", timestamp: "1", signature: "a+/b==" };
    assert_eq!(ok("MUXI-HMAC key=k, timestamp=1, signature=a+/b=="), plain);
    assert_eq!(ok("MUXI-HMAC signature=a+/b==, key=k, timestamp=1"), plain, "any order");
    assert_eq!(
        ok("MUXI-HMAC key=x, key=k, v=2, timestamp=1, signature=a+/b=="),
        plain,
        "last wins"
    );
}

#[test]
fn malformed_headers_are_refused() {
    for header in [
        "",
        "Bearer x",
        "muxi-hmac key=k, timestamp=1, signature=s",
        "MUXI-HMAC",
        "MUXI-HMAC key=k,timestamp=1,signature=s",
        "MUXI-HMAC key=, timestamp=1, signature=s",
        "MUXI-HMAC key=k, timestamp=1",
    ] {
        assert_eq!(Authorization::parse(header), Err(MalformedAuthorization), "{header}");
    }
}

#[test]
fn a_signature_that_is_not_base64_is_no_match() {
    assert!(!verify("s", "1", "GET", "/", "%%%"));
}
