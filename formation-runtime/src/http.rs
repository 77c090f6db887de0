//! The formation API. Handlers read a request and hand it on; nothing here decides.

mod a2a;
mod agents;
mod answer;
mod approvals;
mod artifacts;
mod asking;
mod audit;
mod auth;
mod background_jobs;
mod body;
mod buffers;
mod chat;
mod chat_request;
mod config;
mod credentials;
mod disposition;
mod error;
mod events;
mod explanation;
mod fields;
mod forget;
mod formation;
mod grants;
mod health;
mod history;
mod idempotency;
mod instance;
mod job_request;
mod logging;
mod mcp;
mod memories;
mod memory_entry;
mod openapi;
mod page;
mod path;
mod procedures;
mod query;
mod requests;
mod restored;
mod scheduler;
mod secrets;
mod sessions;
mod status;
mod stream;
mod triggers;
mod unbuilt;
mod unread;
mod usage;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use muxi_service::cors::CorsPolicy;
use muxi_service::{cors, request_id};

use crate::activity::{self, OpenRequests};
use crate::app::App;
use crate::instance::SharedPort;

/// What the formation's port serves.
pub fn public(app: App, requests: &OpenRequests, origins: CorsPolicy) -> Router {
    let routes = layered(counted(routes(&app), requests), app)
        .layer(from_fn_with_state(Arc::new(origins), cors::layer));
    identified(routes)
}

/// What the private socket serves: the same, and the manager's own routes. What browsers need is
/// added by the manager there.
pub fn private(app: App, requests: &OpenRequests, port: SharedPort) -> Router {
    // The manager's questions are no work that it waits for.
    let steering = instance::routes(port, requests.clone());
    identified(layered(counted(routes(&app), requests).merge(steering), app))
}

fn counted(routes: Router, requests: &OpenRequests) -> Router {
    routes.layer(from_fn_with_state(requests.clone(), activity::layer))
}

/// The API, and its door for clients of the Model Context Protocol, which call it from within.
fn routes(app: &App) -> Router {
    let api = api(app);
    let door = mcp::Door::new(app, identified(layered(api.clone(), Arc::clone(app))));
    let methods = || get(mcp::serve).post(mcp::serve).delete(mcp::serve);
    api.merge(Router::new().route("/mcp", methods()).route("/mcp/", methods()).with_state(door))
}

