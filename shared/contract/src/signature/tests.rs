use super::*;

/// Made with `printf '%s;%s;%s' TIMESTAMP METHOD PATH | openssl dgst -sha256 -hmac SECRET -binary |
/// openssl base64 -A`: secret, timestamp, method, path, signature.
const GOLDEN: &str = include_str!("golden.tsv");
/// Made in the same way from `v2;%s;%s;%s;%s;%s;%s`: secret, timestamp, nonce, method, path, query,
/// SHA-256 of the body, signature.
const GOLDEN_V2: &str = include_str!("golden_v2.tsv");

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
fn signatures_of_version_2_are_those_that_openssl_makes() {
    for line in GOLDEN_V2.lines() {
        let [secret, timestamp, nonce, method, path, query, content_sha256, signature] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let signed = Signed { timestamp, nonce, method, path, query, content_sha256 };
        assert_eq!(signed.sign(secret), signature, "{line}");
        assert!(signed.verify(secret, signature), "{line}");
        let header = signed.header("k", secret);
        let parsed = Authorization::parse(&header).unwrap();
        assert_eq!((parsed.nonce, parsed.signature), (Some(nonce), signature), "{line}");
        let other = "0".repeat(64);
        for changed in [
            Signed { timestamp: "1", ..signed },
            Signed { nonce: "other-nonce", ..signed },
            Signed { method: "DELETE", ..signed },
            Signed { path: "/rpc/other", ..signed },
            Signed { query: "lines=11", ..signed },
            Signed { content_sha256: &other, ..signed },
        ] {
            assert!(!changed.verify(secret, signature), "{changed:?}");
        }
    }
}

#[test]
fn the_end_of_a_path_cannot_pass_for_the_query() {
    let none = content_sha256(b"");
    let signed = Signed {
        timestamp: "1",
        nonce: "01234567",
        method: "GET",
        path: "/a",
        query: "b;c",
        content_sha256: &none,
    };
    let shifted = Signed { path: "/a;b", query: "c", ..signed };
    assert!(signed.verify("s", &signed.sign("s")));
    assert!(!shifted.verify("s", &signed.sign("s")));
}

#[test]
fn bodies_are_named_by_lower_case_hex() {
    assert!(is_content_sha256(&content_sha256(b"")));
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(content_sha256(b""), of_nothing);
    for bad in ["", "UNSIGNED-PAYLOAD", &of_nothing.to_uppercase(), &of_nothing[1..]] {
        assert!(!is_content_sha256(bad), "{bad}");
    }
}

#[test]
fn headers_are_read_as_tolerantly_as_clients_write_them() {
    let ok = |header| Authorization::parse(header).unwrap();
    let plain = Authorization { key: "k", timestamp: "1", signature: "a+/b==", nonce: None };
    assert_eq!(ok("MUXI-HMAC key=k, timestamp=1, signature=a+/b=="), plain);
    assert_eq!(ok("MUXI-HMAC signature=a+/b==, key=k, timestamp=1"), plain, "any order");
    assert_eq!(
        ok("MUXI-HMAC key=x, key=k, app=2, timestamp=1, signature=a+/b=="),
        plain,
        "last wins"
    );
    assert_eq!(ok("MUXI-HMAC key=k, timestamp=1, signature=a+/b==, nonce=x"), plain, "version 1");
    let second = Authorization { nonce: Some("0a-Z_999"), ..plain };
    assert_eq!(ok("MUXI-HMAC key=k, timestamp=1, nonce=0a-Z_999, signature=a+/b==, v=2"), second);
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
        "MUXI-HMAC key=k, timestamp=1, signature=s, v=2",
        "MUXI-HMAC key=k, timestamp=1, signature=s, nonce=short, v=2",
        "MUXI-HMAC key=k, timestamp=1, signature=s, nonce=semi;colon, v=2",
        "MUXI-HMAC key=k, timestamp=1, signature=s, nonce=0123456789, v=3",
    ] {
        assert_eq!(Authorization::parse(header), Err(MalformedAuthorization), "{header}");
    }
}

#[test]
fn a_signature_that_is_not_base64_is_no_match() {
    assert!(!verify("s", "1", "GET", "/", "%%%"));
}
