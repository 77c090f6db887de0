//! Credentials that users gave.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::credentials::{
    Credential, CredentialDeleted, CredentialList, CredentialServices, NewCredential,
};

use super::parameters::User;

/// What asks for credentials of users
#[utoipa::path(get, path = "/v1/credentials/services", tag = "credentials", operation_id = "list_credential_services",
    security(("client" = []), ("admin" = [])),
    extensions(("x-answer" = json!("credential_list credentials.listed"))),
    responses((status = 200, description = "Nothing, in this version", body = Envelope<CredentialServices>)))]
pub(super) fn services() {}

/// A user's credentials, shown in part
#[utoipa::path(get, path = "/v1/credentials", tag = "credentials", operation_id = "list_credentials",
    security(("client" = []), ("admin" = [])), params(User),
    extensions(("x-answer" = json!("credential_list credentials.listed"))),
    responses((status = 200, description = "All of them", body = Envelope<CredentialList>)))]
pub(super) fn list() {}

/// Keep a credential
///
/// It is kept sealed, and no answer shows it whole. A user may have 100.
#[utoipa::path(post, path = "/v1/credentials", tag = "credentials", operation_id = "create_credential",
    security(("client" = []), ("admin" = [])), params(User),
    request_body(content = NewCredential, content_type = "application/json"),
    extensions(("x-answer" = json!("credential credentials.created"))),
    responses(
        (status = 201, description = "It is kept", body = Envelope<Credential>),
        (status = 409, description = "`DUPLICATE_RESOURCE`: the service has one of this name. `CONFLICT`: there are 100",
            body = Failure),
    ))]
pub(super) fn create() {}

/// One credential, shown in part
#[utoipa::path(get, path = "/v1/credentials/{id}", tag = "credentials", operation_id = "get_credential",
    security(("client" = []), ("admin" = [])),
    params(User, ("id" = String, Path, description = "The credential's id")),
    extensions(("x-answer" = json!("credential credentials.retrieved"))),
    responses((status = 200, description = "It is there", body = Envelope<Credential>)))]
pub(super) fn get() {}

/// Delete a credential
#[utoipa::path(delete, path = "/v1/credentials/{id}", tag = "credentials", operation_id = "delete_credential",
    security(("client" = []), ("admin" = [])),
    params(User, ("id" = String, Path, description = "The credential's id")),
    extensions(("x-answer" = json!("credential credentials.deleted"))),
    responses((status = 200, description = "It is gone", body = Envelope<CredentialDeleted>)))]
pub(super) fn delete() {}
