//! Ports that belong to one test: below those that the system hands out, in blocks.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A block of neighbouring ports that no other test of this machine uses.
#[derive(Debug)]
pub(super) struct PortBlock {
    first: u16,
    /// A name that only one process can hold, and that is free again when the process ends.
    _claim: UnixListener,
}

const BLOCK_PORTS: u16 = 8;
const LOWEST: u16 = 12_000;
const BLOCKS: u16 = 2_000;

// === impl PortBlock ===

impl PortBlock {
    pub(super) fn reserve() -> Self {
        // Neighbours in time start their search at different places.
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).expect("below 2000");
        (0..BLOCKS)
            .map(|step| LOWEST + (start + step) % BLOCKS * BLOCK_PORTS)
            .find_map(Self::claim)
            .expect("a free block of ports")
    }

    pub(super) fn first(&self) -> u16 {
        self.first
    }

    pub(super) fn last(&self) -> u16 {
        self.first + BLOCK_PORTS - 1
    }

    fn claim(first: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("muxi-test-ports-{first}")).ok()?;
        let claim = UnixListener::bind_addr(&name).ok()?;
        let block = Self { first, _claim: claim };
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (block.first..=block.last()).all(free).then_some(block)
    }
}
