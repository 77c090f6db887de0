//! Which methods of the SDK were called.

use std::cell::RefCell;
use std::collections::BTreeSet;

use muxi_rust::{FormationClient, ServerClient};

thread_local! {
    /// By the check under way, as `formation.chat`.
    static UNDER_WAY: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

pub(crate) trait Client {
    const KIND: &'static str;
}

impl Client for ServerClient {
    const KIND: &'static str = "server";
}

impl Client for FormationClient {
    const KIND: &'static str = "formation";
}

impl<T: Client> Client for &T {
    const KIND: &'static str = T::KIND;
}

/// Calls a client's method and notes that.
macro_rules! call {
    ($client:ident.$method:ident($($argument:expr),* $(,)?)) => {{
        $crate::calls::note_method(&$client, stringify!($method));
        $client.$method($($argument),*)
    }};
}
pub(crate) use call;

pub(crate) fn note_method<T: Client>(_: &T, method: &str) {
    note(&format!("{}.{method}", T::KIND));
}

pub(crate) fn note(method: &str) {
    UNDER_WAY.with_borrow_mut(|calls| calls.insert(method.to_owned()));
}

/// What was called since the last time.
pub(crate) fn take() -> BTreeSet<String> {
    UNDER_WAY.take()
}
