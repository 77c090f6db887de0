//! What systemd is told by a service of `Type=notify`: ready, stopping, and that we are alive.
//! Outside systemd nothing is told, and nothing is different.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use crate::supervisor::Context;

/// The socket that systemd listens on.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: UnixDatagram,
    /// How long a silence systemd bears, if it watches at all.
    watchdog: Option<Duration>,
}

// === impl Notifier ===

impl Notifier {
    /// `None` outside systemd.
    pub(crate) fn from_environment() -> Option<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let own = |pid: String| pid.parse() == Ok(std::process::id());
        let microseconds = variable("WATCHDOG_USEC")
            .filter(|_| variable("WATCHDOG_PID").is_none_or(own))
            .and_then(|text| text.parse().ok());
        let watchdog = microseconds.map(Duration::from_micros);
        match Self::connect(&variable("NOTIFY_SOCKET")?, watchdog) {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                tracing::warn!(%error, "systemd is not told how this service is");
                None
            }
        }
    }

    fn connect(address: &str, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A receiver that does not read must not hold us up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, watchdog })
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send(state.as_bytes()) {
            tracing::debug!(%error, state, "systemd was not told");
        }
    }

    /// Says that the manager is ready, then that it lives for as long as its store answers, and at the
    /// end that it stops.
    pub(crate) async fn run(self, context: Arc<Context>, url: String) {
        self.tell(&format!("READY=1\nSTATUS=listens on {url}"));
        let stopping = context.shutdown.stopping.clone();
        // Twice in the time that systemd bears, as it recommends.
        while let Some(pause) = self.watchdog.map(|it| it / 2) {
            tokio::select! {
                biased;
                // Stop first: it ends the watch. Cancel-safe.
                () = stopping.cancelled() => break,
                // Cancel-safe.
                () = tokio::time::sleep(pause) => {}
            }
            match context.store.read(|_| Ok(())).await {
                Ok(()) => self.tell("WATCHDOG=1"),
                Err(error) => tracing::error!(%error, "the store does not answer; no ping"),
            }
        }
        stopping.cancelled().await;
        self.tell("STOPPING=1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_with_and_without_a_path_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("muxi-notify-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        for (receiver, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.display().to_string()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}")),
        ] {
            Notifier::connect(&address, None).unwrap().tell("READY=1");
            let mut buffer = [0; 16];
            let count = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"READY=1");
        }
        assert!(Notifier::connect("/nowhere/notify", None).is_err());
    }
}
