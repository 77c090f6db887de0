//! The real binaries as separate processes, one module a scenario.

mod auth;
mod deploy;
mod hostile;
mod ports;
mod snapshot;
