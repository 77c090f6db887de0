//! What to do next in a turn: pure decisions over agents, tools, procedures and plans.
//!
//! Invariant: nothing here waits, reads a clock, asks a model or knows a database; what happened comes in
//! as an event, and what is to be done goes out as a value.
