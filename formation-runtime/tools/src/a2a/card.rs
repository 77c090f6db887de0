//! What an agent says of itself: where it is to be called, and in which version. Pure.

use reqwest::Url;
use serde::Deserialize;

use super::error::RemoteError;
use super::wire::Version;

/// What matters of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) endpoint: Url,
    pub(super) version: Version,
    pub(super) streams: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    supported_interfaces: Vec<Interface>,
    /// Of version 0.3.
    url: Option<String>,
    preferred_transport: Option<String>,
    #[serde(default)]
    additional_interfaces: Vec<Additional>,
    #[serde(default)]
    capabilities: Capabilities,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    url: String,
    protocol_binding: String,
    #[serde(default)]
    protocol_version: String,
}

#[derive(Debug, Deserialize)]
struct Additional {
    url: String,
    transport: String,
}

#[derive(Debug, Default, Deserialize)]
struct Capabilities {
    #[serde(default)]
    streaming: bool,
}

const BINDING: &str = "JSONRPC";

// === impl Card ===

impl Card {
    /// `home` is where the card was fetched; the newest version that both speak is taken.
    pub(super) fn parse(bytes: &[u8], home: &Url) -> Result<Self, RemoteError> {
        let written: Written = serde_json::from_slice(bytes)
            .map_err(|_| RemoteError::Malformed("the card is no agent card"))?;
        let streams = written.capabilities.streaming;
        let (address, version) = written.interface().ok_or(RemoteError::NoInterface)?;
        let endpoint = home
            .join(address)
            .map_err(|_| RemoteError::Malformed("the card has an address that is none"))?;
        // The card is public, and whoever can change it must not be sent the credentials.
        let is_home = endpoint.host_str() == home.host_str()
            && endpoint.scheme() == home.scheme()
            && endpoint.port_or_known_default() == home.port_or_known_default();
        if !is_home {
            return Err(RemoteError::OtherHost(endpoint.host_str().unwrap_or("").to_owned()));
        }
        Ok(Self { endpoint, version, streams })
    }
}

impl Written {
    fn interface(&self) -> Option<(&str, Version)> {
        let is_ours = |binding: &str| binding.eq_ignore_ascii_case(BINDING);
        let new = self.supported_interfaces.iter().filter_map(|it| {
            let version = Version::of(&it.protocol_version)?;
            is_ours(&it.protocol_binding).then_some((it.url.as_str(), version))
        });
        // Of several that are equally new the first one is preferred.
        let new = new.reduce(|best, it| if it.1 > best.1 { it } else { best });
        let preferred = self.preferred_transport.as_deref().is_none_or(is_ours);
        let first = self.url.as_deref().filter(|_| preferred);
        let additional =
            self.additional_interfaces.iter().find(|it| is_ours(&it.transport)).map(|it| &*it.url);
        new.or_else(|| Some((first.or(additional)?, Version::V03)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(card: &Value) -> Result<(String, Version, bool), String> {
        let home = Url::parse("http://agents.test:81/team/").unwrap();
        let card = Card::parse(card.to_string().as_bytes(), &home);
        card.map(|it| (it.endpoint.to_string(), it.version, it.streams))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_newest_version_that_both_speak_is_taken() {
        let old = json!({"url": "http://agents.test:81/rpc", "protocolVersion": "0.3.0"});
        assert_eq!(parsed(&old), Ok(("http://agents.test:81/rpc".to_owned(), Version::V03, false)));
        let both = json!({"url": "/old", "capabilities": {"streaming": true}, "supportedInterfaces": [
            {"url": "/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"},
            {"url": "/a", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
            {"url": "b", "protocolBinding": "JSONRPC", "protocolVersion": "1.0.1"},
            {"url": "/c", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
        ]});
        assert_eq!(
            parsed(&both),
            Ok(("http://agents.test:81/team/b".to_owned(), Version::V1, true))
        );
        let other = json!({"url": "/grpc", "preferredTransport": "GRPC",
            "additionalInterfaces": [{"url": "/rpc", "transport": "JSONRPC"}]});
        assert_eq!(parsed(&other).unwrap().0, "http://agents.test:81/rpc");
    }

    #[test]
    fn a_card_leads_nowhere_else() {
        for url in [
            "http://evil.test/rpc",
            "https://agents.test:81/",
            "http://agents.test/",
            "//evil.test",
        ] {
            let fault = parsed(&json!({"url": url})).unwrap_err();
            assert!(fault.contains("another host"), "{url}: {fault}");
        }
        let unknown = json!({"supportedInterfaces": [
            {"url": "/a", "protocolBinding": "JSONRPC", "protocolVersion": "7.0"}]});
        assert!(parsed(&unknown).unwrap_err().contains("no address"));
        assert!(parsed(&json!([1])).unwrap_err().contains("no agent card"));
    }
}
