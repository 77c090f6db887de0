//! The management API. Handlers read the request, call an act, and write the answer; what an
//! answer to a failure looks like is decided in `error` alone.

mod audit;
mod auth;
mod dev;
mod download;
mod drafts;
mod ending;
mod error;
mod events;
mod formations;
mod hashed_body;
mod keys;
mod logs;
mod metrics;
mod observe;
mod openapi;
mod operations;
mod replay;
mod rollouts;
mod room;
mod sdk;
mod server;
mod uploads;
mod webhooks;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::{delete, get, post, put};
use muxi_service::request_id;

use self::auth::discard;
use crate::client_address;
use crate::proxy;
use crate::supervisor::Supervisor;

/// Every route of the manager.
pub(crate) fn router(supervisor: &Supervisor) -> Router {
    let address = |State(supervisor): State<Supervisor>, request: Request, next: Next| async move {
        let trusted = supervisor.context().live.trusted();
        client_address::layer(State(trusted), request, next).await
    };
    // Set around what takes a body to the disk; methods that are added behind it stay free.
    let room = || from_fn_with_state(supervisor.clone(), room::layer);
    // As the published SDKs call it.
    let sdk_deploys = Router::new()
        .route("/rpc/formations/{id}/deploy", post(sdk::deploy))
        .route("/rpc/formations/{id}/deploy/stream", post(sdk::deploy_stream))
        .route("/rpc/formations/{id}/update", post(sdk::update))
        .route("/rpc/formations/{id}/update/stream", post(sdk::update_stream))
        .route_layer(room());
    let management = Router::new()
        .route("/rpc/formations", post(uploads::deploy).route_layer(room()).get(formations::list))
        .route(
            "/rpc/formations/{id}",
            put(uploads::update)
                .route_layer(room())
                .get(formations::one)
                .delete(formations::delete),
        )
        .route("/rpc/formations/{id}/start", post(rollouts::start))
        .route("/rpc/formations/{id}/start/stream", post(rollouts::start_stream))
        .route("/rpc/formations/{id}/stop", post(rollouts::stop))
        .route("/rpc/formations/{id}/restart", post(rollouts::restart))
        .route("/rpc/formations/{id}/restart/stream", post(rollouts::restart_stream))
        .route("/rpc/formations/{id}/rollback", post(rollouts::rollback))
        .route("/rpc/formations/{id}/rollback/stream", post(rollouts::rollback_stream))
        .route("/rpc/formations/{id}/cancel-update", post(rollouts::cancel_update))
        .route("/rpc/operations", get(operations::list))
        .route("/rpc/operations/{id}", get(operations::one))
        .route("/rpc/operations/{id}/stream", get(operations::one_stream))
        .route("/rpc/server/status", get(server::status))
        .route("/rpc/formations/{id}/logs", get(logs::logs))
        .route("/rpc/formations/{id}/download", get(download::download))
        .route(
            "/rpc/formations/{id}/draft/files",
            post(drafts::files).layer(DefaultBodyLimit::max(drafts::BODY_BYTES_MAX)),
        )
        .merge(sdk_deploys)
        .route("/rpc/formations/{id}/logs/stream", get(logs::stream))
        .route("/rpc/server/logs", get(audit::logs))
        .route("/rpc/audit", get(audit::list))
        .route("/rpc/keys", get(keys::list).post(keys::add))
        .route("/rpc/keys/{id}", delete(keys::revoke))
        .route("/rpc/keys/{id}/rotate", post(keys::rotate))
        .route("/rpc/events", get(events::list))
        .route("/rpc/webhooks", get(webhooks::list))
        .route("/rpc/webhooks/{id}/test", post(webhooks::test))
        .route("/rpc/webhooks/deliveries", get(webhooks::list_deliveries))
        .route("/rpc/webhooks/deliveries/{id}/retry", post(webhooks::retry))
        .route("/rpc/dev/run", post(dev::run))
        .route("/rpc/dev/stop", post(dev::stop))
        // Behind the routes, so that an unknown path is 404 before a key is asked for.
        .route_layer(from_fn_with_state(supervisor.clone(), auth::layer));
    let own = Router::new()
        .route("/health", get(server::health))
        .route("/ping", get(server::ping))
        .route("/ready", get(server::ready))
        .route("/openapi.json", get(openapi::openapi))
        .route("/docs", get(async || muxi_service::openapi::page()))
        .route(
            "/metrics",
            get(metrics::metrics).route_layer(axum::middleware::from_fn_with_state(
                supervisor.clone(),
                metrics::layer,
            )),
        )
        .merge(management)
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(supervisor.clone(), observe::managed));
    let proxied = Router::new()
        .merge(proxy::router(supervisor, &[proxy::API, proxy::DRAFT, proxy::MCP]))
        .layer(axum::middleware::from_fn_with_state(supervisor.clone(), observe::proxied));
    own.merge(proxied)
        .with_state(supervisor.clone())
        // Within what writes bodies, so that it sees which failure it was.
        .layer(from_fn_with_state(supervisor.clone(), audit::layer))
        // Gives failures their bodies, which name the request.
        .layer(axum::middleware::from_fn(error::render))
        // Who asks is known to all that follows.
        .layer(axum::middleware::from_fn_with_state(supervisor.clone(), address))
        // Outermost, so that every answer and every log line has the request's id.
        .layer(axum::middleware::from_fn(request_id::layer))
}
