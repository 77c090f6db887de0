//! Agents elsewhere, asked over the A2A protocol, versions 0.3 and 1.0, JSON-RPC binding.
//!
//! [`tool`] is the course of one question, [`client`] one call over HTTP under bounds, [`wire`] what both
//! versions write (pure), [`card`] what an agent says of itself (pure), and [`credentials`] how this
//! formation proves itself.

mod card;
mod client;
mod credentials;
mod error;
mod tool;
mod wire;

pub use self::credentials::{Credentials, sign};
pub use self::error::RemoteError;
pub use self::tool::{Remote, RemoteAgent};

/// Tells the next formation how many agents have asked each other on the way.
pub const DEPTH_HEADER: &str = "x-muxi-depth";
/// More of them ask in a circle.
pub const DEPTH_MAX: u8 = 5;
