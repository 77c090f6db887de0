//! The formation as its author wrote it.

use axum::extract::State;

use super::answer::Answer;
use super::auth::Admin;
use crate::app::App;

pub(crate) async fn formation(_: Admin, State(app): State<App>) -> Answer {
    Answer::new("formation_config", "formation.config.retrieved", &app.document)
}
