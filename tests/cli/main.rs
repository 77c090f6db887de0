//! The command line `muxi` against real managers and real formations: what it prints, and how it ends.

mod authoring;
mod belongings;
mod chat;
mod conversations;
mod deploy;
mod doctor;
mod drafts;
mod eval;
mod harness;
mod keeping;
mod operations;
mod parts;
mod quickstart;
mod registry;
mod remote;
mod running;
mod secrets;
mod terminal;
