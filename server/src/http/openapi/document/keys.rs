//! Who may manage.

use muxi_contract::keys::{KeyList, KeyView, KeyWithSecret, NewKey, RotateKey};
use muxi_contract::management::Success;

/// All keys, those of config.yaml included, without their secrets
///
/// For keys with the role `admin`.
#[utoipa::path(get, path = "/rpc/keys", tag = "keys", operation_id = "list_keys",
    responses((status = 200, description = "All of them", body = Success<KeyList>)))]
pub(super) fn list() {}

/// Make a key
///
/// The secret is in this answer and in no other. For keys with the role `admin`.
#[utoipa::path(post, path = "/rpc/keys", tag = "keys", operation_id = "add_key",
    request_body = NewKey,
    responses((status = 201, description = "It counts from now on", body = Success<KeyWithSecret>)))]
pub(super) fn add() {}

/// Revoke a key
///
/// It is refused from the next request on. Keys of config.yaml and the last usable one with the role
/// `admin` stay (409). For keys with the role `admin`.
#[utoipa::path(delete, path = "/rpc/keys/{id}", tag = "keys", operation_id = "revoke_key",
    params(("id" = String, Path, description = "The key's id")),
    responses((status = 200, description = "It is revoked", body = Success<KeyView>)))]
pub(super) fn revoke() {}

/// Give a key a new secret
///
/// The secret is in this answer and in no other. With a `grace`, the old one is valid beside it for as
/// long. For keys with the role `admin`.
#[utoipa::path(post, path = "/rpc/keys/{id}/rotate", tag = "keys", operation_id = "rotate_key",
    params(("id" = String, Path, description = "The key's id")),
    request_body = RotateKey,
    responses((status = 200, description = "The new secret", body = Success<KeyWithSecret>)))]
pub(super) fn rotate() {}
