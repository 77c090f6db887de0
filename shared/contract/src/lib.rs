//! The wire of both tiers: what clients send and read, and what the manager hands to an instance.
//!
//! Invariants: no runtime and no server library is used here, so that a client, a test and both
//! binaries share one truth; nothing here does I/O or reads a clock.

pub mod answers;
pub mod audit;
pub mod chat;
pub mod confinement;
pub mod draft;
pub mod envelope;
pub mod events;
pub mod formation;
pub mod ids;
pub mod keys;
pub mod launch;
pub mod logs;
pub mod management;
pub mod proxy;
pub mod readiness;
pub mod server;
pub mod signature;

pub use envelope::{Envelope, ErrorBody, ErrorCode};
pub use ids::{FormationId, MuxiUserId, RequestId, SessionId, UserId};
