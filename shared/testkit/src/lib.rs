//! What tests of the whole need: the real manager as a process, a scripted model, hostile archives.

pub mod daemon;
pub mod fake_llm;
pub mod hostile;
pub mod postgres;
