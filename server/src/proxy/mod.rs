//! `/api/{id}/…` and its like: passes requests to the formation's instance and answers back, byte by
//! byte.
//!
//! It reads a snapshot of the route table and never waits for the supervisor; a request that waits
//! for an instance waits for the next snapshot. Whatever a client opens is bounded: what waits, what
//! a formation works on, and what is upgraded.

mod breaker;
mod flow;
mod gate;
mod headers;
mod hold;
pub mod observe;
mod refusal;
pub mod routes;
mod tunnel;
mod unix;
mod upload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::any;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use muxi_contract::{FormationId, RequestId};
use muxi_service::{TaskKind, cors, request_id};
use tokio::sync::Notify;

pub use self::gate::Gate;

use self::flow::{Download, Flow};
use self::gate::Slot;
use self::hold::Hold;
use self::refusal::Refusal;
use self::routes::{Routes, Upstream};
use self::tunnel::Tunnel;
use self::upload::{Lender, Upload};
use crate::client_address::ClientAddress;
use crate::config::Config;
use crate::percent;
use crate::supervisor::{Context, Supervisor};

/// A prefix under which formations are reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    /// What stands before the id, slashes included.
    prefix: &'static str,
    /// Where its formations are found.
    routes: fn(&Context) -> &Routes,
    /// What stands before the rest of the path at the formation.
    inside: &'static str,
}

/// The formation itself.
pub(crate) const API: Door =
    Door { prefix: "/api/", routes: |context| &context.routes, inside: "" };
/// The formation's draft, while it runs.
pub(crate) const DRAFT: Door =
    Door { prefix: "/draft/", routes: |context| &context.drafts, inside: "" };
/// The same formation's MCP endpoint.
pub(crate) const MCP: Door =
    Door { prefix: "/mcp/", routes: |context| &context.routes, inside: "/mcp" };

/// The routes of some doors, with what browsers need to use them.
pub(crate) fn router(supervisor: &Supervisor, doors: &[Door]) -> Router<Supervisor> {
    let routes = doors.iter().fold(Router::new(), |router, door| {
        let (door, prefix) = (*door, door.prefix);
        let pass = any(move |State(supervisor): State<Supervisor>, request: Request| async move {
            forward(&supervisor, door, request).await
        });
        router
            .route(&format!("{prefix}{{id}}"), pass.clone())
            .route(&format!("{prefix}{{id}}/"), pass.clone())
            .route(&format!("{prefix}{{id}}/{{*rest}}"), pass)
    });
    let cors = |State(supervisor): State<Supervisor>, request: Request, next: Next| async move {
        cors::layer(State(supervisor.context().live.cors()), request, next).await
    };
    routes.layer(from_fn_with_state(supervisor.clone(), cors))
}

/// A request, ready to be sent to whichever instance there is.
struct Outgoing {
    parts: Parts,
    /// The client's side of a connection that is to be upgraded, with its place among them.
    upgrade: Option<(OnUpgrade, Slot)>,
    awaits_permission: bool,
    begun: Instant,
}

/// What became of one try.
enum Sent {
    Answered(hyper::Response<Incoming>),
    /// Nobody was there, or may be asked; the body is as it was.
    Unsent(Upload, Refusal),
    /// The instance broke off what can be asked again without harm; the body is as it was.
    Broken(Upload, Refusal),
}

/// Streams both ways; a client that leaves drops the upstream connection and so cancels its work.
async fn forward(supervisor: &Supervisor, door: Door, request: Request) -> Response {
    let context = supervisor.context();
    let routes = (door.routes)(context);
    let config = context.live();
    let (name, path) = split(door, &request);
    let request_id = request.extensions().get::<RequestId>().cloned();
    let sdk_latest = headers::sdk_latest(request.headers(), &config.sdk.latest);
    let id = name.parse::<FormationId>().ok();
    let passed = match &id {
        Some(id) => pass(context, &config, routes, id, &path, request).await,
        None => Err(Refusal::Unknown),
    };
    let mut response = passed.unwrap_or_else(|refusal| {
        if let Some(gate) = id.and_then(|id| routes.gate(&id)) {
            gate.traffic.on_refused(refusal.name());
        }
        refusal.into_response(&name, request_id.as_ref())
    });
    if let Some(version) = sdk_latest {
        response.headers_mut().insert(headers::MUXI_SDK_LATEST, version);
    }
    response
}

