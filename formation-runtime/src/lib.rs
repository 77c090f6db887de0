//! The process that serves one formation: chat, sessions and what is to be known about it.
//!
//! - [`load`] turns a bundle into a formation, or tells everything that is wrong with it.
//! - [`conversation`] runs turns; a turn is written down before anyone is told of it.
//! - [`team`] is who answers and with what: agents, procedures, tools.
//! - [`jobs`] is the work behind conversations: code that another program writes, jobs that are watched.
//! - [`http`] is the formation API; [`serve`] puts it on sockets, the process's own or a manager's.

pub mod activity;
pub mod agents;
pub mod app;
pub mod artifacts;
pub mod callers;
pub mod cli;
pub mod conversation;
pub mod document;
pub mod events;
pub mod http;
pub mod instance;
pub mod jobs;
pub mod keys;
pub mod limits;
pub mod load;
pub mod logging;
pub mod models;
pub mod procedures;
pub mod process;
pub mod redact;
pub mod remote_agents;
pub mod report;
pub mod safe;
pub mod scheduler;
pub mod secrets;
pub mod serve;
pub mod team;
pub mod toolbox;
pub mod tools;
pub mod usage;
pub mod webhooks;
