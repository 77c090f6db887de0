//! Bundles come in: `POST /rpc/formations` deploys, `PUT /rpc/formations/{id}` updates.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use muxi_contract::FormationId;
use muxi_contract::management::{ProblemKind, Progress, Stage};
use muxi_service::{TaskKind, sse};
use tokio_util::sync::CancellationToken;

use super::ending::told;
use super::error::Failure;
use super::formations::{IdInPath, known};
use super::operations::{failure_frame, frame, frames_after, outcome, stream as event_stream};
use crate::acts::Expected;
use crate::bundles::{self, Upload};
use crate::drafts::Claimed;
use crate::sandbox;
use crate::store::operations::{OperationEvent, OperationKind};
use crate::store::{StoreError, formations};
use crate::supervisor::Supervisor;

/// What a bundle is to become.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
    Deploy,
    Update(FormationId),
}

/// A bundle on the disk, and the draft that it was made of.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) upload: Upload,
    pub(super) draft: Option<Claimed>,
}

pub(super) const GZIP_TYPES: [&str; 3] =
    ["application/gzip", "application/x-gzip", "application/octet-stream"];

/// The body is the tarball; the answer comes when the formation is healthy, as JSON or as progress.
pub(super) async fn deploy(
    State(supervisor): State<Supervisor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let checked = check_deploy(&supervisor, &headers).await;
    let streamed = sse::is_asked_for(&headers);
    upload(supervisor, Purpose::Deploy, checked, &headers, body, streamed).await
}

/// The body is the tarball; what served before serves until the new generation does.
pub(super) async fn update(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let id = known(id)?;
    let checked = check_update(&supervisor, &id, &headers).await;
    let streamed = sse::is_asked_for(&headers);
    upload(supervisor, Purpose::Update(id), checked, &headers, body, streamed).await
}

pub(super) async fn upload(
    supervisor: Supervisor,
    purpose: Purpose,
    checked: Result<Expected, Failure>,
    headers: &HeaderMap,
    body: Body,
    streamed: bool,
) -> Result<Response, Failure> {
    let expected = match checked {
        Ok(expected) => expected,
        Err(refused) => {
            if !headers.contains_key(header::EXPECT) {
                muxi_service::discard(body.into_data_stream()).await;
            }
            return Err(refused);
        }
    };
    let context = supervisor.context();
    let permit = context.deploys.acquire().await.expect("the semaphore is never closed");
    let upload = bundles::receive(body, &context.layout, &context.live().limits).await?;
    drop(permit);
    apply(supervisor, upload.into(), purpose, expected, streamed).await
}

/// Deploys or updates with a bundle that is on the disk.
pub(super) async fn apply(
    supervisor: Supervisor,
    source: Source,
    purpose: Purpose,
    expected: Expected,
    streamed: bool,
) -> Result<Response, Failure> {
    if streamed {
        return Ok(apply_streamed(supervisor, source, purpose, expected));
    }
    let kind = match purpose {
        Purpose::Deploy => OperationKind::Deploy,
        Purpose::Update(_) => OperationKind::Update,
    };
    let (operation, tidied) = prepare_and_begin(&supervisor, source, purpose, expected).await?;
    let completed = outcome(&supervisor, operation).await;
    tidied.cancelled().await;
    Ok(told(kind, completed?))
}

/// The stream begins once the body is whole; from there on failures are its last frame.
fn apply_streamed(
    supervisor: Supervisor,
    source: Source,
    purpose: Purpose,
    expected: Expected,
) -> Response {
    // What was packed here is not told to be extracted.
    let begin = if source.draft.is_some() {
        Progress::new(Stage::Validating, "Checking the draft")
    } else {
        Progress::new(Stage::Extracting, "Unpacking and checking the bundle")
    };
    let first = frame(&OperationEvent::Progress(begin));
    let rest = async move {
        match prepare_and_begin(&supervisor, source, purpose, expected).await {
            Ok((operation, tidied)) => {
                frames_after(&supervisor, operation, 0, tidied).left_stream()
            }
            Err(failure) => {
                let unpacking = failure.kind == ProblemKind::BundleRejected;
                let stage = if unpacking { Stage::Extracting } else { Stage::Validating };
                let frame = failure_frame(failure, stage);
                stream::once(std::future::ready(frame)).right_stream()
            }
        }
    };
    event_stream(stream::once(std::future::ready(first)).chain(stream::once(rest).flatten()))
}

