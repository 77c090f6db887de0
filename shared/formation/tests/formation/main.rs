//! The crate from outside: bundles on disk, archives in memory.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

mod bundles;
mod coding;
mod documented;
// Shared with the end-to-end tests without pulling their dependencies in here.
#[expect(dead_code, unreachable_pub, reason = "it is a public module of the test kit")]
#[path = "../../../testkit/src/hostile.rs"]
mod hostile;
mod procedures;
mod roundtrip;
mod skills;
mod tools;
mod triggers;
mod unpacking;
