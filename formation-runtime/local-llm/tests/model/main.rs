//! Tests with the real model, and of the host that serves it. See `common::source` for the file.

#![expect(clippy::unwrap_used, reason = "clippy does not see that these helpers belong to tests")]

mod common;
mod engine;
mod host;
