//! A conversation: turns that are written down before anyone is told of them.
//!
//! [`turn`] decides, [`runner`] acts, [`prompt`] says what the model reads, [`queue`] keeps the
//! turns of one session in a row.

pub mod prompt;
pub mod queue;
pub mod runner;
pub mod turn;

pub use runner::{Conversations, Question, StartError, TurnContext};
pub use turn::{Answer, Failure, Update};
