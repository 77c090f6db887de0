//! The command line `muxi` against real managers and real formations: what it prints, and how it ends.

mod authoring;
mod deploy;
mod drafts;
mod harness;
mod registry;
mod remote;
mod secrets;
