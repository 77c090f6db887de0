//! The command line `muxi` against real managers and real formations: what it prints, and how it ends.

mod deploy;
mod harness;
mod remote;
