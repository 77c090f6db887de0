//! How a process of ours serves: both tiers listen, accept, stop and report in the same way.
//!
//! Invariants: every task has a name, an owner and an end; every connection has a bound on its
//! header, and all of them together have a bound on their number; nothing here knows a route.

pub mod accept;
pub mod clock;
pub mod cors;
pub mod handoff;
pub mod listen;
pub mod openapi;
mod refused;
pub mod request_id;
pub mod shutdown;
pub mod sse;
mod stall;
pub mod tasks;
pub mod telemetry;
pub mod unix_path;

pub use clock::Clock;
pub use refused::discard;
pub use shutdown::{Shutdown, Signals};
pub use tasks::{TaskGroup, TaskKind};
