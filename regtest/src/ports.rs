use std::net::{Ipv4Addr, TcpListener};

use crate::RegtestError;

/// A TCP port on 127.0.0.1 that is free now, chosen by the kernel. Another process may take it before it is used: nodes
/// that cannot bind say so in their log, and the wait for readiness shows it.
pub fn free_port() -> Result<u16, RegtestError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(RegtestError::NoPort)?;
    Ok(listener.local_addr().map_err(RegtestError::NoPort)?.port())
}
