//! `data` of a formation's answers, one file a resource. Times in seconds are Unix seconds with
//! fractions, as published clients read them; the others are ISO 8601 in UTC.

pub mod buffers;
pub mod credentials;
pub mod forget;
pub mod health;
pub mod history;
pub mod memories;
pub mod requests;
pub mod sessions;
pub mod users;
