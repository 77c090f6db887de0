//! Certificate and key: read, checked against each other, and read again when the files change. A pair
//! that is no good never replaces one that is.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};

use super::expiry::not_after;
use crate::config::{MinVersion, TlsConfig};

/// Why a pair of files is no good.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("failed to read the certificate {path}: {source}")]
    Certificate { path: PathBuf, source: pem::Error },
    #[error("the file {0} holds no certificate in PEM form")]
    NoCertificate(PathBuf),
    #[error("failed to read the private key {path}: {source}")]
    Key { path: PathBuf, source: pem::Error },
    #[error("the certificate {cert} and the key {key} do not go together: {source}")]
    Pair { cert: PathBuf, key: PathBuf, source: rustls::Error },
}

/// A certificate with its key, ready to serve.
#[derive(Debug, Clone)]
pub struct Pair {
    pub server: Arc<ServerConfig>,
    /// The server's own certificate.
    pub certificate: CertificateDer<'static>,
    /// When it expires, if it says so in a form that is understood.
    pub not_after: Option<Timestamp>,
    pub warnings: Vec<String>,
}

/// The pair that connections get; the next connection gets the next one.
#[derive(Debug)]
pub struct LivePair {
    pair: ArcSwap<Pair>,
    /// What the files were when they were read last, whatever came of it.
    seen: Mutex<Option<Stamp>>,
}

/// Changes when one of the files does, also where a link is set anew.
type Stamp = [(u64, u64, u64, i64, i64); 2];

/// Renewals are due well before.
const EXPIRY_WARNING_DAYS: i64 = 14;
const DAY_SECONDS: i64 = 86_400;

// === impl Pair ===

impl Pair {
    pub fn load(config: &TlsConfig, now: Timestamp) -> Result<Self, TlsError> {
        let TlsConfig { cert, key, min_version, .. } = config;
        let unreadable = |source| TlsError::Certificate { path: cert.clone(), source };
        let chain = CertificateDer::pem_file_iter(cert).map_err(unreadable)?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        let certificate =
            chain.first().cloned().ok_or_else(|| TlsError::NoCertificate(cert.clone()))?;
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|source| TlsError::Key { path: key.clone(), source })?;
        let versions: &[_] = match min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12],
            MinVersion::Tls13 => &[&TLS13],
        };
        let mut server =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(versions)
                .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
                .map_err(|source| TlsError::Pair {
                    cert: cert.clone(),
                    key: key.clone(),
                    source,
                })?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let not_after = not_after(&certificate);
        let warnings = warnings(key, not_after, now);
        Ok(Self { server: Arc::new(server), certificate, not_after, warnings })
    }
}

// === impl LivePair ===

impl LivePair {
    pub fn new(config: &TlsConfig, now: Timestamp) -> Result<Self, TlsError> {
        let seen = Mutex::new(stamp(config));
        let pair = Pair::load(config, now)?;
        for warning in &pair.warnings {
            tracing::warn!("{warning}");
        }
        Ok(Self { pair: ArcSwap::from_pointee(pair), seen })
    }

    pub fn current(&self) -> Arc<Pair> {
        self.pair.load_full()
    }

    /// Serves this pair from the next connection on.
    pub fn replace(&self, config: &TlsConfig, pair: Pair) {
        for warning in &pair.warnings {
            tracing::warn!("{warning}");
        }
        *self.lock_seen() = stamp(config);
        self.pair.store(Arc::new(pair));
    }

    /// Reads the files again if they changed since they were read last.
    pub fn refresh(&self, config: &TlsConfig, now: Timestamp) {
        let stamp = stamp(config);
        if std::mem::replace(&mut *self.lock_seen(), stamp) == stamp {
            return;
        }
        match Pair::load(config, now) {
            Ok(pair) => {
                tracing::info!(cert = %config.cert.display(), "the certificate was read again");
                self.replace(config, pair);
            }
            Err(error) => tracing::error!("the certificate stays as it was: {error}"),
        }
    }

