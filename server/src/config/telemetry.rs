//! What the manager tells of itself, and to whom.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// `GET /metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Whether everybody may read them. Otherwise this machine may, and others with a key.
    pub public: bool,
}

/// What is sent elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    pub otlp: OtlpConfig,
}

/// Traces, over OTLP's HTTP form.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// Such as `http://localhost:4318`; empty sends nothing.
    pub endpoint: String,
    /// The name of an environment variable with headers for the collector: `name=value,name=value`.
    pub headers_env: String,
    /// The part of all traces that are sent, of those that come without a decision of the caller's.
    pub sample_ratio: Ratio,
    /// How long spans may wait for others.
    pub interval_ms: u64,
}

/// 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Ratio(f64);

// === impl OtlpConfig ===

impl Default for OtlpConfig {
    fn default() -> Self {
        let (endpoint, headers_env) = (String::new(), String::new());
        Self { endpoint, headers_env, sample_ratio: Ratio(1.0), interval_ms: 5_000 }
    }
}

impl OtlpConfig {
    /// The address of the collector's route for traces.
    pub fn url(&self) -> Option<String> {
        let endpoint = self.endpoint.trim_end_matches('/');
        if endpoint.is_empty() {
            return None;
        }
        let traces = if endpoint.ends_with("/v1/traces") { "" } else { "/v1/traces" };
        Some(format!("{endpoint}{traces}"))
    }

    /// What the named environment variable says; its values are never shown.
    pub fn headers(&self) -> Result<HashMap<String, String>, String> {
        if self.headers_env.is_empty() {
            return Ok(HashMap::new());
        }
        let name = &self.headers_env;
        let text = std::env::var(name).map_err(|_| format!("`{name}` is not set"))?;
        let pairs = text.split(',').map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        });
        pairs
            .collect::<Option<_>>()
            .ok_or_else(|| format!("`{name}` must be name=value,name=value"))
    }

    /// What is wrong with the values.
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let mut faults = Vec::new();
        let url = reqwest::Url::parse(&self.endpoint);
        if !self.endpoint.is_empty()
            && !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        {
            faults.push("telemetry.otlp.endpoint must be an address such as http://localhost:4318");
        }
        if !(0.0..=1.0).contains(&self.sample_ratio.0) {
            faults.push("telemetry.otlp.sample_ratio must be 0 to 1");
        }
        if !(100..=60_000).contains(&self.interval_ms) {
            faults.push("telemetry.otlp.interval_ms must be 100 to 60000");
        }
        faults
    }
}

// === impl Ratio ===

impl Ratio {
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A configuration is compared with the one before; what is no number equals nothing else either way.
impl Eq for Ratio {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_for_traces_is_added_unless_it_is_there() {
        let url = |endpoint: &str| {
            OtlpConfig { endpoint: endpoint.to_owned(), ..OtlpConfig::default() }.url()
        };
        assert_eq!(url(""), None);
        for endpoint in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(url(endpoint).as_deref(), Some("http://c:4318/v1/traces"), "{endpoint}");
        }
    }

    #[test]
    fn every_fault_is_named() {
        let config = OtlpConfig {
            endpoint: "collector".to_owned(),
            sample_ratio: Ratio(2.0),
            interval_ms: 0,
            ..OtlpConfig::default()
        };
        assert_eq!(config.faults().len(), 3);
        assert_eq!(OtlpConfig::default().faults(), Vec::<&str>::new());
    }
}
