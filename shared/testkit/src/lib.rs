//! shared/testkit

pub mod fake_llm;
pub mod hostile;
