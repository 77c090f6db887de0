//! How requests are passed on to formations.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use muxi_contract::FormationId;
use muxi_contract::launch::PROXIED_REQUESTS_MAX;
use muxi_service::cors::CorsPolicy;
use serde::{Deserialize, Serialize};

use super::Config;

/// With more, an instance would not hear whether it is well.
pub(super) const CONCURRENCY_MAX: usize = PROXIED_REQUESTS_MAX;

/// `proxy:`; what holds for `/api`, `/draft` and `/mcp`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// How long a request waits for a formation that starts; 0 refuses it at once.
    pub hold_ms: u64,
    /// Requests that wait at once, of all formations together.
    pub held_max: usize,
    /// The same of one formation.
    pub held_per_formation_max: usize,
    /// Requests that one formation works on at once, open streams included.
    pub concurrency: usize,
    /// Upgraded connections, web sockets above all, that are open at once.
    pub upgrades_max: usize,
    /// Silence in both directions after which an upgraded connection is ended.
    pub upgrade_idle_ms: u64,
    pub breaker: BreakerConfig,
    pub cors: CorsConfig,
}

/// When an instance that does not answer is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// Requests in a row without any answer.
    pub failures: u32,
    /// Until one request is tried again.
    pub cool_down_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsConfig {
    /// Origins whose pages may call formations from a browser; `*` is every one, none closes it.
    pub allow_origins: Vec<String>,
}

/// `sdk:`; what is told to programs that name their SDK.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct SdkConfig {
    /// The latest version by the SDK's name, such as `python`. Without an entry a client is told its
    /// own version, which announces nothing.
    pub latest: BTreeMap<String, String>,
}

// === impl Config ===

impl Config {
    /// Requests that this formation works on at once.
    pub fn concurrency(&self, id: &FormationId) -> usize {
        let decided = self.formations.overrides.get(id).and_then(|it| it.concurrency);
        decided.unwrap_or(self.proxy.concurrency)
    }
}

// === impl ProxyConfig ===

impl ProxyConfig {
    pub(super) fn faults(&self) -> Vec<String> {
        let ranges = self.ranges().into_iter().filter(|(_, value, range)| !range.contains(value));
        let mut faults: Vec<String> = ranges
            .map(|(name, _, range)| {
                format!("proxy.{name} must be {} to {}", range.start(), range.end())
            })
            .collect();
        for origin in &self.cors.allow_origins {
            if let Err(error) = CorsPolicy::new([origin]) {
                faults.push(format!("proxy.cors.allow_origins: {error}"));
            }
        }
        faults
    }

    fn ranges(&self) -> [(&'static str, u64, RangeInclusive<u64>); 8] {
        /// Nobody needs more of anything that is open at once.
        const COUNT_MAX: u64 = 1_000_000;
        const HOUR_MS: u64 = 3_600_000;
        let count = |value: usize| value as u64;
        [
            ("hold_ms", self.hold_ms, 0..=HOUR_MS),
            ("held_max", count(self.held_max), 0..=COUNT_MAX),
            ("held_per_formation_max", count(self.held_per_formation_max), 0..=COUNT_MAX),
            ("concurrency", count(self.concurrency), 1..=count(CONCURRENCY_MAX)),
            ("upgrades_max", count(self.upgrades_max), 0..=COUNT_MAX),
            ("upgrade_idle_ms", self.upgrade_idle_ms, 1_000..=168 * HOUR_MS),
            ("breaker.failures", self.breaker.failures.into(), 1..=1_000),
            ("breaker.cool_down_ms", self.breaker.cool_down_ms, 100..=HOUR_MS),
        ]
    }
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            hold_ms: 10_000,
            held_max: 1_024,
            held_per_formation_max: 256,
            concurrency: 512,
            upgrades_max: 1_024,
            upgrade_idle_ms: 3_600_000,
            breaker: BreakerConfig::default(),
            cors: CorsConfig::default(),
        }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, cool_down_ms: 2_000 }
    }
}

// === impl CorsConfig ===

impl CorsConfig {
    /// The configuration was checked; an origin that is none allows nobody.
    pub fn policy(&self) -> CorsPolicy {
        CorsPolicy::new(&self.allow_origins).unwrap_or_else(|_| CorsPolicy::none())
    }
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self { allow_origins: vec!["*".to_owned()] }
    }
}

// === impl SdkConfig ===

impl SdkConfig {
    pub(super) fn faults(&self) -> Vec<String> {
        let is_plain = |text: &str| {
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|it| it.is_ascii_graphic())
        };
        let odd =
            self.latest.iter().filter(|(name, version)| !is_plain(name) || !is_plain(version));
        odd.map(|(name, version)| {
            format!("sdk.latest: `{name}: {version}` must be a name and a version without blanks")
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        let config = ProxyConfig {
            concurrency: 0,
            breaker: BreakerConfig { failures: 0, cool_down_ms: 1 },
            cors: CorsConfig { allow_origins: vec!["https://a/".to_owned(), "*".to_owned()] },
            ..ProxyConfig::default()
        };
        assert_eq!(config.faults().len(), 4, "{:?}", config.faults());
        assert!(ProxyConfig::default().faults().is_empty());
        let most = ProxyConfig { concurrency: PROXIED_REQUESTS_MAX, ..ProxyConfig::default() };
        assert!(most.faults().is_empty());
        let more = ProxyConfig { concurrency: PROXIED_REQUESTS_MAX + 1, ..most };
        assert_eq!(more.faults(), ["proxy.concurrency must be 1 to 2048"]);
        let sdk = SdkConfig { latest: [("python".to_owned(), "1 2".to_owned())].into() };
        assert_eq!(sdk.faults().len(), 1);
    }
}
