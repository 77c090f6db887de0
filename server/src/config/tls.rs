//! `server.tls`: the certificate of the manager's port.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// Where certificate and key lie. They are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM: the server's certificate first, then what links it to its root.
    pub cert: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1, without a passphrase.
    pub key: PathBuf,
    #[serde(default)]
    pub min_version: MinVersion,
    /// Seconds between looks at the files, so that a renewed pair counts without a reload.
    #[serde(default = "default_watch_interval")]
    pub watch_interval: u32,
    /// A second port that sends plain HTTP callers to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_http_port: Option<u16>,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum MinVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

// === impl TlsConfig ===

impl TlsConfig {
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, path) in [("cert", &self.cert), ("key", &self.key)] {
            if !path.is_absolute() {
                faults.push(format!("server.tls.{name} must be a path from the root"));
            }
        }
        if !(1..=86_400).contains(&self.watch_interval) {
            faults.push("server.tls.watch_interval must be 1 to 86400".to_owned());
        }
        faults
    }
}

fn default_watch_interval() -> u32 {
    60
}

// === impl MinVersion ===

impl<'de> Deserialize<'de> for MinVersion {
    /// Takes it with and without quotes: YAML reads a bare 1.2 as a number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Version;
        impl Visitor<'_> for Version {
            type Value = MinVersion;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("1.2 or 1.3")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MinVersion, E> {
                match text {
                    "1.2" => Ok(MinVersion::Tls12),
                    "1.3" => Ok(MinVersion::Tls13),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<MinVersion, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_with_and_without_quotes() {
        for (text, version) in
            [("1.2", MinVersion::Tls12), ("'1.3'", MinVersion::Tls13), ("1.3", MinVersion::Tls13)]
        {
            let text = format!("{{cert: /c, key: /k, min_version: {text}}}");
            let config: TlsConfig = serde_yaml::from_str(&text).unwrap();
            assert_eq!(config.min_version, version);
            assert_eq!(config.faults(), [""; 0]);
        }
        for text in ["1.1", "1", "'TLS 1.2'"] {
            let text = format!("{{cert: /c, key: /k, min_version: {text}}}");
            let fault = serde_yaml::from_str::<TlsConfig>(&text).unwrap_err().to_string();
            assert!(fault.contains("1.2 or 1.3"), "{fault}");
        }
    }

    #[test]
    fn faults_name_the_key() {
        let text = "{cert: cert.pem, key: /k, watch_interval: 0}";
        let faults = serde_yaml::from_str::<TlsConfig>(text).unwrap().faults();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
