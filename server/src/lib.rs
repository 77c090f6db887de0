//! The manager daemon: verifies and stores bundles, gives each formation a port, supervises its
//! process, and proxies to it.
//!
//! Invariants: the proxy never waits for the supervisor; only `supervisor::actor` changes an
//! instance; only `store` writes the database; only `supervisor::process` touches process ids;
//! nothing under `http` decides.

pub mod acts;
pub mod app;
pub mod ask;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod bundles;
pub mod client_address;
pub mod config;
pub mod control;
pub mod disk;
pub mod doctor;
pub mod download;
pub mod drafts;
mod http;
pub mod init;
pub mod jail;
pub mod layout;
mod listeners;
pub mod local;
pub mod logs;
pub mod metrics;
mod notify;
pub mod owner;
mod percent;
pub mod ports;
pub mod proxy;
pub mod ready;
pub mod reload;
pub mod running;
pub mod sandbox;
pub mod service;
pub mod store;
pub mod supervisor;
pub mod tls;
pub mod traces;
pub mod webhooks;

/// What this program calls itself on the wire.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
