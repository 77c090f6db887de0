//! The real binaries as separate processes, one module a scenario.

mod auth;
mod backup;
mod configuration;
mod crash;
mod departures;
mod deploy;
mod disk_full;
mod doctor;
mod hostile;
mod local_model;
mod manager_kill9;
mod observe;
mod ports;
mod proxy;
mod raw;
mod reload;
mod rollout;
mod service;
mod shutdown;
mod snapshot;
mod tls;
mod zero_downtime;
