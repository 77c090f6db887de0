//! Every operation's success, and every class of failure.

mod artifacts;
mod conversations;
mod failures;
mod formation;
mod memories;
mod operator;
mod people;
mod triggers;
mod waiting;
