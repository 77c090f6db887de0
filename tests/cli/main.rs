//! The command line `muxi` against real managers and real formations: what it prints, and how it ends.

mod authoring;
mod belongings;
mod conversations;
mod deploy;
mod drafts;
mod harness;
mod operations;
mod parts;
mod registry;
mod remote;
mod running;
mod secrets;
