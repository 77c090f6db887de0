//! The real binary against the scripted model: what callers and a manager see.

mod api;
mod chat;
mod harness;
mod lifecycle;
mod load;
