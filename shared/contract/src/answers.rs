//! `data` of answers that have no other home.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::FormationId;
use crate::management::FormationView;

/// `GET /rpc/formations`, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FormationList {
    pub total: usize,
    pub formations: Vec<FormationView>,
}

/// A formation that is gone, with everything but its logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    pub id: FormationId,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stopped {
    pub id: FormationId,
    #[schema(example = "stopped")]
    pub status: String,
    pub message: String,
}

/// The end of a start or a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Started {
    pub id: FormationId,
    #[schema(example = "running")]
    pub status: String,
    pub message: String,
    pub restart_count: u32,
    pub port: u16,
    pub pid: u32,
}
