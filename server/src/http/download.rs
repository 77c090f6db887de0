//! `/rpc/formations/{id}/download`: the formation's files as a zip.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use muxi_contract::FormationId;
use muxi_contract::management::ProblemKind;

use super::error::Failure;
use crate::download::{self, Archive};
use crate::store::formations;
use crate::supervisor::Supervisor;

/// `db=true` adds a consistent copy of the database; `generation` names an older bundle.
pub(super) async fn download(
    State(supervisor): State<Supervisor>,
    id: Result<Path<FormationId>, PathRejection>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let Ok(Path(id)) = id else { return Err(Failure::unknown_formation()) };
    let with_database = parameters.iter().any(|(name, value)| name == "db" && value == "true");
    let wanted = parameters.iter().find(|(name, _)| name == "generation");
    let wanted = wanted.map(|(_, value)| value.parse::<u64>()).transpose();
    let wanted = wanted.map_err(|_| {
        let message = "`generation` must be a number; GET /rpc/formations/{id} has them";
        Failure::new(ProblemKind::ValidationError, message)
    })?;
    let (context, asked) = (supervisor.context(), id.clone());
    let stored = context.store.read(move |db| formations::get(db, &asked)).await?;
    let generation = wanted.unwrap_or(stored.ok_or_else(Failure::unknown_formation)?.generation());
    let (layout, own) = (context.layout.clone(), id.clone());
    let archive = tokio::task::spawn_blocking(move || {
        download::prepare(&layout, &own, generation, with_database)
    });
    let archive = archive.await.expect("preparing a download does not panic")?;
    let headers = [
        (CONTENT_TYPE, "application/zip".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.zip\"")),
    ];
    Ok((headers, Body::from_stream(stream::unfold(archive, next))).into_response())
}

/// An error among the pieces breaks the connection, so that no client takes a part for the whole.
async fn next(mut archive: Archive) -> Option<(std::io::Result<bytes::Bytes>, Archive)> {
    let stepped = tokio::task::spawn_blocking(move || (archive.next(), archive)).await;
    let (piece, archive) = stepped.expect("making a piece does not panic");
    if let Some(Err(error)) = &piece {
        tracing::error!(%error, "a download broke off");
    }
    Some((piece?, archive))
}
