//! The real binaries as separate processes, one module a scenario.

mod auth;
mod crash;
mod deploy;
mod hostile;
mod manager_kill9;
mod ports;
mod raw;
mod snapshot;
