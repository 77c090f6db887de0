//! The agent card, in the words of both versions of the protocol. Pure.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::HOST;
use muxi_formation::Manifest;
use muxi_formation::manifest::InboundAuth;
use serde_json::{Map, Value, json};

use crate::agents::Agent;
use crate::app::Parts;

const MODES: [&str; 2] = ["text/plain", "application/json"];

/// What the formation says of itself to other agents.
pub(super) fn card(
    manifest: &Manifest,
    agents: &[&Arc<Agent>],
    auth: &InboundAuth,
    address: &str,
) -> Value {
    let url = format!("{address}/a2a");
    let skills: Vec<Value> = agents.iter().map(|agent| skill(agent)).collect();
    let interface = |version: &str| json!({"url": url, "protocolBinding": "JSONRPC", "protocolVersion": version});
    let mut card = json!({
        "name": manifest.name.as_deref().unwrap_or(manifest.id.as_str()),
        "description": manifest.description,
        "version": manifest.version,
        "supportedInterfaces": [interface("1.0"), interface("0.3")],
        "protocolVersion": "0.3.0",
        "url": url,
        "preferredTransport": "JSONRPC",
        "capabilities": {"streaming": true, "pushNotifications": false},
        "defaultInputModes": MODES,
        "defaultOutputModes": MODES,
        "skills": skills,
    });
    let schemes = schemes(auth);
    if !schemes.is_empty() {
        // All of them at once, as both versions write it.
        let old: Map<String, Value> =
            schemes.keys().map(|name| (name.clone(), json!([]))).collect();
        let new: Map<String, Value> =
            schemes.keys().map(|name| (name.clone(), json!({"list": []}))).collect();
        card["security"] = json!([old]);
        card["securityRequirements"] = json!([{"schemes": new}]);
        card["securitySchemes"] = Value::Object(schemes);
    }
    card
}

/// Where callers reach the formation, as this one did.
pub(super) fn address(app: &Parts, headers: &HeaderMap) -> String {
    let field = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    let host = field("x-forwarded-host").or_else(|| field(HOST.as_str())).unwrap_or("localhost");
    let scheme = field("x-forwarded-proto").filter(|it| *it == "https").unwrap_or("http");
    // The manager's own prefix, which it takes away before the call gets here.
    let prefix = match field("x-muxi-server") {
        Some(_) => format!("/api/{}", app.manifest.id),
        None => String::new(),
    };
    format!("{scheme}://{host}{prefix}")
}

// === private helpers ===

fn skill(agent: &Agent) -> Value {
    let config = &agent.config;
    let own = &config.specialization;
    let tags =
        config.specialties.iter().chain(&own.keywords).chain(&config.specialization_keywords);
    json!({
        "id": config.id,
        "name": config.name.as_deref().unwrap_or(&config.id),
        "description": config.description,
        "tags": tags.collect::<Vec<_>>(),
    })
}

/// Each scheme in the form of version 0.3, with that of version 1.0 beside it.
fn schemes(auth: &InboundAuth) -> Map<String, Value> {
    let header = |name: &str, description: &str| {
        json!({
            "type": "apiKey", "in": "header", "name": name, "description": description,
            "apiKeySecurityScheme":
                {"location": "header", "name": name, "description": description},
        })
    };
    let http = |scheme: &str| json!({"type": "http", "scheme": scheme, "httpAuthSecurityScheme": {"scheme": scheme}});
    let named = |name: &str, scheme: Value| Map::from_iter([(name.to_owned(), scheme)]);
    match auth {
        InboundAuth::None => Map::new(),
        InboundAuth::ClientKey => {
            named("clientKey", header("X-Muxi-Client-Key", "The formation's client key."))
        }
        InboundAuth::ApiKey(it) => named("apiKey", header(&it.header, "A key.")),
        InboundAuth::Bearer(_) => named("bearer", http("Bearer")),
        InboundAuth::Basic(_) => named("basic", http("Basic")),
        InboundAuth::Custom(it) => {
            let schemes = it.headers.keys().enumerate();
            schemes
                .map(|(number, name)| (format!("header{number}"), header(name, "A key.")))
                .collect()
        }
        InboundAuth::Hmac(it) => {
            let signature = "HMAC-SHA256 in hexadecimal over `TIME.BODY` with the shared secret.";
            Map::from_iter([
                ("signature".to_owned(), header(&it.signature_header, signature)),
                ("timestamp".to_owned(), header(&it.timestamp_header, "Seconds since 1970.")),
            ])
        }
        InboundAuth::Openid(it) => {
            let url = format!("{}/.well-known/openid-configuration", it.issuer);
            let scheme = json!({
                "type": "openIdConnect", "openIdConnectUrl": url,
                "openIdConnectSecurityScheme": {"openIdConnectUrl": url},
            });
            named("openid", scheme)
        }
    }
}
