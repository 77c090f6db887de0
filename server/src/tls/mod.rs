//! TLS on the manager's own port: the pair of files, the listener, and the sign on the plain port.
//! Formations' ports stay plain; whoever opens them to a network puts a proxy before them, or uses
//! `/api/{id}` here.

mod expiry;
mod listener;
mod pair;
mod redirect;

pub use self::expiry::not_after;
pub use self::listener::TlsListener;
pub use self::pair::{LivePair, Pair, TlsError};
pub(crate) use self::redirect::router as redirect;
