//! Questions to a manager that runs on this machine, for the commands of its own user. Under TLS it
//! must show the very certificate of its configuration, whatever name that has.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST};
use axum::http::{Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use muxi_contract::signature;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use crate::config::{Config, KeyConfig};

/// Asks one manager.
#[derive(Debug)]
pub struct Asker {
    url: Uri,
    tls: Option<Arc<ClientConfig>>,
    key: Option<KeyConfig>,
}

/// What it said; `body` is null if that was no JSON.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub body: Value,
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("`{0}` is no address of a manager")]
    Url(String),
    #[error("server.tls.cert cannot be read: {0}")]
    Certificate(rustls::pki_types::pem::Error),
    #[error("the manager at {url} cannot be reached: {source}")]
    Connect { url: String, source: std::io::Error },
    #[error("the manager's answer broke off: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    #[error("the manager did not answer within {}s", PATIENCE.as_secs())]
    Slow,
}

const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 1 << 20;

// === impl Asker ===

impl Asker {
    /// `url` is where it said that it listens; the configuration has its certificate and a key.
    pub fn new(url: &str, config: &Config) -> Result<Self, AskError> {
        let parsed: Uri = url.parse().map_err(|_| AskError::Url(url.to_owned()))?;
        let tls = match (parsed.scheme_str(), &config.server.tls) {
            (Some("https"), Some(tls)) => {
                let certificate =
                    CertificateDer::from_pem_file(&tls.cert).map_err(AskError::Certificate)?;
                Some(Arc::new(trusting_only(certificate)))
            }
            (Some("http"), _) => None,
            _ => return Err(AskError::Url(url.to_owned())),
        };
        let key = config.auth.enabled.then(|| config.keys().into_iter().next()).flatten();
        Ok(Self { url: parsed, tls, key })
    }

    /// `GET`, signed where there is a key to sign with.
    pub async fn get(&self, path: &str, now: Timestamp) -> Result<Said, AskError> {
        let asking = tokio::time::timeout(PATIENCE, self.ask(path, now));
        asking.await.unwrap_or(Err(AskError::Slow))
    }

    async fn ask(&self, path: &str, now: Timestamp) -> Result<Said, AskError> {
        let authority = self.url.authority().ok_or_else(|| AskError::Url(self.url.to_string()))?;
        let unreachable = |source| AskError::Connect { url: self.url.to_string(), source };
        let address =
            (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        let mut request = Request::get(path).header(HOST, authority.as_str());
        request = request.header(CONNECTION, "close");
        if let Some(key) = &self.key {
            let content_sha256 = signature::content_sha256(b"");
            let (bare, query) = path.split_once('?').unwrap_or((path, ""));
            let signed = signature::Signed {
                timestamp: &now.as_second().to_string(),
                nonce: &Uuid::new_v4().simple().to_string(),
                method: "GET",
                path: bare,
                query,
                content_sha256: &content_sha256,
            };
            request = request.header(AUTHORIZATION, signed.header(&key.id, &key.secret));
            request = request.header(signature::CONTENT_SHA256, content_sha256);
        }
        let request =
            request.body(Body::empty()).map_err(|error| AskError::Broken(error.into()))?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some(config) => {
                // Any name will do: the certificate itself is known.
                let name = ServerName::try_from("localhost").expect("a name");
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, stream).await.map_err(unreachable)?;
                exchange(stream, request).await
            }
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Body>) -> Result<Said, AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| AskError::Broken(error.into());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(AskError::Broken)?.to_bytes();
        Ok(Said { status, body: serde_json::from_slice(&body).unwrap_or_default() })
    };
    // The connection moves only while somebody polls it; both end together.
    let (answer, _closed) = tokio::join!(answer, connection);
    answer
}

/// A client that trusts one certificate and no authority.
fn trusting_only(certificate: CertificateDer<'static>) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Pinned { certificate, provider: Arc::clone(&provider) };
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

// === impl Pinned ===

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("it shows another certificate than server.tls.cert".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
