//! What to do next in a turn: pure decisions over agents, tools, procedures and plans.
//!
//! Invariants:
//! - Nothing here waits, reads a clock, asks a model or knows a database; what happened comes in as an
//!   event or an argument, and what is to be done goes out as a value.
//! - What a model wrote is read as data of no trust: bounded, checked, and replaced by a rule where it
//!   does not hold.
//! - The same input gives the same decision, and each decision says why.

pub mod approval;
pub mod clarification;
pub mod complexity;
pub mod delegation;
pub mod fence;
pub mod graph;
pub mod json_path;
pub mod loop_guard;
pub mod procedure;
pub mod routing;
mod text;
pub mod watch;
pub mod workflow;
