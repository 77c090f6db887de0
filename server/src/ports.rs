//! Ports belong to formations. A lease holds the listening socket, so a leased port cannot be
//! taken by others, and a connection made while no instance runs waits in the kernel.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use crate::config::FormationsConfig;

/// Where leases come from.
#[derive(Debug, Clone)]
pub struct PortPool {
    host: IpAddr,
    range: RangeInclusive<u16>,
}

/// One formation's port with its listening socket.
#[derive(Debug)]
pub struct Lease {
    pub port: u16,
    listener: TcpListener,
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("no free port in {0}–{1}: all are leased to formations or taken by other programs")]
    NoFreePort(u16, u16),
    #[error("failed to bind port {port}")]
    Bind { port: u16, source: io::Error },
}

// === impl PortPool ===

impl PortPool {
    pub fn new(config: &FormationsConfig) -> Self {
        let host = config.bind_host.parse().expect("the configuration was checked");
        Self { host, range: config.port_range_start..=config.port_range_end }
    }

    pub fn host(&self) -> IpAddr {
        self.host
    }

    /// How many ports there are in all.
    pub fn total(&self) -> usize {
        self.range.len()
    }

    /// Binds the lowest port that is not `leased` and that nobody else holds.
    pub fn lease(&self, leased: &[u16]) -> Result<Lease, LeaseError> {
        let free = self.range.clone().filter(|port| leased.binary_search(port).is_err());
        for port in free {
            match self.bind(port) {
                Ok(lease) => return Ok(lease),
                Err(LeaseError::Bind { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Err(LeaseError::NoFreePort(*self.range.start(), *self.range.end()))
    }

    /// Binds a port that is leased already.
    pub fn bind(&self, port: u16) -> Result<Lease, LeaseError> {
        let address = SocketAddr::new(self.host, port);
        let listener = muxi_service::listen::bind(address)
            .map_err(|source| LeaseError::Bind { port, source })?;
        Ok(Lease { port, listener })
    }
}

// === impl Lease ===

impl Lease {
    /// A lease on a socket that an instance handed back.
    pub fn from_listener(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { port: listener.local_addr()?.port(), listener })
    }

    /// A duplicate for an instance.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.listener.try_clone()?.into())
    }

    /// A duplicate for the manager itself to answer on.
    pub fn answering(&self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.listener.try_clone()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool over one port that is free now.
    fn pool_of_one() -> (PortPool, u16) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        (PortPool { host: "127.0.0.1".parse().unwrap(), range: port..=port }, port)
    }

    #[test]
    fn a_leased_port_cannot_be_taken() {
        let (pool, port) = pool_of_one();
        let lease = pool.lease(&[]).unwrap();
        assert!(TcpListener::bind(("127.0.0.1", port)).is_err());
        drop(lease);
        assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    }

    #[test]
    fn an_exhausted_pool_says_so() {
        let (pool, port) = pool_of_one();
        assert!(matches!(pool.lease(&[port]), Err(LeaseError::NoFreePort(..))));
        let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(matches!(pool.lease(&[]), Err(LeaseError::NoFreePort(..))));
    }
}
