//! The embedded language model, and the model host that serves it to every formation of a machine.
//!
//! - [`files`] knows which models exist, whether they are ready, and how a downloaded file becomes
//!   one that runs fast.
//! - [`engine`] loads such a file and generates text on threads of its own.
//! - [`host`] puts engines behind the `OpenAI` wire on a Unix socket.
//!
//! The library that does the arithmetic reads its settings from the environment when it is first
//! used, and a process cannot change its own environment safely. Whoever spawns a process that
//! loads an engine therefore passes [`engine::process_environment`] to it.

pub mod engine;
pub mod files;
pub mod host;
