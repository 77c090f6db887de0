//! A page for people who open the formation's address in a browser.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;

use crate::app::App;

pub(crate) async fn up(State(app): State<App>) -> (StatusCode, Html<String>) {
    let (code, word, colour) = match app.store.ping().await {
        Ok(()) => (StatusCode::OK, "Up", "#15803d"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "Down", "#b91c1c"),
    };
    let id = app.manifest.id.as_str();
    // A formation's id has no character that HTML would mind.
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{id}: {word}</title>\
         <body style=\"margin:0;min-height:100vh;display:grid;place-content:center;\
         text-align:center;font:1.25rem system-ui;color:#fff;background:{colour}\">\
         <h1>{word}</h1><p>The formation <b>{id}</b> answers at <code>POST /v1/chat</code>.</p>"
    );
    (code, Html(page))
}