async fn pass(
    context: &Context,
    config: &Config,
    routes: &Routes,
    id: &FormationId,
    path: &str,
    request: Request,
) -> Result<Response, Refusal> {
    if is_private(path) {
        return Err(Refusal::Private);
    }
    let mut hold = Hold::new(context, routes, &config.proxy, id)?;
    let (outgoing, mut upload) = Outgoing::new(request, path, routes, config)?;
    let cap = config.concurrency(id);
    let mut is_repeated = false;
    loop {
        let upstream = hold.upstream(&mut upload).await?;
        let active = hold.gate().active.take(cap).ok_or(Refusal::Busy { cap })?;
        let flow = Flow::new(Arc::clone(hold.gate()), active, upload.meter(), outgoing.begun);
        match outgoing.send(context, config, &upstream, upload).await? {
            Sent::Answered(response) => return outgoing.finish(context, config, response, flow),
            Sent::Unsent(unsent, refusal) => {
                drop(flow);
                upload = unsent;
                // The supervisor may know by now, or in a moment, that another instance serves.
                if !hold.is_superseded(&upstream).await {
                    return Err(refusal);
                }
            }
            Sent::Broken(unsent, refusal) => {
                drop(flow);
                upload = unsent;
                // Once: what brings one instance down after the other is not asked without end.
                if is_repeated || !hold.is_superseded(&upstream).await {
                    return Err(refusal);
                }
                is_repeated = true;
            }
        }
    }
}

// === impl Outgoing ===

impl Outgoing {
    fn new(
        mut request: Request,
        path: &str,
        routes: &Routes,
        config: &Config,
    ) -> Result<(Self, Upload), Refusal> {
        let begun = Instant::now();
        let protocol = headers::upgrade(request.headers());
        let upgrade = match &protocol {
            Some(_) => {
                let slot = routes.upgrades().take(config.proxy.upgrades_max);
                let slot = slot.ok_or(Refusal::TooManyUpgrades)?;
                Some((hyper::upgrade::on(&mut request), slot))
            }
            None => None,
        };
        let (mut parts, body) = request.into_parts();
        parts.uri = Upstream::uri(path).map_err(|_| Refusal::BadPath)?;
        let client = parts.extensions.remove::<ClientAddress>().unwrap_or_default();
        let request_id = parts.extensions.remove::<RequestId>();
        headers::prepare_request(&mut parts.headers, &client, request_id.as_ref());
        if let Some(protocol) = protocol {
            headers::set_upgrade(&mut parts.headers, protocol);
        }
        parts.extensions.clear();
        let awaits_permission = headers::awaits_permission(&parts.headers);
        Ok((Self { parts, upgrade, awaits_permission, begun }, Upload::new(body)))
    }

    async fn send(
        &self,
        context: &Context,
        config: &Config,
        upstream: &Upstream,
        mut upload: Upload,
    ) -> Result<Sent, Refusal> {
        let mut attempt = match upstream.attempt(&context.steady, config.proxy.breaker) {
            Ok(attempt) => attempt,
            Err(wait_ms) => return Ok(Sent::Unsent(upload, Refusal::Open { wait_ms })),
        };
        let permission = self.awaits_permission.then(|| Arc::new(Notify::new()));
        if let Some(permission) = &permission {
            upload.await_permission(Arc::clone(permission));
        }
        let (meter, lender) = (upload.meter(), Lender::default());
        let mut request = Request::from_parts(self.parts.clone(), lender.lend(upload));
        if let Some(permission) = permission {
            hyper::ext::on_informational(&mut request, move |answer| {
                if answer.status() == StatusCode::CONTINUE {
                    permission.notify_one();
                }
            });
        }
        let patience = Duration::from_millis(config.limits.proxy_head_ms);
        let Ok(answer) = tokio::time::timeout(patience, upstream.send(request)).await else {
            attempt.failed();
            return Err(Refusal::TooSlow);
        };
        let error = match answer {
            Ok(response) => {
                attempt.answered();
                return Ok(Sent::Answered(response));
            }
            Err(error) => error,
        };
        // A client that left, or a manager without descriptors, says nothing of the instance.
        if !meter.is_broken() && !routes::is_ours(&error) {
            attempt.failed();
        }
        match lender.take_back() {
            Some(upload) if error.is_connect() => {
                return Ok(Sent::Unsent(upload, Refusal::NoAnswer));
            }
            // A dying instance still takes connections that it never reads.
            Some(upload) if self.parts.method.is_safe() && self.upgrade.is_none() => {
                return Ok(Sent::Broken(upload, Refusal::NoAnswer));
            }
            _ => {}
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "no answer");
        Err(Refusal::NoAnswer)
    }

