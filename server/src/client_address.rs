//! Who a request is from: the peer of its connection, or whom a trusted proxy before us names.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;
use muxi_service::accept::Peer;

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What every request carries as an extension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientAddress {
    /// None for a caller on a Unix socket of this machine. IPv4 is never written as IPv6.
    pub ip: Option<IpAddr>,
    /// The host that the client asked for.
    pub host: Option<HeaderValue>,
    /// How the client came, where a trusted proxy says so.
    pub scheme: Option<&'static str>,
}

/// Stands with every request that came through our own TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls;

/// The proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
}

/// An outer layer of all routes.
pub(crate) async fn layer(
    State(trusted): State<Arc<TrustedProxies>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Local);
    let mut address = trusted.resolve(peer, request.headers());
    if request.extensions().get::<OverTls>().is_some() {
        address.scheme = address.scheme.or(Some("https"));
    }
    request.extensions_mut().insert(address);
    next.run(request).await
}

// === impl TrustedProxies ===

impl TrustedProxies {
    /// Networks such as `10.0.0.0/8`, or single addresses; the error has every one that is neither.
    pub fn new(texts: &[String]) -> Result<Self, Vec<String>> {
        let (mut networks, mut faults) = (Vec::new(), Vec::new());
        for text in texts {
            let single = || text.parse::<IpAddr>().map(IpNet::from);
            match text.parse::<IpNet>().or_else(|_| single()) {
                Ok(network) => networks.push(network),
                Err(_) => faults.push(format!(
                    "server.trusted_proxies: `{text}` is neither a network, such as 10.0.0.0/8, nor an address"
                )),
            }
        }
        if faults.is_empty() { Ok(Self { networks }) } else { Err(faults) }
    }

    /// The rightmost address that no trusted proxy has: those left of it are only the client's word.
    pub fn resolve(&self, peer: Peer, headers: &HeaderMap) -> ClientAddress {
        let host = headers.get(HOST).cloned();
        let Peer::Tcp(address) = peer else {
            return ClientAddress { ip: None, host, scheme: None };
        };
        let mut ip = address.ip().to_canonical();
        if !self.trusts(ip) {
            return ClientAddress { ip: Some(ip), host, scheme: None };
        }
        for told in last_first(headers, &FORWARDED_FOR) {
            let Some(address) = parse_address(told) else { break };
            ip = address;
            if !self.trusts(ip) {
                break;
            }
        }
        let host_told = last_first(headers, &FORWARDED_HOST).next();
        let host_told = host_told.and_then(|host| HeaderValue::from_str(host).ok());
        let scheme = match last_first(headers, &FORWARDED_PROTO).next() {
            Some(told) if told.eq_ignore_ascii_case("https") => Some("https"),
            Some(told) if told.eq_ignore_ascii_case("http") => Some("http"),
            Some(_) | None => None,
        };
        ClientAddress { ip: Some(ip), host: host_told.or(host), scheme }
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }
}

// === private helpers ===

/// The items of a list header, over all its lines, from the nearest proxy outwards.
fn last_first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let items: Vec<&str> =
        lines.flat_map(|line| line.split(',')).map(str::trim).filter(|it| !it.is_empty()).collect();
    items.into_iter().rev()
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` or `[::1]:5`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<std::net::SocketAddr>().map(|address| address.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_over_our_own_tls_came_by_https() {
        use axum::routing::get;
        use tower::ServiceExt as _;

        let scheme = async |over_tls: bool| {
            let told = |address: axum::Extension<ClientAddress>| async move {
                address.scheme.unwrap_or("none")
            };
            let trusted = Arc::new(TrustedProxies::default());
            let app = axum::Router::new()
                .route("/", get(told))
                .layer(axum::middleware::from_fn_with_state(trusted, layer));
            let mut request = Request::new(axum::body::Body::empty());
            if over_tls {
                request.extensions_mut().insert(OverTls);
            }
            let body = app.oneshot(request).await.unwrap().into_body();
            axum::body::to_bytes(body, 100).await.unwrap()
        };
        assert_eq!(scheme(true).await, "https");
        assert_eq!(scheme(false).await, "none");
    }

    fn resolve(trusted: &[&str], peer: &str, headers: &[(&'static str, &str)]) -> ClientAddress {
        let trusted: Vec<String> = trusted.iter().map(|it| (*it).to_owned()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        TrustedProxies::new(&trusted).unwrap().resolve(Peer::Tcp(peer.parse().unwrap()), &map)
    }

    #[test]
    fn the_rightmost_address_that_nobody_vouches_for_is_the_clients() {
        let trusted = ["10.0.0.0/8", "192.0.2.1", "fd00::/8"];
        for (peer, told, client) in [
            // Not from a trusted proxy: nothing is believed.
            ("198.51.100.9:5", vec!["1.1.1.1"], "198.51.100.9"),
            ("[::ffff:198.51.100.9]:5", vec!["1.1.1.1"], "198.51.100.9"),
            // From one: the client may have written what is further left.
            ("10.0.0.1:5", vec!["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            ("[::ffff:10.0.0.1]:5", vec!["6.6.6.6, 1.1.1.1, 192.0.2.1"], "1.1.1.1"),
            ("10.0.0.1:5", vec!["6.6.6.6", "1.1.1.1:77", "10.9.9.9"], "1.1.1.1"),
            ("[fd00::1]:5", vec!["6.6.6.6, 2001:db8::7"], "2001:db8::7"),
            ("[fd00::1]:5", vec!["[2001:db8::7]:443"], "2001:db8::7"),
            ("10.0.0.1:5", vec!["[2001:db8::7]"], "2001:db8::7"),
            ("10.0.0.1:5", vec!["::ffff:1.1.1.1"], "1.1.1.1"),
            // Nothing readable: the last who is known.
            ("10.0.0.1:5", vec!["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1:5", vec![], "10.0.0.1"),
            // All of them vouched for: the first of the chain.
            ("10.0.0.1:5", vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            let headers: Vec<_> = told.iter().map(|it| ("x-forwarded-for", *it)).collect();
            let resolved = resolve(&trusted, peer, &headers).ip.unwrap();
            assert_eq!(resolved, client.parse::<IpAddr>().unwrap(), "{peer} {told:?}");
        }
    }

    #[test]
    fn host_and_scheme_are_believed_from_a_trusted_proxy_only() {
        let headers = [
            ("host", "internal:7890"),
            ("x-forwarded-host", "evil.example, app.example"),
            ("x-forwarded-proto", "HTTPS"),
        ];
        let told = resolve(&["10.0.0.1"], "10.0.0.1:5", &headers);
        assert_eq!(
            (told.host.unwrap().to_str().unwrap(), told.scheme),
            ("app.example", Some("https"))
        );
        let told = resolve(&["10.0.0.1"], "10.0.0.2:5", &headers);
        assert_eq!((told.host.unwrap().to_str().unwrap(), told.scheme), ("internal:7890", None));
    }

    #[test]
    fn every_network_that_is_none_is_named() {
        let texts = ["10.0.0.0/8", "10.0.0.0/99", "proxy.local", "::1"].map(str::to_owned);
        assert_eq!(TrustedProxies::new(&texts).unwrap_err().len(), 2);
    }
}
