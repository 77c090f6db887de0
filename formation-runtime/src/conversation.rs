//! A conversation: turns that are written down before anyone is told of them.
//!
//! [`turn`] decides, [`runner`] acts, [`prompt`] says what the model reads, [`queue`] keeps the
//! turns of one session in a row, [`active`] has the requests that are open, and [`report`] says how
//! others are told of their ends. [`files`] is what comes with a question.

pub mod active;
pub mod estimate;
pub mod files;
pub mod prompt;
pub mod queue;
pub mod recovery;
pub mod report;
pub mod runner;
pub mod structured;
mod told;
pub mod turn;
pub mod unanswered;

pub use active::{ActiveRequest, ActiveRequests};
pub use runner::{AcceptError, Conversations, Question, StartError, TurnContext};
pub use turn::{Answer, Failure, Update};
