//! The secrets of the formation.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::secrets::{Secret, SecretChanged, SecretList, SecretsReloaded};
use utoipa::{IntoParams, ToSchema};

/// A new secret.
#[derive(ToSchema)]
struct NewSecret {
    /// Kept in upper case, with `_` for whatever is no letter or digit. It must have one of these.
    #[schema(min_length = 1, max_length = 256, pattern = r"[^\W_]", example = "OPENAI_API_KEY")]
    key: String,
    #[schema(min_length = 1, max_length = 65_536, pattern = r"\S", format = Password)]
    value: String,
}

/// A secret's new value.
#[derive(ToSchema)]
struct SecretValue {
    #[schema(min_length = 1, max_length = 65_536, pattern = r"\S", format = Password)]
    value: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
struct NamedSecret {
    /// The secret's name, in any spelling that is kept as the same one
    #[param(example = "OPENAI_API_KEY")]
    key: String,
}

/// The secrets, masked
///
/// Those of the bundle, and those that were set here, which win.
#[utoipa::path(get, path = "/v1/secrets", tag = "secrets", operation_id = "list_secrets",
    security(("admin" = [])),
    extensions(("x-answer" = json!("secret_list secret.list"))),
    responses((status = 200, description = "By name", body = Envelope<SecretList>)))]
pub(super) fn list() {}

/// Set a new secret
///
/// It is taken into use at once where that is possible; `effective` says so.
#[utoipa::path(post, path = "/v1/secrets", tag = "secrets", operation_id = "create_secret",
    security(("admin" = [])),
    request_body(content = NewSecret, content_type = "application/json"),
    extensions(("x-answer" = json!("secret secret.created"))),
    responses(
        (status = 201, description = "It is kept", body = Envelope<SecretChanged>),
        (status = 409, description = "`SECRET_EXISTS`: `PUT` replaces it", body = Failure),
    ))]
pub(super) fn create() {}

/// Take changed secrets into use
///
/// For files that were changed by hand. What is under way goes on with what it began with.
#[utoipa::path(post, path = "/v1/secrets/reload", tag = "secrets", operation_id = "reload_secrets",
    security(("admin" = [])),
    extensions(("x-answer" = json!("secret secret.reloaded"))),
    responses(
        (status = 200, description = "They are in use", body = Envelope<SecretsReloaded>),
        (status = 500, description = "`SECRETS_RELOAD_FAILED`: the bundle does not load with them, or has changed since the start; \
                                      or `INTERNAL_ERROR`",
            body = Failure),
    ))]
pub(super) fn reload() {}

/// One secret, masked
#[utoipa::path(get, path = "/v1/secrets/{key}", tag = "secrets", operation_id = "get_secret",
    security(("admin" = [])), params(NamedSecret),
    extensions(("x-answer" = json!("secret secret.retrieved"))),
    responses((status = 200, description = "It is there", body = Envelope<Secret>)))]
pub(super) fn get() {}

/// Replace a secret
#[utoipa::path(put, path = "/v1/secrets/{key}", tag = "secrets", operation_id = "replace_secret",
    security(("admin" = [])), params(NamedSecret),
    request_body(content = SecretValue, content_type = "application/json"),
    extensions(("x-answer" = json!("secret secret.updated"))),
    responses((status = 200, description = "It is kept", body = Envelope<SecretChanged>)))]
pub(super) fn replace() {}

/// Delete a secret
#[utoipa::path(delete, path = "/v1/secrets/{key}", tag = "secrets", operation_id = "delete_secret",
    security(("admin" = [])), params(NamedSecret),
    extensions(("x-answer" = json!("secret secret.deleted"))),
    responses(
        (status = 200, description = "It is gone", body = Envelope<SecretChanged>),
        (status = 400, description = "`OPERATION_FAILED`: it is part of the bundle", body = Failure),
        (status = 409, description = "`SECRET_IN_USE`: the bundle refers to it", body = Failure),
    ))]
pub(super) fn delete() {}
