//! What an operator says about a node.

use bursar_domain::{
    amount::Satoshi,
    network::{BitcoinNetwork, Network},
};
use serde::{Deserialize, Deserializer, de::Error};
use std::{fmt, path::PathBuf, time::Duration};
use zeroize::Zeroizing;

/// How to reach a Bitcoin Core node, and which fees to pay.
///
/// ```toml
/// network = "bitcoin:regtest"
/// url = "http://127.0.0.1:18443"
/// auth = { user = "bursar", password = "…" }   # or { cookie_file = "/path/.cookie" }
/// fees = { floor = 1000, cap = 200000, fallback = 5000, target_blocks = 6 }   # sat/kvB
/// finality_depth = 6
/// timeout_seconds = 20
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoinNodeConfig {
    #[serde(deserialize_with = "bitcoin_network")]
    pub network: BitcoinNetwork,
    /// `http://host:port`, without credentials.
    pub url: String,
    pub auth: NodeAuth,
    #[serde(default)]
    pub fees: FeePolicy,
    /// Confirmations that make a block final; 1 takes the tip for final.
    #[serde(default = "default_finality_depth")]
    pub finality_depth: u64,
    /// Bound on each call to the node, up to 60 s.
    #[serde(default = "default_timeout", rename = "timeout_seconds", deserialize_with = "seconds")]
    pub timeout: Duration,
}

/// RPC credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum NodeAuth {
    UserPassword {
        user: String,
        password: Password,
    },
    /// Read anew for each call: the node writes a new cookie at each start.
    CookieFile {
        cookie_file: PathBuf,
    },
}

/// An RPC password; never shown.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct Password(Zeroizing<String>);

impl Password {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}
impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Fee rates in satoshi per 1000 virtual bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeePolicy {
    /// Never pay less.
    pub floor: Satoshi,
    /// Never pay more, whatever the node estimates.
    pub cap: Satoshi,
    /// Taken when the node has no estimate yet.
    pub fallback: Satoshi,
    /// `estimatesmartfee`'s confirmation target, 1 to 1008.
    pub target_blocks: u16,
}

impl Default for FeePolicy {
    fn default() -> Self {
        Self { floor: Satoshi(1_000), cap: Satoshi(200_000), fallback: Satoshi(5_000), target_blocks: 6 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNodeConfig {
    #[error(
        "url: must be http://host:port or https://host:port, without user and password (they go into auth)"
    )]
    Url,
    #[error("fees: floor must be above 0, and floor ≤ fallback ≤ cap must hold")]
    Fees,
    #[error("fees.target_blocks: must be 1 to 1008")]
    TargetBlocks,
    #[error("finality_depth: must be 1 or more")]
    FinalityDepth,
    #[error("timeout_seconds: must be 0.1 to 60")]
    Timeout,
}

impl BitcoinNodeConfig {
    pub(super) fn check(&self) -> Result<(), InvalidNodeConfig> {
        let host = self.url.strip_prefix("http://").or_else(|| self.url.strip_prefix("https://"));
        if host.is_none_or(|host| host.is_empty() || host.contains('@')) {
            return Err(InvalidNodeConfig::Url);
        }
        let FeePolicy { floor, cap, fallback, target_blocks } = self.fees;
        if floor.0 == 0 || floor > fallback || fallback > cap || cap > Satoshi::MAX {
            return Err(InvalidNodeConfig::Fees);
        }
        if !(1..=1008).contains(&target_blocks) {
            return Err(InvalidNodeConfig::TargetBlocks);
        }
        if self.finality_depth == 0 {
            return Err(InvalidNodeConfig::FinalityDepth);
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.timeout) {
            return Err(InvalidNodeConfig::Timeout);
        }
        Ok(())
    }
}

const fn default_finality_depth() -> u64 {
    6
}
const fn default_timeout() -> Duration {
    Duration::from_secs(20)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// `bitcoin:regtest`, or `regtest` for short.
fn bitcoin_network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BitcoinNetwork, D::Error> {
    let text = String::deserialize(deserializer)?;
    let full = if text.contains(':') { text } else { format!("bitcoin:{text}") };
    match full.parse() {
        Ok(Network::Bitcoin(network)) => Ok(network),
        Ok(_) | Err(_) => Err(D::Error::custom(
            "expected bitcoin:mainnet, bitcoin:testnet4, bitcoin:signet or bitcoin:regtest",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(change: serde_json::Value) -> Result<BitcoinNodeConfig, String> {
        let mut config = json!({
            "network": "bitcoin:regtest",
            "url": "http://127.0.0.1:18443",
            "auth": { "user": "u", "password": "correct horse" },
        });
        for (field, value) in change.as_object().unwrap() {
            config[field] = value.clone();
        }
        let config: BitcoinNodeConfig = serde_json::from_value(config).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn passwords_are_never_shown() {
        let config = read(json!({})).unwrap();
        assert!(!format!("{config:?}").contains("correct horse"));
        assert_eq!((config.finality_depth, config.timeout), (6, Duration::from_secs(20)));
    }

    #[test]
    fn every_setting_is_checked() {
        for good in [
            json!({ "network": "regtest" }),
            json!({ "auth": { "cookie_file": "/somewhere/.cookie" } }),
            json!({ "fees": { "floor": 1, "fallback": 1, "cap": 1 } }),
        ] {
            assert!(read(good.clone()).is_ok(), "{good}");
        }
        for (bad, field) in [
            (json!({ "url": "http://user:secret@127.0.0.1:1" }), "url"),
            (json!({ "url": "127.0.0.1:1" }), "url"),
            (json!({ "fees": { "floor": 0 } }), "fees"),
            (json!({ "fees": { "floor": 10_000, "fallback": 5_000 } }), "fees"),
            (json!({ "fees": { "target_blocks": 0 } }), "target_blocks"),
            (json!({ "finality_depth": 0 }), "finality_depth"),
            (json!({ "timeout_seconds": 0 }), "timeout_seconds"),
            (json!({ "network": "ethereum:1" }), "bitcoin:mainnet"),
            (json!({ "surprise": 1 }), "surprise"),
        ] {
            let error = read(bad.clone()).map(|_| ()).unwrap_err();
            assert!(error.contains(field), "{bad}: {error}");
        }
    }
}
