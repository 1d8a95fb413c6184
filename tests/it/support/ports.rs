//! Addresses on loopback for programs that a test starts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// Below Linux's range for outgoing connections, where port 0 takes its ports from: the local end of any connection may
/// take such a port before the program starts, or while it is down between two starts.
const LOWEST: u32 = 12_000;
const COUNT: u32 = 20_000;

/// An address where nobody listens; no other call of this process returns it, too.
pub fn free_address() -> Result<SocketAddr> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    // Two processes with tests begin in different places.
    let begin = std::process::id().wrapping_mul(127);
    (0..COUNT)
        .map(|_| LOWEST + begin.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .with_context(|| format!("no free port in {COUNT} from {LOWEST} on"))
}
