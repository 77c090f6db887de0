//! Sockets: inherited from the manager, or bound by ourselves.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use muxi_contract::launch::{HANDOFF_LISTENER, PRIVATE_LISTENER, SHARED_LISTENER};

/// The three sockets with which the manager starts an instance.
#[derive(Debug)]
pub struct Inherited {
    pub shared: TcpListener,
    pub private: UnixListener,
    pub handoff: UnixListener,
}

/// Takes what the manager passed on, or nothing when the process was started by hand.
pub fn inherited() -> io::Result<Option<Inherited>> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() == 0 {
        return Ok(None);
    }
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "an inherited socket is missing");
    let shared = sockets.take_tcp_listener(SHARED_LISTENER)?.ok_or_else(missing)?;
    let private = sockets.take_unix_listener(PRIVATE_LISTENER)?.ok_or_else(missing)?;
    let handoff = sockets.take_unix_listener(HANDOFF_LISTENER)?.ok_or_else(missing)?;
    shared.set_nonblocking(true)?;
    private.set_nonblocking(true)?;
    handoff.set_nonblocking(true)?;
    Ok(Some(Inherited { shared, private, handoff }))
}

/// The one Unix socket with which the manager starts the model host.
pub fn inherited_unix() -> io::Result<Option<UnixListener>> {
    let listener = ListenFd::from_env().take_unix_listener(0)?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true)?;
    }
    Ok(listener)
}

/// Binds a TCP port for tokio; the standard library sets `SO_REUSEADDR` and a deep backlog.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
