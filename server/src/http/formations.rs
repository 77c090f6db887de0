//! `/rpc/formations`: the list, one, delete.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use muxi_contract::FormationId;
use muxi_contract::answers::FormationList;
use muxi_contract::management::{
    FormationStatus, FormationView, GenerationRole, GenerationView, Success, VersionView,
};

use super::ending::answer;
use super::error::Failure;
use crate::proxy::routes::Published;
use crate::sandbox;
use crate::store::formations::{self, Formation};
use crate::store::generations::{self, Generation};
use crate::store::operations::OperationKind;
use crate::supervisor::Supervisor;
use crate::supervisor::lifecycle::DesiredState;

/// The id in a path, before it is known to be one.
pub(super) type IdInPath = Result<Path<FormationId>, PathRejection>;

pub(super) async fn list(
    State(supervisor): State<Supervisor>,
) -> Result<Json<Success<FormationList>>, Failure> {
    let stored = supervisor.context().store.read(formations::all).await?;
    let formations: Vec<_> = stored.into_iter().map(|it| view(&supervisor, it)).collect();
    let data = FormationList { total: formations.len(), formations };
    Ok(Json(Success { success: true, data }))
}

pub(super) async fn one(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
) -> Result<Response, Failure> {
    let id = known(id)?;
    let read = supervisor
        .context()
        .store
        .read(move |db| Ok((formations::get(db, &id)?, generations::of(db, &id)?)));
    let (stored, generations) = read.await?;
    let stored = stored.ok_or_else(Failure::unknown_formation)?;
    let tag = HeaderValue::from_str(&format!("\"{}\"", stored.generation())).ok();
    let kept = kept(&stored, &generations);
    let previous = stored.previous_generation;
    let (limits, sandbox) = sandbox::view(supervisor.context(), &stored).await?;
    let held = sandbox::hold_reason(supervisor.context(), &stored.id).await?;
    let mut data = view(&supervisor, stored);
    (data.limits, data.sandbox) = (Some(limits), sandbox);
    data.reason = held.or(data.reason);
    data.version.previous =
        generations.into_iter().find(|it| Some(it.number) == previous).map(|it| it.bundle_sha256);
    data.generations = kept;
    let mut answer = Json(Success { success: true, data }).into_response();
    if let Some(tag) = tag {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    Ok(answer)
}

pub(super) async fn delete(
    State(supervisor): State<Supervisor>,
    id: IdInPath,
) -> Result<Response, Failure> {
    let operation = supervisor.delete(&known(id)?).await?;
    answer(&supervisor, OperationKind::Delete, operation).await
}

/// An id that cannot be one is simply not found.
pub(super) fn known(id: IdInPath) -> Result<FormationId, Failure> {
    id.map(|Path(id)| id).map_err(|_| Failure::unknown_formation())
}

fn view(supervisor: &Supervisor, stored: Formation) -> FormationView {
    let context = supervisor.context();
    let published = context.routes.get(&stored.id);
    let published = published.as_deref();
    let since = published.and_then(|it| it.since);
    // Its actor has not spoken yet, or has spoken its last word.
    let leaving = stored.desired.state == DesiredState::Removed;
    let unpublished = if leaving { FormationStatus::Stopping } else { FormationStatus::Starting };
    let uptime = since.map_or(0, |since| context.clock.now().duration_since(since).as_secs());
    let generation = stored.generation();
    FormationView {
        name: stored.name,
        status: published.map_or(unpublished, |it| it.status),
        port: stored.port,
        pid: published.and_then(|it| it.pid).unwrap_or(0),
        uptime: u64::try_from(uptime).unwrap_or(0),
        restart_count: stored.restart_count,
        healthy: published.and_then(|it| it.healthy),
        created_at: rfc3339(stored.created_at_ms),
        deployed_at: rfc3339(stored.deployed_at_ms),
        updated_at: since.map_or_else(|| rfc3339(stored.updated_at_ms), |it| it.to_string()),
        version: VersionView {
            generation,
            current: stored.bundle_sha256,
            previous: None,
            semantic: stored.version,
        },
        generations: Vec::new(),
        rollout: published.and_then(|it: &Published| it.rollout.clone()),
        reason: published.and_then(|it: &Published| it.reason.clone()),
        limits: None,
        sandbox: None,
        id: stored.id,
    }
}

fn kept(formation: &Formation, generations: &[Generation]) -> Vec<GenerationView> {
    let role = |it: &Generation| {
        if it.number == formation.generation() {
            let on_trial = formation.fallback.is_some();
            if on_trial { GenerationRole::OnTrial } else { GenerationRole::Current }
        } else if formation.fallback.is_some_and(|fallback| fallback.generation == it.number) {
            GenerationRole::Current
        } else if formation.previous_generation == Some(it.number) {
            GenerationRole::Previous
        } else {
            GenerationRole::Kept
        }
    };
    let views = generations.iter().map(|it| GenerationView {
        generation: it.number,
        role: role(it),
        version: it.version.clone(),
        bundle_sha256: it.bundle_sha256.clone(),
        created_at: rfc3339(it.created_at_ms),
    });
    views.collect()
}

pub(super) fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
