//! What instances write to their standard output and standard error.
//!
//! An instance writes into two pipes. A process of its own, the log writer, moves what comes into
//! numbered segments, one folder a formation; it outlives a killed manager and ends with the
//! instance. Whatever lives in the folder is found again by name and number alone.
//!
//! Invariants: a segment holds whole lines only; it is appended to under the folder's lock and
//! never changed once there is a higher number; numbers are not used twice while the folder stands.

mod follow;
mod keeper;
mod line;
mod reader;
mod segments;
mod sweep;
mod writer;

pub use self::follow::{Follow, Followed};
pub(crate) use self::keeper::{Keeper, Outlet, adopt, open};
pub use self::line::stamp;
pub use self::reader::{CountCache, Selection, Tail, end, start_of_last, start_since, tail};
pub use self::segments::Rotation;
pub use self::sweep::sweep_hourly;
pub use self::writer::{ARGUMENT, write};

/// A log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read a log")]
pub struct ReadError(#[source] pub std::io::Error);
