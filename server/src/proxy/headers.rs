//! Which headers end at the manager and which it adds.

use std::collections::BTreeMap;

use axum::http::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use muxi_contract::RequestId;
use muxi_service::request_id;

use crate::client_address::{ClientAddress, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const MUXI_SERVER: HeaderName = HeaderName::from_static("x-muxi-server");
const MUXI_SDK: HeaderName = HeaderName::from_static("x-muxi-sdk");
pub(super) const MUXI_SDK_LATEST: HeaderName = HeaderName::from_static("x-muxi-sdk-latest");

/// What other proxies tell of a client, and what a client can therefore lie about.
const TOLD: [&str; 4] = ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip"];
/// A version that an SDK calls itself is short.
const SDK_BYTES_MAX: usize = 64;

/// Makes a client's headers those of a request to the formation. What was believed of
/// `X-Forwarded-*` is in `client`; the rest is not passed on.
pub(super) fn prepare_request(
    headers: &mut HeaderMap,
    client: &ClientAddress,
    request: Option<&RequestId>,
) {
    let takes_trailers = takes_trailers(headers);
    remove_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let told: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-forwarded-") || TOLD.contains(&name.as_str()))
        .cloned()
        .collect();
    for name in told {
        headers.remove(name);
    }
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    set(headers, FORWARDED_HOST, client.host.clone());
    let address = client.ip.and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok());
    set(headers, FORWARDED_FOR, address);
    let scheme = client.scheme.unwrap_or("http");
    set(headers, FORWARDED_PROTO, Some(HeaderValue::from_static(scheme)));
    set(headers, MUXI_SERVER, Some(HeaderValue::from_static(crate::VERSION)));
    let request = request.and_then(|id| HeaderValue::from_str(id.as_str()).ok());
    set(headers, request_id::HEADER, request);
}

/// Removes what concerns one connection only, including what `Connection` names. `Trailer` stays: it
/// announces what follows the body, and the body is passed on with it.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        tokens(headers, &CONNECTION).filter_map(|name| name.parse().ok()).collect();
    let fixed = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in named.into_iter().chain(fixed) {
        headers.remove(name);
    }
}

/// The protocol that a message asks to change to, or changes to. HTTP/2 is no such: within it
/// requests would pass that nobody here has looked at.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = tokens(headers, &CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE).filter(|_| asked)?;
    let is_http =
        tokens(headers, &UPGRADE).any(|name| name.to_ascii_lowercase().starts_with("h2c"));
    (!is_http).then(|| protocol.clone())
}

/// Makes a message ask for the change again, for the next connection.
pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// What a program that names its SDK is told: the latest version of it that is known, else its own.
pub(super) fn sdk_latest(
    headers: &HeaderMap,
    latest: &BTreeMap<String, String>,
) -> Option<HeaderValue> {
    let (name, version) = headers.get(MUXI_SDK)?.to_str().ok()?.split_once('/')?;
    let (name, own) = (name.trim().to_ascii_lowercase(), version.trim());
    if name.is_empty() || own.is_empty() || own.len() > SDK_BYTES_MAX {
        return None;
    }
    HeaderValue::from_str(latest.get(&name).map_or(own, String::as_str)).ok()
}

/// Whether the sender of these headers sends its body only when it is told to.
pub(super) fn awaits_permission(headers: &HeaderMap) -> bool {
    tokens(headers, &EXPECT).any(|expected| expected.eq_ignore_ascii_case("100-continue"))
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &TE).any(|coding| {
        coding.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("trailers"))
    })
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_client_cannot_pose_as_somebody_else() {
        let mut headers = map(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-muxi-server", "evil"),
            ("connection", "keep-alive, x-secret"),
            ("x-secret", "1"),
            ("host", "example.com:7890"),
            ("x-muxi-client-key", "k"),
        ]);
        let client = ClientAddress {
            ip: Some("2001:db8::7".parse().unwrap()),
            host: headers.get(HOST).cloned(),
            scheme: None,
        };
        prepare_request(&mut headers, &client, None);
        assert_eq!(headers["x-forwarded-for"], "2001:db8::7");
        assert_eq!(headers["x-forwarded-host"], "example.com:7890");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-muxi-server"], crate::VERSION);
        assert_eq!(headers["x-muxi-client-key"], "k");
        for name in ["forwarded", "x-real-ip", "x-forwarded-port"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert!(!headers.contains_key("x-secret") && !headers.contains_key("connection"));
    }

    #[test]
    fn trailers_stay_announced() {
        for (te, passed) in [
            ("trailers", Some("trailers")),
            ("deflate, Trailers;q=0.5", Some("trailers")),
            ("deflate", None),
        ] {
            let mut headers = map(&[("connection", "te"), ("te", te), ("trailer", "x-sum")]);
            let client = ClientAddress { ip: None, host: None, scheme: None };
            prepare_request(&mut headers, &client, None);
            assert_eq!(headers.get("te").map(|it| it.to_str().unwrap()), passed, "{te}");
            assert_eq!(headers["trailer"], "x-sum");
        }
    }

    #[test]
    fn an_upgrade_needs_both_headers_and_is_not_http() {
        for (connection, protocol, passes) in [
            ("Upgrade", "websocket", true),
            ("keep-alive, upgrade", "my-protocol/1", true),
            ("keep-alive", "websocket", false),
            ("Upgrade, HTTP2-Settings", "h2c", false),
            ("upgrade", "websocket, H2C", false),
        ] {
            let headers = map(&[("connection", connection), ("upgrade", protocol)]);
            assert_eq!(upgrade(&headers).is_some(), passes, "{connection} {protocol}");
        }
    }

    #[test]
    fn an_sdk_is_told_the_latest_version_that_is_known() {
        let latest = [("python".to_owned(), "1.2".to_owned())].into();
        for (sdk, told) in [
            ("python/1.0", Some("1.2")),
            ("Python/1.0", Some("1.2")),
            ("rust/0.9", Some("0.9")),
            ("rust", None),
            ("/1.0", None),
            ("rust/", None),
        ] {
            let answer = sdk_latest(&map(&[("x-muxi-sdk", sdk)]), &latest);
            assert_eq!(answer.as_ref().map(|it| it.to_str().unwrap()), told, "{sdk}");
        }
    }
}
