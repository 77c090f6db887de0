//! Credentials that users gave.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What asks for credentials of users. Always empty: nothing does in this version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialServices {
    pub services: Vec<CredentialService>,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialService {
    pub service: String,
    pub server_id: String,
    pub description: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialList {
    pub credentials: Vec<Credential>,
    pub count: usize,
}

/// A credential, shown in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    #[schema(example = "cred_V1StGXR8Z5jdHi6BmyTab")]
    pub credential_id: String,
    #[schema(example = "github")]
    pub service: String,
    pub name: String,
    /// Beginning and end of a token; `***redacted***` for short ones and for everything else.
    #[schema(example = "ghp_012*****XYZ")]
    pub credential_preview: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NewCredential {
    #[schema(max_length = 256, pattern = r"\S", example = "github")]
    pub service: String,
    /// Tells credentials for one service apart; as the service if absent.
    #[schema(max_length = 256, pattern = r"\S")]
    pub name: Option<String>,
    /// What is to be kept, in fields of the caller's choice; not empty, at most 16 KiB as JSON. Of a text in
    /// `token`, `access_token`, `api_key` or `key` a preview is shown.
    #[schema(value_type = Object, example = json!({"token": "ghp_0123456789abcdefXYZ"}))]
    pub credential: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialDeleted {
    pub credential_id: String,
    /// Always true.
    pub deleted: bool,
}
