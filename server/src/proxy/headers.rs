//! Which headers end at the manager and which it adds.

use axum::http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use muxi_contract::RequestId;
use muxi_service::accept::Peer;
use muxi_service::request_id;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const MUXI_SERVER: HeaderName = HeaderName::from_static("x-muxi-server");

/// What other proxies tell of a client, and what a client can therefore lie about.
const TOLD: [&str; 4] = ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip"];

/// Makes a client's headers those of a request to the formation. What a client says of itself in
/// `X-Forwarded-*` is not believed.
pub(super) fn prepare_request(headers: &mut HeaderMap, peer: Peer, request: Option<&RequestId>) {
    remove_hop_by_hop(headers);
    let told: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-forwarded-") || TOLD.contains(&name.as_str()))
        .cloned()
        .collect();
    for name in told {
        headers.remove(name);
    }
    let host = headers.insert(HOST, HeaderValue::from_static("localhost"));
    set(headers, FORWARDED_HOST, host);
    let address = match peer {
        Peer::Tcp(address) => HeaderValue::from_str(&address.ip().to_canonical().to_string()).ok(),
        Peer::Local => None,
    };
    set(headers, FORWARDED_FOR, address);
    set(headers, FORWARDED_PROTO, Some(HeaderValue::from_static("http")));
    set(headers, MUXI_SERVER, Some(HeaderValue::from_static(crate::VERSION)));
    let request = request.and_then(|id| HeaderValue::from_str(id.as_str()).ok());
    set(headers, request_id::HEADER, request);
}

/// Removes what concerns one connection only, including what `Connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let fixed = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in named.into_iter().chain(fixed) {
        headers.remove(name);
    }
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

    #[test]
    fn a_client_cannot_pose_as_somebody_else() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-muxi-server", "evil"),
            ("connection", "keep-alive, x-secret"),
            ("x-secret", "1"),
            ("host", "example.com:7890"),
            ("x-muxi-client-key", "k"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let peer = Peer::Tcp("[::ffff:10.0.0.7]:5".parse().unwrap());
        prepare_request(&mut headers, peer, None);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.7");
        assert_eq!(headers["x-forwarded-host"], "example.com:7890");
        assert_eq!(headers["x-muxi-server"], crate::VERSION);
        assert_eq!(headers["x-muxi-client-key"], "k");
        for name in ["forwarded", "x-real-ip", "x-forwarded-port"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert!(!headers.contains_key("x-secret") && !headers.contains_key("connection"));
    }
}
