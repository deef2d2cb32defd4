//! Which addresses may be sent to. What is not plainly a public address of one machine is private.

use ipnet::IpNet;
use reqwest::Url;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that the configuration lets endpoints be in although they are not public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl Networks {
    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// How far an endpoint may lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    Public,
    /// And the networks.
    Also(Networks),
    /// The networks only: what is sent without TLS.
    Only(Networks),
}

impl Reach {
    pub fn allows(&self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::Also(networks) => is_public(address) || networks.contains(address),
            Self::Only(networks) => networks.contains(address),
        }
    }
}

/// An address that nothing is sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    #[error("{0}: is not a public address, and webhooks.allow_networks does not let endpoints be there")]
    Address(IpAddr),
    #[error("{0}: has no address")]
    NoAddress(String),
    #[error("is not a URL: {0}")]
    Url(String),
    #[error("must begin with https:// (http:// only into webhooks.allow_networks)")]
    Scheme,
    #[error("must be at most {MAX_URL} characters, without user, password and fragment")]
    Form,
}

/// The longest URL, in bytes.
pub const MAX_URL: usize = 500;

/// Reads an endpoint's URL, and says how far it may lie. A name is looked up later, at each connection.
///
/// # Errors
/// What is wrong with it, for whoever wrote it.
pub fn check(url: &str, allow_private: bool, networks: &Networks) -> Result<(Url, Reach), NotAllowed> {
    if url.len() > MAX_URL {
        return Err(NotAllowed::Form);
    }
    let url: Url = url.parse().map_err(|error| NotAllowed::Url(format!("{error}")))?;
    let some = allow_private && !networks.0.is_empty();
    let reach = match url.scheme() {
        "https" if some => Reach::Also(networks.clone()),
        "https" => Reach::Public,
        "http" if some => Reach::Only(networks.clone()),
        _ => return Err(NotAllowed::Scheme),
    };
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(NotAllowed::Form);
    }
    // Other ways to write an address (0x7f.1, 2130706433) were read as one by now (WHATWG URL, section 3.5).
    let host = url.host_str().ok_or(NotAllowed::Form)?;
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>()
        && !reach.allows(address)
    {
        return Err(NotAllowed::Address(address));
    }
    Ok((url, reach))
}

/// Whether it is an address of one machine on the internet, by IANA's registries of special-purpose addresses (RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = match (a, b, c) {
        // This network, private use, loopback
        (0 | 10 | 127, ..) => true,
        // Shared address space (RFC 6598): carriers, and a cloud's metadata at 100.100.100.200
        (100, 64..=127, _) => true,
        // Link-local: most clouds' metadata at 169.254.169.254
        (169, 254, _) => true,
        (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments, documentation, relays
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 51, 100) | (203, 0, 113) => true,
        // Benchmarks
        (198, 18 | 19, _) => true,
        // Multicast, reserved, broadcast
        (224.., ..) => true,
        _ => false,
    };
    // A cloud's own services, at what is otherwise a public address.
    !special && (a, b, c, d) != (168, 63, 129, 16)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast is 2000::/3. The rest has loopback, unique local (fc00::/7), link-local, multicast, and addresses with an IPv4
    // address inside (64:ff9b::/96, ::/96).
    let global = (0x2000..0x4000).contains(&a);
    // Protocol assignments with Teredo (2001::/23), documentation (2001:db8::/32, 3fff::/20), 6to4 (2002::/16)
    let special = (a == 0x2001 && (b < 0x0200 || b == 0x0db8)) || a == 0x2002 || (a == 0x3fff && b < 0x1000);
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn private_addresses_are_not_public() {
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            let address: IpAddr = private.parse().unwrap();
            assert!(!is_public(address), "{private}");
            assert!(!Reach::Public.allows(address), "{private}");
        }
        for public in [
            "1.1.1.1",
            "9.9.9.9",
            "100.63.255.255",
            "100.128.0.1",
            "168.63.129.17",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn what_is_allowed_is_allowed_however_it_is_written() {
        let reach = Reach::Also(networks(&["10.1.0.0/16", "fd00::/8"]));
        for (address, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("1.1.1.1", true),
        ] {
            assert_eq!(reach.allows(address.parse().unwrap()), allowed, "{address}");
        }
        let only = Reach::Only(networks(&["10.1.0.0/16"]));
        assert!(!only.allows("1.1.1.1".parse().unwrap()));
        assert!(only.allows("10.1.2.3".parse().unwrap()));
    }

    #[test]
    fn urls_are_https_and_public_unless_told_otherwise() {
        let none = Networks::default();
        for url in ["https://desk.example/hooks", "https://desk.example:8443/", "https://1.1.1.1/x?y=z"] {
            assert_eq!(check(url, true, &none).unwrap().1, Reach::Public, "{url}");
        }
        let local = networks(&["127.0.0.0/8", "::1/128"]);
        for url in [
            "http://desk.example/",
            "ftp://desk.example/",
            "file:///etc/passwd",
            "https://user@desk.example/",
            "https://user:password@desk.example/",
            "https://desk.example/#fragment",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.0.0.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[fe80::1]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://",
            "desk.example",
            "",
        ] {
            assert!(check(url, true, &none).is_err(), "{url}");
            // What the configuration allows, the endpoint must be allowed, too.
            assert!(check(url, false, &local).is_err(), "{url}");
        }
        for url in ["http://127.0.0.1:8080/", "https://127.1/", "http://localhost/", "http://[::1]/"] {
            assert!(check(url, true, &local).is_ok(), "{url}");
        }
        assert!(matches!(check("http://1.1.1.1/", true, &local), Err(NotAllowed::Address(_))));
        let long = format!("https://desk.example/{}", "x".repeat(MAX_URL));
        assert_eq!(check(&long, true, &none).unwrap_err(), NotAllowed::Form);
    }
}
