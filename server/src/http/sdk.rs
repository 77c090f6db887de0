//! `…/{id}/deploy` and `…/{id}/update` with their streams, as the published SDKs call them: with JSON
//! that says where the bundle is. A bundle as the body is taken, too.

use std::path::{Path, PathBuf};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use muxi_contract::FormationId;
use muxi_contract::draft::BundleReference;
use muxi_contract::management::{ProblemKind, Stage};
use muxi_service::sse;
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::error::Failure;
use super::formations::IdInPath;
use super::operations::failed_stream;
use super::uploads::{self, Purpose};
use crate::acts::Expected;
use crate::bundles::{self, ReceiveError};
use crate::client_address::ClientAddress;
use crate::store::StoreError;
use crate::supervisor::Supervisor;

/// What is asked for by the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Deploy,
    Update,
}

/// A call as it came.
struct Call {
    client: ClientAddress,
    headers: HeaderMap,
    body: Body,
    streamed: bool,
}

/// JSON with a bundle in it is held in memory; larger ones come as the body.
const JSON_BYTES_MAX: u64 = 16 << 20;

pub(super) async fn deploy(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let streamed = sse::is_asked_for(&headers);
    take(supervisor, id, Verb::Deploy, Call { client, headers, body, streamed }).await
}

pub(super) async fn deploy_stream(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    take(supervisor, id, Verb::Deploy, Call { client, headers, body, streamed: true }).await
}

pub(super) async fn update(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let streamed = sse::is_asked_for(&headers);
    take(supervisor, id, Verb::Update, Call { client, headers, body, streamed }).await
}

pub(super) async fn update_stream(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    take(supervisor, id, Verb::Update, Call { client, headers, body, streamed: true }).await
}

async fn take(
    supervisor: Supervisor,
    id: IdInPath,
    verb: Verb,
    Call { client, headers, body, streamed }: Call,
) -> Result<Response, Failure> {
    let id = id.map(|id| id.0).map_err(|_| match verb {
        Verb::Update => Failure::unknown_formation(),
        Verb::Deploy => {
            refused(vec!["the id in the path is none: 3 to 50 of a-z, 0-9 and -".to_owned()])
        }
    });
    let checked = match id {
        Ok(id) => check(&supervisor, verb, id, &headers).await,
        Err(failure) => Err(failure),
    };
    let (purpose, id, mut expected) = match checked {
        Ok((purpose, id, expected)) => (purpose, id, expected),
        Err(failure) => {
            muxi_service::discard(body.into_data_stream()).await;
            return Err(failure);
        }
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let is_bundle =
        content_type.is_some_and(|it| uploads::GZIP_TYPES.iter().any(|gzip| it.contains(gzip)));
    let context = supervisor.context();
    let limits = context.live().limits;
    // Until the bundle is on the disk: it bounds how many of them memory holds.
    let permit = context.deploys.acquire().await.expect("the semaphore is never closed");
    let body = if is_bundle {
        body
    } else {
        let json = bundles::receive_in_memory(body, JSON_BYTES_MAX, &limits).await;
        match named(&supervisor, &client, &id, &json.map_err(too_large)?).await {
            Ok((version, bundle)) => {
                expected.version = version.or(expected.version);
                bundle
            }
            // The body is whole, so the stream has begun.
            Err(failure) if streamed => return Ok(failed_stream(failure, Stage::Validating)),
            Err(failure) => return Err(failure),
        }
    };
    let upload = bundles::receive(body, &context.layout, &limits).await?;
    drop(permit);
    uploads::apply(supervisor, upload.into(), purpose, expected, streamed).await
}

/// The other form has no such bound, so it is named.
fn too_large(error: ReceiveError) -> Failure {
    let ReceiveError::TooLarge { bytes_max } = error else { return error.into() };
    let message = format!(
        "The JSON is larger than {bytes_max} bytes; send a large bundle as the body with \
         Content-Type: application/gzip"
    );
    Failure::new(ProblemKind::BundleTooLarge, message)
}

async fn check(
    supervisor: &Supervisor,
    verb: Verb,
    id: FormationId,
    headers: &HeaderMap,
) -> Result<(Purpose, FormationId, Expected), Failure> {
    if verb == Verb::Update {
        let expected = uploads::check_update(supervisor, &id, headers).await?;
        return Ok((Purpose::Update(id.clone()), id, expected));
    }
    if uploads::exists(supervisor, &id).await? {
        return Err(StoreError::FormationExists(id.to_string()).into());
    }
    let expected = Expected { id: Some(id.to_string()), version: None, generation: None };
    Ok((Purpose::Deploy, id, expected))
}

/// The version and the bundle that the JSON names.
async fn named(
    supervisor: &Supervisor,
    client: &ClientAddress,
    id: &FormationId,
    json: &[u8],
) -> Result<(Option<String>, Body), Failure> {
    let reference = parse(json, id)?;
    Ok((reference.version.clone(), bundle(supervisor, client, reference).await?))
}

/// Every fault of the JSON at once.
fn parse(json: &[u8], id: &FormationId) -> Result<BundleReference, Failure> {
    let value: Value = serde_json::from_slice(json)
        .map_err(|error| refused(vec![format!("the body is no JSON: {error}")]))?;
    let Value::Object(fields) = value else {
        return Err(refused(vec!["the body must be a JSON object".to_owned()]));
    };
    let (mut faults, mut reference) = (Vec::new(), BundleReference::default());
    for (name, value) in fields {
        let field = match name.as_str() {
            "id" => &mut reference.id,
            "version" => &mut reference.version,
            "bundle_path" => &mut reference.bundle_path,
            "bundle" => &mut reference.bundle,
            _ => {
                let known = "id, version, bundle_path and bundle are known";
                faults.push(format!("{name}: is not known; {known}"));
                continue;
            }
        };
        match value {
            Value::Null => {}
            Value::String(text) => *field = Some(text),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                faults.push(format!("{name}: must be a text"));
            }
        }
    }
    if let Some(other) = reference.id.as_ref().filter(|other| *other != id.as_str()) {
        faults.push(format!("id: is '{other}', and the path names '{id}'"));
    }
    match (&reference.bundle_path, &reference.bundle) {
        (None, None) => faults.push(
            "bundle_path: is missing; name a tar.gz on the server's machine, or send one in base64 as \
             `bundle`"
                .to_owned(),
        ),
        (Some(_), Some(_)) => faults.push("bundle: is given beside bundle_path".to_owned()),
        (Some(path), None) if !path.starts_with('/') => {
            faults.push("bundle_path: must be absolute".to_owned());
        }
        _ => {}
    }
    if faults.is_empty() { Ok(reference) } else { Err(refused(faults)) }
}

