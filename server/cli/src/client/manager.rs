//! The manager's API, each call signed.

use std::io::Read as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use muxi_contract::signature::{CONTENT_SHA256, Signed, content_sha256};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Client, Method, RequestBuilder, Response, Url};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::events::Events;
use super::{SDK, answer, http, unreachable};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::{Bundle, Settings};
use crate::files::profiles::{Chosen, ENVIRONMENT, LOCAL, Profiles};

const CHUNK_BYTES: usize = 64 * 1024;
const EVENT_STREAM: &str = "text/event-stream";

#[derive(Debug)]
pub(crate) struct Manager {
    http: Client,
    pub(crate) url: Url,
    pub(crate) chosen: Chosen,
}

/// Which manager a command is for.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ManagerArgs {
    /// Manager to speak to, as `muxi profiles list` names it [env: MUXI_PROFILE]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

/// A bundle as it is sent.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    pub(crate) file: &'a Path,
    pub(crate) formation: &'a str,
    pub(crate) bar: &'a ProgressBar,
}

// === impl ManagerArgs ===

impl ManagerArgs {
    pub(crate) fn manager(&self, context: &Context) -> Result<Manager, Fault> {
        let settings = Bundle::find(&context.folder).map(|it| it.settings()).transpose()?;
        let chosen = Profiles::choose(
            &context.home,
            self.profile.as_deref(),
            &settings.unwrap_or_default(),
        )?;
        Manager::new(chosen)
    }

    pub(crate) fn chosen(&self, context: &Context, settings: &Settings) -> Result<Chosen, Fault> {
        Profiles::choose(&context.home, self.profile.as_deref(), settings)
    }
}

// === impl Manager ===

impl Manager {
    pub(crate) fn new(chosen: Chosen) -> Result<Self, Fault> {
        let url = super::url(&chosen.profile.url)?;
        Ok(Self { http: http()?, url, chosen })
    }

    /// `path` begins with a slash and may have a query.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Fault> {
        let response = self.send(self.request(method, path, body)?).await?;
        self.data(response).await
    }

    /// A stream of steps, or the answer of a server that tells none.
    pub(crate) async fn watch(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Told, Fault> {
        let request = self.request(method, path, body)?.header(ACCEPT, EVENT_STREAM);
        self.told(self.send(request).await?).await
    }

    /// Raw text or bytes; failures are told as everywhere.
    pub(crate) async fn raw(&self, path: &str) -> Result<Response, Fault> {
        let response = self.send(self.request(Method::GET, path, None)?).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self
                .data(response)
                .await
                .err()
                .unwrap_or_else(|| Fault::failed("it refused without a word")))
        }
    }

    /// Sends a bundle from a file, hashed first: the signature covers every byte.
    pub(crate) async fn upload(
        &self,
        method: Method,
        path: &str,
        upload: &Upload<'_>,
    ) -> Result<Told, Fault> {
        let failed = |error| Fault::file("read", upload.file, error);
        let (hash, bytes) = hash(upload.file).map_err(failed)?;
        let file = tokio::fs::File::open(upload.file).await.map_err(failed)?;
        let bar = upload.bar.clone();
        let chunks = tokio_util::io::ReaderStream::with_capacity(file, CHUNK_BYTES);
        let chunks = futures_util::StreamExt::inspect(chunks, move |chunk| {
            bar.inc(chunk.as_ref().map_or(0, |it| it.len() as u64));
        });
        let request = self
            .signed(method, path, &hash)?
            .header(ACCEPT, EVENT_STREAM)
            .header(CONTENT_TYPE, "application/gzip")
            .header(CONTENT_LENGTH, bytes)
            .header("X-Formation-ID", upload.formation)
            .body(Body::wrap_stream(chunks));
        self.told(self.send(request).await?).await
    }

    /// The address of a formation behind this manager.
    pub(crate) fn formation_url(&self, id: &str, is_draft: bool) -> Url {
        let mut url = self.url.clone();
        let before = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{before}/{}/{id}/v1", if is_draft { "draft" } else { "api" }));
        url
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<RequestBuilder, Fault> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = self.signed(method, path, &content_sha256(body.as_bytes()))?;
        Ok(if body.is_empty() {
            request
        } else {
            request.header(CONTENT_TYPE, "application/json").body(body)
        })
    }

    fn signed(
        &self,
        method: Method,
        path_and_query: &str,
        content: &str,
    ) -> Result<RequestBuilder, Fault> {
        let url = format!("{}{path_and_query}", self.url.as_str().trim_end_matches('/'));
        let url: Url = url.parse().map_err(|_| Fault::usage(format!("{url} is no address")))?;
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)
            .map_err(|it| Fault::failed(format!("the system gave no random bytes: {it}")))?;
        let (timestamp, nonce) = (now_s().to_string(), hex::encode(nonce));
        let signed = Signed {
            timestamp: &timestamp,
            nonce: &nonce,
            method: method.as_str(),
            path: url.path(),
            query: url.query().unwrap_or_default(),
            content_sha256: content,
        };
        let profile = &self.chosen.profile;
        let authorization = signed.header(&profile.key_id, &profile.secret_key);
        let request = self.http.request(method, url).header(AUTHORIZATION, authorization);
        Ok(request.header(CONTENT_SHA256, content).header("X-Muxi-SDK", SDK))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Fault> {
        request.send().await.map_err(|error| {
            let fault = unreachable(&self.url, &error);
            if self.chosen.name == LOCAL {
                return fault.mend("muxi-server start   starts the manager of this machine");
            }
            fault.mend(format!(
                "is the address of profile {} right? muxi profiles list",
                self.chosen.name
            ))
        })
    }

    async fn data(&self, response: Response) -> Result<Value, Fault> {
        answer::data(&self.url, response).await.map_err(|fault| self.explained(fault))
    }

    async fn told(&self, response: Response) -> Result<Told, Fault> {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        if kind.is_some_and(|it| it.starts_with(EVENT_STREAM)) {
            return Ok(Told::Steps(Events::of(self.url.clone(), response)));
        }
        self.data(response).await.map(Told::Answer)
    }

    fn explained(&self, fault: Fault) -> Fault {
        if fault.exit() != Exit::Refused {
            return fault;
        }
        let Chosen { name, profile } = &self.chosen;
        let way = match name.as_str() {
            ENVIRONMENT => "it comes from MUXI_KEY_ID and MUXI_SECRET_KEY".to_owned(),
            LOCAL => "it comes from config.yaml; `muxi-server keys list` shows all".to_owned(),
            name => format!("muxi profiles add {name} replaces it"),
        };
        fault.mend(format!("the key {} of profile {name} was used; {way}", profile.key_id))
    }
}

/// How a manager answers work that takes a while.
#[derive(Debug)]
pub(crate) enum Told {
    Steps(Events),
    Answer(Value),
}

/// Seconds since 1970: signatures and tokens carry the time at which they were made.
#[expect(
    clippy::disallowed_methods,
    reason = "a command lives shorter than any clock that a test could turn"
)]
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|it| it.as_secs()).unwrap_or_default()
}

fn hash(path: &Path) -> std::io::Result<(String, u64)> {
    let (mut file, mut hasher, mut bytes) = (std::fs::File::open(path)?, Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((hex::encode(hasher.finalize()), bytes)),
            read => {
                hasher.update(&chunk[..read]);
                bytes += read as u64;
            }
        }
    }
}
