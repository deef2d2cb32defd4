//! `[api]`: where it is, and who gets in.

use ipnet::IpNet;
use serde::Deserialize;
use std::{net::SocketAddr, num::NonZeroU32};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Keep it on loopback, and put a proxy that ends TLS in front of it for anyone else.
    pub listen: SocketAddr,
    /// Whether bearer keys are taken: by default where nothing is governed. In a governed installation they only read.
    pub bearer: Option<bool>,
    /// What callers call this installation (`desk.example`, with a port unless it is the scheme's own). With it, signatures must cover
    /// `@authority`, and are held against this.
    pub authority: Option<String>,
    /// Who may call anything but `/health` and `/ready`, as CIDRs; empty: everybody.
    #[serde(default)]
    pub allow: Vec<Network>,
    /// Proxies whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    #[serde(default)]
    pub limits: LimitsConfig,
    #[serde(default)]
    pub sessions: SessionsConfig,
}

/// A CIDR in a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(pub IpNet);

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let read = text.parse().map(Self);
        read.map_err(|_| format!("{text:?} is not a CIDR such as 10.0.0.0/8, 192.0.2.7/32 or 2001:db8::/32"))
    }
}

/// Requests a second, and at once.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    pub caller_per_second: NonZeroU32,
    pub caller_burst: NonZeroU32,
    pub address_per_second: NonZeroU32,
    pub address_burst: NonZeroU32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            caller_per_second: number(200),
            caller_burst: number(1000),
            address_per_second: number(5),
            address_burst: number(50),
        }
    }
}

/// Of people who came with a passkey.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsConfig {
    /// Minutes without a request after which a session is over.
    pub idle_minutes: u32,
    /// Minutes after which it is over in any case.
    pub max_minutes: u32,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self { idle_minutes: 15, max_minutes: 8 * 60 }
    }
}

impl ApiConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let SessionsConfig { idle_minutes, max_minutes } = self.sessions;
        if !(1..=24 * 60).contains(&max_minutes) || !(1..=max_minutes).contains(&idle_minutes) {
            problems
                .push("api.sessions: max_minutes from 1 to 1440, idle_minutes from 1 to max_minutes".into());
        }
        let plain = |authority: &String| {
            !authority.is_empty()
                && authority.bytes().all(|c| c.is_ascii_graphic() && !b"/@?#\"".contains(&c))
        };
        if self.authority.as_ref().is_some_and(|authority| !plain(authority)) {
            problems.push(
                "api.authority: a host, and a port if it is not the scheme's own, such as desk.example"
                    .into(),
            );
        }
        problems
    }
}