async fn prepare_and_begin(
    supervisor: &Supervisor,
    Source { upload, draft }: Source,
    purpose: Purpose,
    expected: Expected,
) -> Result<(String, CancellationToken), Failure> {
    let context = supervisor.context();
    let (layout, limits) = (context.layout.clone(), context.live().limits);
    let permit = context.deploys.acquire().await.expect("the semaphore is never closed");
    let prepared = tokio::task::spawn_blocking(move || bundles::prepare(upload, &layout, &limits))
        .await
        .expect("preparing a bundle does not panic")?;
    drop(permit);
    let bytes_max = sandbox::bundle_bytes_max(&context.live(), &prepared.loaded.manifest.id);
    prepared.fits(bytes_max)?;
    for warning in &prepared.loaded.warnings {
        tracing::warn!(formation = %prepared.loaded.manifest.id, "{warning}");
    }
    let begun = match purpose {
        Purpose::Deploy => supervisor.deploy(prepared, expected).await,
        Purpose::Update(id) => supervisor.update(&id, prepared, expected).await,
    };
    let operation = begun?;
    let tidied = CancellationToken::new();
    let done = tidied.clone().drop_guard();
    if let Some(draft) = draft {
        // In a task of its own: the draft is deployed whether or not the client waits for it.
        let (of, named) = (supervisor.clone(), operation.clone());
        context.tasks.spawn(TaskKind::PerFormation, "deploy of a draft", async move {
            let _done = done;
            if outcome(&of, named).await.is_ok() {
                super::drafts::forget(&of, draft).await;
            }
        });
    }
    Ok((operation, tidied))
}

/// What can be refused before a possibly large body is read.
async fn check_deploy(supervisor: &Supervisor, headers: &HeaderMap) -> Result<Expected, Failure> {
    let content_type = text(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if !GZIP_TYPES.iter().any(|gzip| content_type.contains(gzip)) {
        return Err(Failure::new(
            ProblemKind::ValidationError,
            "Invalid Content-Type. Expected application/gzip with a formation bundle (tar.gz)",
        ));
    }
    let id = text(headers, "x-formation-id");
    if let Some(id) = &id {
        let id: FormationId = id.parse().map_err(|invalid| {
            let message = format!("Invalid X-Formation-ID: {invalid}");
            Failure::new(ProblemKind::ValidationError, message)
        })?;
        if exists(supervisor, &id).await? {
            return Err(StoreError::FormationExists(id.to_string()).into());
        }
    }
    Ok(Expected { id, version: text(headers, "x-formation-version"), generation: None })
}

/// The content type is not looked at: clients of the original send any.
pub(super) async fn check_update(
    supervisor: &Supervisor,
    id: &FormationId,
    headers: &HeaderMap,
) -> Result<Expected, Failure> {
    if !exists(supervisor, id).await? {
        return Err(Failure::unknown_formation());
    }
    Ok(Expected {
        id: Some(id.to_string()),
        version: text(headers, "x-formation-version"),
        generation: expected_generation(headers)?,
    })
}

/// `If-Match` with the entity tag of `GET /rpc/formations/{id}`, which is the generation.
pub(super) fn expected_generation(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(tag) = text(headers, header::IF_MATCH.as_str()).filter(|tag| tag != "*") else {
        return Ok(None);
    };
    tag.trim_matches('"').parse().map(Some).map_err(|_| {
        let message =
            format!("Invalid If-Match: `{tag}` is no generation; send for example \"3\", or *");
        Failure::new(ProblemKind::ValidationError, message)
    })
}

pub(super) async fn exists(supervisor: &Supervisor, id: &FormationId) -> Result<bool, Failure> {
    let asked = id.clone();
    Ok(supervisor.context().store.read(move |db| formations::exists(db, &asked)).await?)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    value.filter(|text| !text.is_empty()).map(str::to_owned)
}

// === impl Source ===

impl From<Upload> for Source {
    fn from(upload: Upload) -> Self {
        Self { upload, draft: None }
    }
}