    fn lock_seen(&self) -> std::sync::MutexGuard<'_, Option<Stamp>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(config: &TlsConfig) -> Option<Stamp> {
    let of = |path: &Path| -> io::Result<_> {
        let it: Metadata = std::fs::metadata(path)?;
        Ok((it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec()))
    };
    Some([of(&config.cert).ok()?, of(&config.key).ok()?])
}

fn warnings(key: &Path, not_after: Option<Timestamp>, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    // Groups may read it, as certificate tools arrange for their services; the world may not.
    if std::fs::metadata(key).is_ok_and(|it| it.mode() & 0o007 != 0) {
        let key = key.display();
        warnings.push(format!("every user can read the private key; run `chmod o= {key}`"));
    }
    if let Some(not_after) = not_after {
        let days = (not_after.as_second() - now.as_second()).div_euclid(DAY_SECONDS);
        if days < 0 {
            warnings.push(format!("the certificate expired at {not_after}; renew it"));
        } else if days < EXPIRY_WARNING_DAYS {
            warnings.push(format!("the certificate expires in {days} days, at {not_after}"));
        }
    }
    warnings
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A self-signed pair in a folder, with its configuration.
    pub(in crate::tls) fn written(folder: &Path) -> TlsConfig {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let config = serde_json::json!({
            "cert": folder.join("cert.pem"), "key": folder.join("key.pem"),
        });
        let config: TlsConfig = serde_json::from_value(config).unwrap();
        fs::write(&config.cert, made.cert.pem()).unwrap();
        fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&config.key, fs::Permissions::from_mode(0o600)).unwrap();
        config
    }

    #[test]
    fn each_fault_of_a_pair_names_its_file() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (good, other) = (written(one.path()), written(two.path()));
        let now = Timestamp::now();
        assert!(Pair::load(&good, now).unwrap().warnings.is_empty());
        let empty = one.path().join("empty.pem");
        fs::write(&empty, "nothing").unwrap();
        let cases = [
            (TlsConfig { cert: "/nowhere".into(), ..good.clone() }, "certificate /nowhere"),
            (TlsConfig { key: "/nowhere".into(), ..good.clone() }, "private key /nowhere"),
            (TlsConfig { cert: empty.clone(), ..good.clone() }, "empty.pem holds no certificate"),
            (TlsConfig { key: empty, ..good.clone() }, "empty.pem"),
            (TlsConfig { key: other.key, ..good }, "do not go together"),
        ];
        for (config, words) in cases {
            let fault = Pair::load(&config, now).unwrap_err().to_string();
            assert!(fault.contains(words), "{fault}");
        }
    }

    #[test]
    fn a_pair_is_read_again_when_it_changed_and_a_bad_one_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let config = written(folder.path());
        let now = Timestamp::now();
        let live = LivePair::new(&config, now).unwrap();
        let first = live.current();
        live.refresh(&config, now);
        assert!(Arc::ptr_eq(&first, &live.current()), "nothing changed");

        fs::write(&config.cert, "half a renewal").unwrap();
        live.refresh(&config, now);
        assert!(Arc::ptr_eq(&first, &live.current()));

        written(folder.path());
        live.refresh(&config, now);
        assert_ne!(first.certificate, live.current().certificate);
    }

    #[test]
    fn what_an_operator_should_know_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let config = written(folder.path());
        fs::set_permissions(&config.key, fs::Permissions::from_mode(0o644)).unwrap();
        let end = Pair::load(&config, Timestamp::now()).unwrap().not_after.unwrap();
        let at = |seconds: i64| Timestamp::from_second(end.as_second() + seconds).unwrap();
        let said = |now| Pair::load(&config, now).unwrap().warnings.join("\n");
        assert!(said(at(-30 * DAY_SECONDS)).contains("chmod o= "));
        assert!(said(at(-3 * DAY_SECONDS)).contains("expires in 3 days"));
        assert!(said(at(1)).contains("expired at"));
    }
}