async fn bundle(
    supervisor: &Supervisor,
    client: &ClientAddress,
    reference: BundleReference,
) -> Result<Body, Failure> {
    if let Some(text) = reference.bundle {
        let bytes = STANDARD.decode(text);
        return bytes
            .map(Body::from)
            .map_err(|_| refused(vec!["bundle: is not base64".to_owned()]));
    }
    let path = PathBuf::from(reference.bundle_path.unwrap_or_default());
    let mut roots: Vec<PathBuf> =
        supervisor.context().live().formations.bundle_roots.iter().map(PathBuf::from).collect();
    if client.ip.is_none_or(|ip| ip.is_loopback()) {
        roots.push(std::env::temp_dir());
        roots.extend(std::env::var_os("HOME").map(PathBuf::from).filter(|it| it.is_absolute()));
    }
    let opened = tokio::task::spawn_blocking(move || open(&path, &roots));
    let file = opened.await.expect("opening a bundle does not panic");
    let file = file.map_err(|fault| refused(vec![fault]))?;
    Ok(Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file))))
}

/// Opens a regular file below one of the folders; no link leads out of them.
fn open(path: &Path, roots: &[PathBuf]) -> Result<std::fs::File, String> {
    let below = roots.iter().find_map(|root| Some((root, path.strip_prefix(root).ok()?)));
    let Some((root, inner)) = below else {
        return Err(format!(
            "bundle_path: {} does not lie below a folder of formations.bundle_roots",
            path.display()
        ));
    };
    let mut options = OpenOptions::new();
    // Opening a pipe must not wait for somebody to write to it.
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits();
    let options = options.read(true).custom_flags(no_wait.cast_signed());
    let file = Dir::open_ambient_dir(root, ambient_authority())
        .and_then(|root| root.open_with(inner, options))
        .map_err(|error| format!("bundle_path: {} cannot be opened: {error}", path.display()))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file.into_std()),
        _ => Err(format!("bundle_path: {} is not a file", path.display())),
    }
}

fn refused(faults: Vec<String>) -> Failure {
    let message = match faults.as_slice() {
        [only] => format!("The request has a fault: {only}"),
        many => format!("The request has {} faults; see details", many.len()),
    };
    Failure { details: faults, ..Failure::new(ProblemKind::InvalidPayload, message) }
}
