//! The real binary against the scripted model: what callers and a manager see.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod a2a;
mod admin;
mod answers;
mod api;
mod approving;
mod artifacts;
mod audio;
mod background_jobs;
mod chat;
mod clarifying;
mod collector;
mod consenting;
mod crashes;
mod credentials;
mod deciding;
mod document;
mod documented;
mod estimates;
mod events;
mod explained;
mod explaining;
mod files;
mod harness;
#[path = "../../tools/tests/mcp/hub.rs"]
mod hub;
mod isolation;
mod later;
mod leaving;
mod lifecycle;
mod load;
mod logging;
mod mcp;
mod memories;
mod postgres;
mod repeating;
mod requests;
mod sandbox;
mod scheduler;
mod secrets;
mod sessions;
mod tainting;
mod taking_over;
mod tools;
mod triggers;
mod turns;
mod usage;
mod users;
mod waiting;
mod watches;
