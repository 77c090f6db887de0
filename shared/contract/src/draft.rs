//! Drafts: formations that are edited on the manager and tried before they are deployed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /rpc/formations/{id}/draft/files`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DraftRequest {
    /// One of [`DraftAction`].
    pub action: String,
    /// Of `init`: one of [`DraftMode`].
    pub mode: String,
    /// Of a file or folder, relative to the draft.
    pub path: String,
    /// Of `write`.
    pub content: String,
    /// Of `content`: `utf-8` (the default) or `base64`.
    pub encoding: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DraftAction {
    Init,
    List,
    Read,
    Write,
    Delete,
    /// Makes the draft a deploy or an update; the answer is as there.
    Deploy,
    Discard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DraftMode {
    /// A small formation that can be deployed as it is.
    New,
    /// The files of the generation that serves.
    Clone,
}

/// Every JSON answer of the route, but those of deploys that have begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DraftReply {
    pub success: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DraftData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DraftErrorCode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Every fault, where there can be more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    pub draft: DraftState,
    pub live: LiveState,
}

/// What an action came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum DraftData {
    Made { action: DraftAction, mode: DraftMode },
    Entries { path: String, entries: Vec<DraftEntry> },
    Content { path: String, content: String, encoding: String },
    Written { path: String, size: u64, written: bool },
    Deleted { path: String, deleted: bool },
    Discarded { discarded: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DraftEntry {
    /// Of a folder with a slash at its end.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: DraftEntryKind,
    /// Of a file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DraftEntryKind {
    File,
    Dir,
}

/// The draft after the action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DraftState {
    pub exists: bool,
    /// The version of the formation that it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Of the process that runs it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// The formation beside the draft.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveState {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum DraftErrorCode {
    InvalidFormationID,
    InvalidJSON,
    InvalidAction,
    InvalidMode,
    InvalidPath,
    /// The content is not in the encoding that was named.
    DecodeError,
    /// The draft's files have faults; `details` lists them.
    ParseError,
    DraftNotFound,
    LiveNotFound,
    FileNotFound,
    DraftAlreadyExists,
    /// Another act on the formation, or a deploy of this draft, is under way.
    DeployConflict,
    /// A file, or the draft, passes a limit.
    TooLarge,
    CreateError,
    CopyError,
    ReadError,
    WriteError,
    DeleteError,
}

/// The body of `POST /rpc/dev/run`: one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DevRunRequest {
    /// A folder on the manager's machine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Runs this formation's draft.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub formation_id: String,
}

/// The body of `POST /rpc/dev/stop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DevStopRequest {
    pub formation_id: String,
}

/// The answer to `POST /rpc/dev/run`, which has no envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DevRun {
    pub success: bool,
    pub formation_id: String,
    /// 0 when it does not run.
    pub port: u16,
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The answer to `POST /rpc/dev/stop`, which has no envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DevStop {
    pub success: bool,
    pub formation_id: String,
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The JSON body of `POST …/{id}/deploy` and `…/{id}/update`, and of their streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleReference {
    /// If it is there, it must be that of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// A tar.gz on the manager's machine. Either this or `bundle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_path: Option<String>,
    /// A tar.gz in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
}

// === impl DraftErrorCode ===

impl DraftErrorCode {
    /// The HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidFormationID
            | Self::InvalidJSON
            | Self::InvalidAction
            | Self::InvalidMode
            | Self::InvalidPath
            | Self::DecodeError
            | Self::ParseError => 400,
            Self::DraftNotFound | Self::LiveNotFound | Self::FileNotFound => 404,
            Self::DraftAlreadyExists | Self::DeployConflict => 409,
            Self::TooLarge => 413,
            Self::CreateError
            | Self::CopyError
            | Self::ReadError
            | Self::WriteError
            | Self::DeleteError => 500,
        }
    }
}
