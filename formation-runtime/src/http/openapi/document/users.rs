//! Who is who: identifiers, and the persons whom they are linked to.

use muxi_contract::envelope::{Envelope, Failure};
use muxi_contract::formation::users::{
    IdentifierList, IdentifierUnlinked, IdentifiersLinked, LinkIdentifiers, ResolveUser, UserFound,
    UserResolved,
};

/// The person of an identifier, who is made if there is none
#[utoipa::path(post, path = "/v1/users/resolve", tag = "users", operation_id = "resolve_user",
    security(("client" = [])),
    request_body(content = ResolveUser, content_type = "application/json"),
    extensions(("x-answer" = json!("user user.resolved"))),
    responses(
        (status = 200, description = "The person", body = Envelope<UserResolved>),
        (status = 404, description = "`RESOURCE_NOT_FOUND`: there is none, and none is to be made", body = Failure),
    ))]
pub(super) fn resolve() {}

/// The person of an identifier
#[utoipa::path(get, path = "/v1/users/{identifier}", tag = "users", operation_id = "get_user",
    security(("client" = [])),
    params(("identifier" = String, Path, description = "An identifier, or the person's own id")),
    extensions(("x-answer" = json!("user user.resolved"))),
    responses((status = 200, description = "The person", body = Envelope<UserFound>)))]
pub(super) fn get() {}

/// Link identifiers to a person
///
/// From then on they are one user everywhere, whose things are those of the first identifier. All are linked, or none.
#[utoipa::path(post, path = "/v1/users/identifiers", tag = "users", operation_id = "link_identifiers",
    security(("client" = []), ("admin" = [])),
    request_body(content = LinkIdentifiers, content_type = "application/json"),
    extensions(("x-answer" = json!("user_identifier_list user.identifiers.associated"))),
    responses(
        (status = 200, description = "They are linked", body = Envelope<IdentifiersLinked>),
        (status = 404, description = "`RESOURCE_NOT_FOUND`: there is no such person", body = Failure),
        (status = 409, description = "`DUPLICATE_RESOURCE`: one is linked to another person", body = Failure),
    ))]
pub(super) fn link() {}

/// A person's identifiers
#[utoipa::path(get, path = "/v1/users/identifiers/{identifier}", tag = "users", operation_id = "list_identifiers",
    security(("client" = []), ("admin" = [])),
    params(("identifier" = String, Path, description = "The person's id, or any identifier of theirs")),
    extensions(("x-answer" = json!("user_identifier_list user.identifiers.list"))),
    responses((status = 200, description = "Oldest first", body = Envelope<IdentifierList>)))]
pub(super) fn list() {}

/// Unlink an identifier from its person
///
/// It leads back to where it led before. What was kept under the person's first identifier stays the person's.
#[utoipa::path(delete, path = "/v1/users/identifiers/{identifier}", tag = "users", operation_id = "unlink_identifier",
    security(("client" = []), ("admin" = [])),
    params(("identifier" = String, Path, description = "The identifier")),
    extensions(("x-answer" = json!("message user.identifier.deleted"))),
    responses((status = 200, description = "It is no longer linked", body = Envelope<IdentifierUnlinked>)))]
pub(super) fn unlink() {}
