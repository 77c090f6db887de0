//! Where webhooks may go. What a client names must not lead into networks that only this machine sees.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What a name that was asked for is not told: an address within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "its address is private; `async.webhook_allow_private` in the manifest allows such addresses"
)]
pub struct PrivateAddress;

/// Resolves names to public addresses only. Each connection asks anew, so that a name cannot be one
/// thing when it is checked and another when it is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublicOnly;

/// Whether an address is one that can be told, and what is wrong with it.
pub fn check_url(text: &str) -> Result<(), &'static str> {
    let url =
        Url::parse(text).map_err(|_| "must be an address such as https://example.com/hook")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with https:// or http:// and name a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password; webhooks are signed instead");
    }
    Ok(())
}

/// Whether the text alone says that the address is private; a name may still turn out to be.
pub fn check_public(text: &str) -> Result<(), PrivateAddress> {
    let url = Url::parse(text).map_err(|_| PrivateAddress)?;
    let host = url.host_str().ok_or(PrivateAddress)?;
    // Unusual spellings of addresses were made usual by the parser.
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let is_local_name = host == "localhost" || host.ends_with(".localhost");
    let is_private = host.parse().map_or(is_local_name, |ip| !is_public(ip));
    if is_private { Err(PrivateAddress) } else { Ok(()) }
}

// === impl PublicOnly ===

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is put in by whoever asked.
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (known, public) = (
                !found.is_empty(),
                found.into_iter().filter(|it| is_public(it.ip())).collect::<Vec<_>>(),
            );
            if known && public.is_empty() {
                return Err(PrivateAddress.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// What is told of an attempt that failed. Addresses are left out: they may hold a receiver's secret.
pub(super) fn failure(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if let Some(private) = inner.downcast_ref::<PrivateAddress>() {
            return private.to_string();
        }
        cause = inner.source();
    }
    error.to_string()
}

// === private helpers ===

/// By the registries of special addresses.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_shared = a == 100 && b & 0xc0 == 64;
    let is_protocol = (a, b, c) == (192, 0, 0);
    let is_benchmark = a == 198 && b & 0xfe == 18;
    // 240.0.0.0/4 is reserved, and holds the broadcast address.
    !(a == 0
        || a >= 240
        || is_shared
        || is_protocol
        || is_benchmark
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        // What stands for an address of the other kind is what that one is.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(v4(high, low))
        }
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Tunnels, benchmarks, documentation.
        [0x2001, 0..0x200 | 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => false,
        // All that is given out lies here; loopback, local networks and groups lie elsewhere.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, fine) in [
            ("https://example.com/hook", true),
            ("http://10.0.0.1:8080", true),
            ("ftp://example.com", false),
            ("https://user:pass@example.com", false),
            ("example.com", false),
            ("", false),
        ] {
            assert_eq!(check_url(url).is_ok(), fine, "{url}");
        }
    }

    #[test]
    fn private_addresses_are_seen_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "[::]",
            "[::1]",
            "[::127.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::a00:1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001::1]",
            "[2001:db8::1]",
            "[fc00::1]",
            "[fd12::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[100::1]",
        ] {
            let url = format!("http://{host}:8080/hook");
            assert!(check_public(&url).is_err(), "{host}");
        }
        for host in [
            "example.com",
            "localhost.example.com",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "[2606:4700::1111]",
            "[::ffff:8.8.8.8]",
            "[2002:808:808::]",
        ] {
            let url = format!("http://{host}/hook");
            assert!(check_public(&url).is_ok(), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_that_turns_out_to_be_private_is_not_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = reqwest::Client::builder().no_proxy().dns_resolver(PublicOnly);
        let asked = client.build().unwrap().get(format!("http://localhost:{port}/")).send();
        assert_eq!(failure(asked.await.unwrap_err()), PrivateAddress.to_string());
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}
