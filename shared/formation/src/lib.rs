//! The bundle format: what a formation's folder holds, how it is checked, packed and unpacked.
//!
//! Invariants: [`load`] tells every fault of a bundle at once, each with its file, line and column;
//! what is documented but not built is refused by name, never ignored; [`unpack`] is the only
//! extractor and leaves nothing behind when it fails; no message quotes a resolved secret.

mod check;
mod diagnostic;
mod folder;
pub mod interpolate;
mod load;
pub mod manifest;
mod pack;
mod schema;
mod trigger;
mod unpack;
mod yaml;

pub use diagnostic::{Diagnostic, Severity};
pub use interpolate::{Reference, Resolve, Source};
pub use load::{DEFAULT_SOUL, Loaded, limits, load};
pub use manifest::{Agent, Limits, Manifest, ModelName, Persistent};
pub use pack::{PackError, PackOptions, Packed, pack};
pub use trigger::{FillError, Template, Trigger};
pub use unpack::{UnpackError, UnpackLimits, Unpacked, unpack, unpack_tree};

/// The names a manifest may have, in the folder's root.
pub const MANIFEST_NAMES: [&str; 3] = ["formation.afs", "formation.yaml", "formation.yml"];
