//! Ports that belong to one test: below those that the system hands out, in blocks.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A block of neighbouring ports that no other test of this machine uses.
#[derive(Debug)]
pub(super) struct PortBlock {
    first: u16,
    last: u16,
    /// Names that only one process can hold, and that are free again when the process ends.
    _claims: Vec<UnixListener>,
}

const BLOCK_PORTS: u16 = 8;
const LOWEST: u16 = 12_000;
const BLOCKS: u16 = 2_000;

// === impl PortBlock ===

impl PortBlock {
    /// At least `count` ports.
    pub(super) fn reserve(count: u16) -> Self {
        let blocks = count.div_ceil(BLOCK_PORTS);
        // Neighbours in time start their search at different places.
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).expect("below 2000");
        (0..BLOCKS)
            .map(|step| (start + step) % BLOCKS)
            .filter(|block| block + blocks <= BLOCKS)
            .find_map(|block| Self::claim(LOWEST + block * BLOCK_PORTS, blocks))
            .expect("free blocks of ports")
    }

    pub(super) fn first(&self) -> u16 {
        self.first
    }

    pub(super) fn last(&self) -> u16 {
        self.last
    }

    fn claim(first: u16, blocks: u16) -> Option<Self> {
        let claim = |block: u16| {
            let name = format!("muxi-test-ports-{}", first + block * BLOCK_PORTS);
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).ok()?).ok()
        };
        let claims = (0..blocks).map(claim).collect::<Option<Vec<_>>>()?;
        let block = Self { first, last: first + blocks * BLOCK_PORTS - 1, _claims: claims };
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (block.first..=block.last).all(free).then_some(block)
    }
}
