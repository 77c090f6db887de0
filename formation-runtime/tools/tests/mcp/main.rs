//! MCP servers as agents meet them: a hostile one of ours, and real ones that nobody here wrote.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod http;
mod hub;
mod real;
mod stdio;
mod support;
