//! Servers of the Model Context Protocol: their tools, found, bounded and called.
//!
//! Invariants:
//! - Only this module names the protocol's SDK; what it hands out are [`Tool`](crate::Tool)s.
//! - What a server says is bounded before it is kept: lines, pages, tools, descriptions, schemas, results.
//! - A call that may have run is never sent twice, unless its tool says that this changes nothing.
//! - A child server has an environment of its own and a process group that ends with its connection.
//!   When this process is killed outright, a child learns it from the end of its standard input: the
//!   kernel's signal for that case needs unsafe code and follows threads instead of processes.

mod arguments;
mod catalogue;
mod config;
mod connection;
mod danger;
mod discovery;
mod error;
mod handle;
mod http;
mod lines;
mod names;
mod oauth;
mod outcome;
mod pace;
mod pool;
mod process;
mod quiet;
mod repair;
mod report;
mod servers;
mod settings;
mod shortlist;
mod stdio;
mod tool;

pub use config::{
    Auth, Limits, MissingCredential, OAuth, Parameter, Secret, ServerConfig, ToolFilter, Transport,
    UserCredentials,
};
pub use danger::{Annotations, danger};
pub use error::{McpError, Said};
pub use names::exposed_name;
pub use oauth::{TokenStore, TokenStoreError, TokensInMemory};
pub use servers::{ServerStatus, Servers};
pub use shortlist::shortlist;
