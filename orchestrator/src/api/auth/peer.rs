//! Where a request comes from.

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap},
};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// The address that a request comes from: that of the connection, or, where this is a trusted proxy's, the last one in `X-Forwarded-For`
/// that is not. `None` if the server does not know, or the proxy says nothing that can be read: then no allow-list has it.
pub fn address(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let ConnectInfo(connected) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    let connected = connected.ip().to_canonical();
    let is_proxy = |address: &IpAddr| contains(trusted, *address);
    if !is_proxy(&connected) {
        return Some(connected);
    }
    let forwarded = headers.get_all("x-forwarded-for").iter();
    let said: Vec<_> =
        forwarded.flat_map(|line| line.to_str().unwrap_or("?").split(',')).map(str::trim).collect();
    if said.is_empty() {
        // The proxy's own, such as its look at `/health`.
        return Some(connected);
    }
    for text in said.into_iter().rev() {
        let address = text.parse::<IpAddr>().ok()?.to_canonical();
        if !is_proxy(&address) {
            return Some(address);
        }
    }
    Some(connected)
}

pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Whether a list lets it in; one without entries lets everybody.
pub fn admits(networks: &[IpNet], address: Option<IpAddr>) -> bool {
    networks.is_empty() || address.is_some_and(|address| contains(networks, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(connected: &str, forwarded: &[&str]) -> Option<String> {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(connected.parse().unwrap(), 1)));
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        address(&extensions, &headers, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(from("203.0.113.9", &["198.51.100.1"]).unwrap(), "203.0.113.9");
        assert_eq!(from("127.0.0.1", &["198.51.100.1"]).unwrap(), "198.51.100.1");
        assert_eq!(from("::ffff:127.0.0.1", &["198.51.100.1"]).unwrap(), "198.51.100.1");
        // What the client wrote itself comes before what the proxies added.
        assert_eq!(from("127.0.0.1", &["1.2.3.4, 198.51.100.1", "10.1.1.1"]).unwrap(), "198.51.100.1");
        assert_eq!(from("127.0.0.1", &["1.2.3.4", "2001:db8::1"]).unwrap(), "2001:db8::1");
        assert_eq!(from("127.0.0.1", &[]).unwrap(), "127.0.0.1");
        assert_eq!(from("127.0.0.1", &["10.0.0.1"]).unwrap(), "127.0.0.1");
        assert_eq!(from("127.0.0.1", &["1.2.3.4, nonsense"]), None);
        assert_eq!(address(&Extensions::new(), &HeaderMap::new(), &[]), None);
    }

    #[test]
    fn lists_let_in_what_they_name() {
        let list = ["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        for (address, admitted) in [("198.51.100.7", true), ("198.51.101.7", false), ("2001:db8::5", true)] {
            assert_eq!(admits(&list, Some(address.parse().unwrap())), admitted, "{address}");
        }
        assert!(!admits(&list, None));
        assert!(admits(&[], None));
    }
}
