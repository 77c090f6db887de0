//! What agents can do: tools, and the servers that offer them.
//!
//! Invariants:
//! - A tool that crashes, hangs, floods or lies fails its own call and nothing else.
//! - What a tool says is [`Outcome`] data of known trust; nobody reads it as an instruction.
//! - Dropping a call, or cancelling its token, ends the work behind it.

pub mod a2a;
pub mod builtin;
pub mod mcp;
pub mod program;
pub mod sandbox;
pub mod skills;
mod tool;

#[cfg(test)]
mod tests;

pub use muxi_llm::ToolSpec;
pub use tool::{Call, Content, Danger, Origin, Outcome, Tool};
