//! A conversation: turns that are written down before anyone is told of them.
//!
//! [`course`] decides who answers, [`tool_loop`] what an agent does on the way, and [`turn`] what becomes
//! of what is said; all three are pure. [`runner`] acts, [`prompt`] says what the model reads, [`waiting`]
//! is what a turn needs that ends with a question, [`ledger`] and [`trace`] are what a turn used and why
//! it did what it did, [`queue`] keeps the turns of one session in a row, [`active`] has the requests that are open, and [`report`] says how
//! others are told of their ends. [`files`] is what comes with a question.

pub mod active;
pub mod course;
pub mod estimate;
pub mod files;
pub mod ledger;
pub mod prompt;
pub mod queue;
pub mod recovery;
pub mod report;
pub mod runner;
pub mod structured;
mod told;
pub mod tool_loop;
pub mod trace;
pub mod turn;
pub mod unanswered;
pub mod waiting;

pub use active::{ActiveRequest, ActiveRequests};
pub use runner::{
    AcceptError, Conversations, DecideError, Picked, Question, StartError, TurnContext,
};
pub use turn::{Answer, Failure, Update};
