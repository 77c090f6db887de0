//! Files that were made for a user: listed, read, deleted.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use muxi_contract::ErrorCode;
use muxi_contract::formation::artifacts::{
    Artifact as Shown, ArtifactDeleted, ArtifactList, ArtifactVersions,
};
use muxi_memory::Artifact;

use super::answer::Answer;
use super::auth::{Caller, RequiredUser};
use super::disposition;
use super::error::Problem;
use super::path::Id;
use super::query::Parameters;
use super::users::time;
use crate::app::App;
use crate::artifacts::{KeepError, ReadError, url};
use crate::events::{Event, EventKind};

const LIMIT: u32 = 20;
const LIMIT_MAX: u32 = 100;
const ID: HeaderName = HeaderName::from_static("x-muxi-artifact-id");
const VERSION: HeaderName = HeaderName::from_static("x-muxi-artifact-version");
const UNKNOWN_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub(crate) async fn list(
    _: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = query.number("limit", 1..=LIMIT_MAX, LIMIT);
    query.finish()?;
    let (found, total) = app.store.for_user(&user).artifacts(limit).await?;
    let artifacts: Vec<Shown> = found.into_iter().map(shown).collect();
    let data = ArtifactList { count: artifacts.len(), artifacts, total };
    Ok(Answer::new("artifact_list", "artifact.list", &data))
}

pub(crate) async fn get(
    _: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let found = app.store.for_user(&user).artifact(&id).await?;
    let data = shown(found.ok_or_else(|| not_found(&id))?);
    Ok(Answer::new("artifact", "artifact.retrieved", &data))
}

pub(crate) async fn versions(
    _: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let found = app.store.for_user(&user).artifact_versions(&id).await?;
    let name = found.first().ok_or_else(|| not_found(&id))?.name.clone();
    let versions: Vec<Shown> = found.into_iter().map(shown).collect();
    let data = ArtifactVersions { name, count: versions.len(), versions };
    Ok(Answer::new("artifact_versions", "artifact.versions.retrieved", &data))
}

/// The bytes of the version with this id, or of another version of the same name.
pub(crate) async fn content(
    _: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut query = Parameters::of(&uri);
    let version = query.text("version").map(str::to_owned);
    let number = query.number("version", 1..=u32::MAX, 1);
    query.finish()?;
    let store = app.store.for_user(&user);
    let found = match version {
        Some(_) => {
            let versions = store.artifact_versions(&id).await?;
            versions.into_iter().find(|it| it.version == number)
        }
        None => store.artifact(&id).await?,
    };
    let found = found.ok_or_else(|| not_found(&id))?;
    store.artifact_was_read(&found.id, app.clock.now_ms()).await?;
    let tag = format!("\"{}\"", found.sha256);
    let mut response = if is_known(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let bytes = app.artifacts.read(&user, &found).await?;
        let mut response = Body::from(bytes).into_response();
        let kind = HeaderValue::from_str(&found.content_type).unwrap_or(UNKNOWN_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    };
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // What a model made must not act in the formation's name when a browser shows it.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        // Its user's own, and deleted when they say so.
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    let written = response.headers_mut();
    written.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    written.insert(VERSION, found.version.into());
    written.insert(header::CONTENT_DISPOSITION, disposition::inline(&found.name));
    // Both are made of letters and digits here.
    for (name, value) in [(ID, &found.id), (header::ETAG, &tag)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            written.insert(name, value);
        }
    }
    Ok(response)
}

pub(crate) async fn delete(
    _: Caller,
    RequiredUser(user): RequiredUser,
    State(app): State<App>,
    Id(id): Id,
) -> Result<Answer, Problem> {
    let found = app.store.for_user(&user).artifact(&id).await?;
    let Artifact { id, name, .. } = found.ok_or_else(|| not_found(&id))?;
    let versions = app.artifacts.delete(&user, &id).await?;
    let event = app.event(EventKind::ArtifactDeleted, "an artifact was deleted");
    let event = event.with("artifact_id", id.as_str());
    app.events.tell(Event { user: Some(user), ..event });
    let data = ArtifactDeleted { id, name, versions, deleted: true };
    Ok(Answer::new("artifact", "artifact.deleted", &data))
}

// === impl Problem ===

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        tracing::error!(error = ?error, "an artifact cannot be read");
        Self::new(ErrorCode::InternalError, error.to_string())
    }
}

impl From<KeepError> for Problem {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Store(error) => error.into(),
            KeepError::Safe(error) => error.into(),
            error @ (KeepError::Off
            | KeepError::TooLarge { .. }
            | KeepError::TooMany(_)
            | KeepError::Disk(_)) => {
                tracing::error!(error = ?error, "an artifact cannot be changed");
                Self::new(ErrorCode::InternalError, error.to_string())
            }
        }
    }
}

// === private helpers ===

fn shown(artifact: Artifact) -> Shown {
    Shown {
        url: url(&artifact.id),
        category: category(&artifact.content_type).to_owned(),
        id: artifact.id,
        name: artifact.name,
        version: artifact.version,
        is_latest: artifact.is_latest,
        parent_id: artifact.parent_id,
        content_type: artifact.content_type,
        summary: None,
        tags: Vec::new(),
        agent_id: artifact.agent,
        conversation_id: artifact.session,
        size_bytes: artifact.size_bytes,
        sha256: artifact.sha256,
        created_at: time(artifact.created_ms),
        updated_at: time(artifact.created_ms),
        last_accessed_at: time(artifact.accessed_ms),
    }
}

fn category(content_type: &str) -> &'static str {
    match content_type.split_once('/').unwrap_or_default() {
        ("image", _) => "image",
        ("audio", _) => "audio",
        ("video", _) => "video",
        ("text", "csv") | ("application", "json" | "xml" | "yaml") => "data",
        ("text", _) => "text",
        ("application", "pdf" | "msword") => "document",
        ("application", kind) if kind.starts_with("vnd.") => "document",
        _ => "other",
    }
}

/// Whether the caller has these bytes already (RFC 9110, weak comparison).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    given
        .flat_map(|it| it.split(','))
        .map(str::trim)
        .any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag)
}

fn not_found(id: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("artifact '{id}' was not found"))
}
