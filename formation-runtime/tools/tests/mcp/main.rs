//! MCP servers as agents meet them: a hostile one of ours, and real ones that nobody here wrote.

mod real;
mod stdio;
mod support;
