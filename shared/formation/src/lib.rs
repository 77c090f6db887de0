//! The bundle format: what a formation's folder holds, how it is checked, packed and unpacked.
//!
//! Invariants: [`load`] tells every fault of a bundle at once, each with its file, line and column;
//! what is documented but not built
//! is told, and refused by name where its absence would open something; never is it ignored; [`unpack`] is the only
//! extractor and leaves nothing behind when it fails; no message quotes a resolved secret.

mod check;
pub mod coding;
mod diagnostic;
mod filter;
mod folder;
pub mod interpolate;
mod load;
pub mod manifest;
mod pack;
pub mod pattern;
mod procedure;
mod schema;
mod skill;
mod tool_table;
mod trigger;
mod unpack;
mod yaml;

pub use coding::Coding;
pub use diagnostic::{Diagnostic, Severity};
pub use filter::{EffectiveFilter, Filtered, ToolFilter, Unmatched};
pub use interpolate::{Reference, Resolve, Source};
pub use load::{DEFAULT_SOUL, Loaded, limits, load};
pub use manifest::{
    A2a, Agent, Approvals, Attachment, Limits, Manifest, McpAuth, McpServer, McpTransport,
    ModelName, Overlord, Persistent, RemoteAgent, Workflow,
};
pub use pack::{PackError, PackOptions, Packed, pack};
pub use procedure::{Procedure, ProcedureMode, Step};
pub use skill::{Skill, SkillScope};
pub use tool_table::{AgentTools, tool_table};
pub use trigger::plain as plain_value;
pub use trigger::{FillError, Template, Trigger};
pub use unpack::{UnpackError, UnpackLimits, Unpacked, unpack, unpack_tree};

/// The names a manifest may have, in the folder's root.
pub const MANIFEST_NAMES: [&str; 3] = ["formation.afs", "formation.yaml", "formation.yml"];
