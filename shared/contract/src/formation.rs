//! `data` of a formation's answers, one file a resource. Times in seconds are Unix seconds with
//! fractions, as published clients read them; the others are ISO 8601 in UTC.

pub mod agents;
pub mod approvals;
pub mod artifacts;
pub mod audit;
pub mod background_jobs;
pub mod buffers;
pub mod config;
pub mod credentials;
pub mod explanation;
pub mod forget;
pub mod grants;
pub mod health;
pub mod history;
pub mod logging;
pub mod memories;
pub mod procedures;
pub mod requests;
pub mod scheduler;
pub mod secrets;
pub mod sessions;
pub mod status;
pub mod triggers;
pub mod usage;
pub mod users;