fn api(app: &App) -> Router {
    unbuilt::routes()
        .route("/", get(page::up))
        .route("/v1", get(page::up))
        .route("/v1/", get(page::up))
        .route("/health", get(health::health))
        .route("/v1/health", get(health::health))
        .route("/openapi.json", get(openapi::openapi))
        .route("/docs", get(async || muxi_service::openapi::page()))
        .route("/v1/chat", post(chat::chat))
        .route("/v1/audiochat", post(chat::audio_chat))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{id}", get(sessions::get).delete(sessions::delete))
        .route("/v1/sessions/{id}/restore", post(sessions::restore))
        .route("/v1/sessions/{id}/messages", get(sessions::messages))
        .route("/v1/events", get(events::all))
        .route("/v1/events/{session}", get(events::of_session))
        .route("/v1/events/{session}/{request}", get(events::of_request))
        .route("/v1/logs", get(events::logs))
        .route("/v1/memory/buffer", get(buffers::get).delete(buffers::clear))
        .route("/v1/memory/buffer/{session}", delete(buffers::clear_session))
        .route("/v1/memory/buffers", get(buffers::list).delete(buffers::clear_all))
        .route("/v1/memory/stats", get(buffers::stats))
        .route("/v1/requests", get(requests::list))
        .route("/v1/requests/{id}", get(requests::get).delete(requests::cancel))
        .route("/v1/requests/{id}/explanation", get(explanation::get))
        .route("/v1/mcp/servers/{id}/grant", post(grants::begin))
        .route("/v1/mcp/grants", post(grants::finish))
        .route("/v1/approvals", get(approvals::list))
        .route("/v1/approvals/{id}", get(approvals::get).post(approvals::decide))
        .route("/v1/jobs", get(background_jobs::list))
        .route("/v1/jobs/{id}", get(background_jobs::get).delete(background_jobs::cancel))
        .route("/v1/jobs/{id}/logs", get(background_jobs::log))
        .route("/v1/usage", get(usage::get))
        .route("/v1/credentials/services", get(credentials::services))
        .route("/v1/credentials", get(credentials::list).post(credentials::create))
        .route("/v1/credentials/{id}", get(credentials::get).delete(credentials::delete))
        .route("/v1/artifacts", get(artifacts::list))
        .route("/v1/artifacts/{id}", get(artifacts::get).delete(artifacts::delete))
        .route("/v1/artifacts/{id}/versions", get(artifacts::versions))
        .route("/v1/artifacts/{id}/content", get(artifacts::content))
        .route("/v1/memories", get(memories::list).post(memories::create))
        .route("/v1/memories/batch", post(memories::batch))
        .route("/v1/memories/ingestion/{id}", get(memories::ingestion))
        .route("/v1/memories/provenance", get(memories::provenance))
        .route("/v1/memories/{id}", delete(memories::delete))
        .route("/v1/memory/forget", post(forget::forget))
        .route("/v1/memory/forget/{job}", get(forget::job))
        .route("/v1/history", get(history::history))
        .route("/v1/users/resolve", post(users::resolve))
        .route("/v1/users/{identifier}", get(users::get))
        .route("/v1/users/identifiers", post(users::link))
        .route("/v1/users/identifiers/{identifier}", get(users::list).delete(users::unlink))
        .route("/v1/triggers", get(triggers::list))
        .route("/v1/triggers/{name}", get(triggers::get).post(triggers::fire))
        .route("/v1/scheduler", get(scheduler::settings))
        .route("/v1/scheduler/jobs", get(scheduler::list).post(scheduler::create))
        .route(
            "/v1/scheduler/jobs/{id}",
            get(scheduler::get).put(scheduler::update).delete(scheduler::delete),
        )
        .route("/v1/scheduler/jobs/{id}/pause", post(scheduler::pause))
        .route("/v1/scheduler/jobs/{id}/resume", post(scheduler::resume))
        .route("/v1/status", get(status::status))
        .route("/v1/agents", get(agents::list))
        .route("/v1/agents/{id}", get(agents::get))
        .route("/v1/agents/{id}/skills", get(procedures::skills_of_agent))
        .route("/v1/sops", get(procedures::sops))
        .route("/v1/sops/{name}", get(procedures::sop))
        .route("/v1/skills", get(procedures::skills))
        .route("/v1/skills/{name}", get(procedures::skill))
        .route("/v1/formation", get(formation::formation))
        .route("/v1/config", get(config::config))
        .route("/v1/overlord", get(config::overlord))
        .route("/v1/overlord/soul", get(config::soul))
        .route("/v1/llm/settings", get(config::llm_settings))
        .route("/v1/async", get(config::asynchronous))
        .route("/v1/a2a", get(config::a2a))
        .route("/.well-known/agent-card.json", get(a2a::card))
        .route("/.well-known/agent.json", get(a2a::card))
        .route("/a2a", post(a2a::call))
        .route("/v1/memory", get(config::memory))
        .route("/v1/logging", get(logging::logging))
        .route("/v1/logging/destinations", get(logging::destinations))
        .route("/v1/mcp", get(config::mcp))
        .route("/v1/mcp/servers", get(config::mcp_servers))
        .route("/v1/mcp/servers/{id}", get(config::mcp_server))
        .route("/v1/mcp/tools", get(config::mcp_tools))
        .route("/v1/secrets", get(secrets::list).post(secrets::create))
        .route("/v1/secrets/reload", post(secrets::reload))
        .route("/v1/secrets/{key}", get(secrets::get).put(secrets::replace).delete(secrets::delete))
        .route("/v1/audit", get(audit::list).delete(audit::clear))
        .with_state(app.clone())
}

fn layered(routes: Router, app: App) -> Router {
    routes
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), idempotency::layer))
        // Inside the request id's layer, since answers carry the id.
        .layer(from_fn_with_state(app, answer::layer))
        .layer(from_fn(unread::layer))
}

/// Outermost: everything that happens to a request is logged under its id.
fn identified(routes: Router) -> Router {
    routes.layer(from_fn(request_id::layer))
}
