//! Free ports of 127.0.0.1.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

/// Below the ports that the kernel gives to outgoing connections. One of those
/// could take the port of a server while it is down, and a client that tries
/// again and again to reach it could even connect to itself.
const FIRST: u32 = 10_240;
const COUNT: u32 = 22_000;

/// How far apart the first ports that two processes try are.
const STRIDE: u32 = 61;

/// Ports that nothing listens at, no two alike.
pub(crate) fn free<const N: usize>() -> Result<[u16; N]> {
    let held = (0..N).map(|_| listener()).collect::<Result<Vec<_>>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// A listener at a free port.
pub(crate) fn listener() -> Result<TcpListener> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let own = process::id().wrapping_mul(STRIDE);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..1_000 {
        let next = own.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + next % COUNT)?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last).context("no free port at 127.0.0.1")
}