    /// The answer as the client gets it.
    fn finish(
        self,
        context: &Context,
        config: &Config,
        mut response: hyper::Response<Incoming>,
        mut flow: Flow,
    ) -> Result<Response, Refusal> {
        let protocol = headers::upgrade(response.headers());
        headers::remove_hop_by_hop(response.headers_mut());
        flow.answered(response.status().as_u16());
        // The formation may have settled on an id that the body named.
        let settled = response.headers().get(&request_id::HEADER).and_then(|it| it.to_str().ok());
        if let Some(id) = settled.and_then(|text| text.parse::<RequestId>().ok()) {
            response.extensions_mut().insert(id);
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.map(|body| Body::new(Download::new(body, flow))));
        }
        // An instance that changes the protocol unasked cannot be understood any more.
        let ((client, slot), protocol) = self.upgrade.zip(protocol).ok_or(Refusal::NoAnswer)?;
        let instance = hyper::upgrade::on(&mut response);
        let idle = Duration::from_millis(config.proxy.upgrade_idle_ms);
        let tunnel = Tunnel { client, instance, flow, slot, idle };
        let closing = context.shutdown.closing.clone();
        context.tasks.spawn(TaskKind::Connection, "upgraded connection", tunnel.run(closing));
        headers::set_upgrade(response.headers_mut(), protocol);
        Ok(response.map(|_| Body::empty()))
    }
}

// === private helpers ===

/// The id and the path at the formation with its query; nothing is decoded.
fn split(door: Door, request: &Request) -> (String, String) {
    let raw = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let raw = raw.strip_prefix(door.prefix).unwrap_or(raw);
    let end = raw.find(['/', '?']).unwrap_or(raw.len());
    let (id, rest) = raw.split_at(end);
    let needs_slash = door.inside.is_empty() && !rest.starts_with('/');
    let slash = if needs_slash { "/" } else { "" };
    (id.to_owned(), format!("{}{slash}{rest}", door.inside))
}

/// Whether a path could reach the private routes, however it is written.
fn is_private(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    let decoded = percent::decode(path);
    decoded.split(['/', '\\']).any(|segment| segment.eq_ignore_ascii_case("_instance"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_routes_are_out_of_reach() {
        for path in [
            "/_instance/retire",
            "//_instance/x",
            "/a/../_instance/x",
            "/%5Finstance/x",
            "/_INSTANCE",
        ] {
            assert!(is_private(path), "{path}");
        }
        assert!(!is_private("/v1/chat?x=_instance") && !is_private("/v1/_instances"));
    }

    #[test]
    fn paths_are_passed_on_as_they_came() {
        for (door, path, id, rest) in [
            (API, "/api/hello", "hello", "/"),
            (API, "/api/hello/", "hello", "/"),
            (API, "/api/hello?x=1", "hello", "/?x=1"),
            (API, "/api/hello/v1/a%2Fb%3F?q=%20", "hello", "/v1/a%2Fb%3F?q=%20"),
            (API, "/api/hello//x", "hello", "//x"),
            (MCP, "/mcp/hello", "hello", "/mcp"),
            (MCP, "/mcp/hello?x=1", "hello", "/mcp?x=1"),
            (MCP, "/mcp/hello/", "hello", "/mcp/"),
            (MCP, "/mcp/hello/a%2Fb", "hello", "/mcp/a%2Fb"),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(split(door, &request), (id.to_owned(), rest.to_owned()), "{path}");
        }
    }
}
