//! The part of `formations` that bounds their logs.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::FormationsConfig;
use crate::logs::Rotation;

/// A count of bytes: a number, or one with `K`, `M` or `G` (of 1,024 each) as in `10M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 3] = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 40;

// === impl FormationsConfig ===

impl FormationsConfig {
    /// `None` when the operator wants one file that grows.
    pub fn log_rotation(&self) -> Option<Rotation> {
        self.log_rotation_enabled.then(|| Rotation {
            segment_bytes_max: self.log_max_size.0,
            segment_age_max: Duration::from_secs(u64::from(self.log_max_age_hours) * 3_600),
            segments_max: self.log_max_files as usize,
        })
    }

    pub(super) fn log_faults(&self) -> Vec<String> {
        let checks = [
            (SEGMENT_BYTES.contains(&self.log_max_size.0), "log_max_size must be 64K to 1024G"),
            ((1..=100_000).contains(&self.log_max_files), "log_max_files must be 1 to 100000"),
            (
                (1..=87_600).contains(&self.log_max_age_hours),
                "log_max_age_hours must be 1 to 87600 (ten years)",
            ),
        ];
        let faults = checks.iter().filter(|(fine, _)| !fine);
        faults.map(|(_, fault)| format!("- formations.{fault}")).collect()
    }
}

// === impl ByteSize ===

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.trim().to_ascii_uppercase();
        let plain = plain.strip_suffix("IB").or_else(|| plain.strip_suffix('B')).unwrap_or(&plain);
        let unit = UNITS.iter().find_map(|(unit, bytes)| Some((plain.strip_suffix(unit)?, *bytes)));
        let (count, bytes) = unit.unwrap_or((plain, 1));
        let count: Option<u64> = count.trim_end().parse().ok();
        let total = count.and_then(|count| count.checked_mul(bytes));
        total.map(Self).ok_or_else(|| format!("`{text}` is no size; write bytes, or such as 10M"))
    }
}

impl std::fmt::Display for ByteSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let exact = UNITS.iter().find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes));
        match exact {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(from)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_original_writes_them() {
        let cases = [
            ("10M", 10 << 20),
            ("1024", 1_024),
            ("64k", 64 << 10),
            ("2 GB", 2 << 30),
            ("1MiB", 1 << 20),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for wrong in ["", "M", "-1", "10T", "99999999999G"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
