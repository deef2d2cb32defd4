use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use rand::Rng;

use crate::RegtestError;

/// Below the range from which the kernel takes the local ports of outgoing connections (32768 and up on Linux): a port that
/// the kernel chose could become such a port of another process before the node binds it.
const PORTS: Range<u16> = 15_000..32_000;
const TRIES: u32 = 200;

/// A TCP port on 127.0.0.1 that is free now, chosen at random. Another process may take it before it is used: nodes that
/// cannot bind say so in their log, and the wait for readiness shows it.
pub fn free_port() -> Result<u16, RegtestError> {
    let mut refused = None;
    for _ in 0..TRIES {
        let port = rand::rngs::OsRng.gen_range(PORTS);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => refused = Some(error),
        }
    }
    Err(RegtestError::NoPort(refused.unwrap_or_else(|| std::io::Error::other("no port was tried"))))
}
