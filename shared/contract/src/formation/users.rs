//! Who is who: identifiers, and the persons whom they are linked to.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{MuxiUserId, UserId};

/// Whose person is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResolveUser {
    /// Anything but `0`, who is nobody. A person's own id is found, and never made.
    pub identifier: UserId,
    /// What kind of identifier it is, if it is new.
    #[schema(max_length = 256, pattern = r"\S", example = "email")]
    pub identifier_type: Option<String>,
    /// Whether a person is made for an identifier that has none; true if absent.
    pub create_user: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserResolved {
    /// As it was sent.
    pub identifier: String,
    pub muxi_user_id: MuxiUserId,
    /// Whether the person was made now.
    pub created: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserFound {
    /// As it was sent.
    pub identifier: String,
    pub muxi_user_id: MuxiUserId,
}

/// Identifiers that are one person's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkIdentifiers {
    /// Whose they are; a new person's if absent.
    pub muxi_user_id: Option<MuxiUserId>,
    #[schema(min_items = 1, max_items = 100)]
    pub identifiers: Vec<WrittenIdentifier>,
}

/// An identifier, by itself or with its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum WrittenIdentifier {
    Plain(UserId),
    /// Identifier and type.
    Pair(Vec<String>),
    Named {
        identifier: UserId,
        #[serde(rename = "type")]
        #[schema(max_length = 256, pattern = r"\S")]
        kind: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentifiersLinked {
    pub muxi_user_id: MuxiUserId,
    /// Those of the request.
    pub identifiers: Vec<LinkedIdentifier>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkedIdentifier {
    pub identifier: UserId,
    #[serde(rename = "type")]
    #[schema(example = "email")]
    pub kind: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentifierList {
    pub muxi_user_id: MuxiUserId,
    pub identifiers: Vec<Identifier>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identifier {
    pub identifier: UserId,
    #[serde(rename = "type")]
    #[schema(example = "email")]
    pub kind: Option<String>,
    /// When it was linked.
    #[schema(format = DateTime)]
    pub created_at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentifierUnlinked {
    pub message: String,
    /// The person whose it was.
    pub muxi_user_id: MuxiUserId,
}
