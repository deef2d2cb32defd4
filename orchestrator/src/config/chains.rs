//! One section for each chain: its node, its fee bounds, its finality.

use super::networks;
use bursar_domain::{
    asset::{Asset, AssetInfo},
    network::BitcoinNetwork,
};
use serde::{Deserialize, Deserializer, de::Error};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// A value that never shows in logs.
#[derive(Clone)]
pub struct Hidden(Zeroizing<String>);

impl Hidden {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}
impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}
impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoinConfig {
    #[serde(deserialize_with = "networks::bitcoin")]
    pub network: BitcoinNetwork,
    /// Without credentials.
    pub url: String,
    pub user: Option<String>,
    pub password: Option<Hidden>,
    /// Instead of user and password.
    pub cookie_file: Option<PathBuf>,
    /// Satoshi per 1000 virtual bytes.
    #[serde(default = "defaults::bitcoin_floor")]
    pub fee_floor: u64,
    #[serde(default = "defaults::bitcoin_cap")]
    pub fee_cap: u64,
    /// When the node cannot estimate.
    #[serde(default = "defaults::bitcoin_fallback")]
    pub fee_fallback: u64,
    #[serde(default = "defaults::bitcoin_target")]
    pub fee_target_blocks: u16,
    /// A block is final with this many confirmations, its own included.
    #[serde(default = "defaults::bitcoin_depth")]
    pub confirmations: u64,
    /// First block to look for deposits in; the tip at the first start when absent.
    pub start_height: Option<u64>,
    #[serde(default = "defaults::bitcoin_poll")]
    pub poll_ms: u64,
    #[serde(default = "defaults::timeout")]
    pub timeout_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EthereumConfig {
    /// EIP-155.
    pub chain_id: u64,
    /// May carry a provider's key.
    pub url: Hidden,
    /// Gwei per gas, the most that is ever offered.
    #[serde(default = "defaults::ethereum_cap")]
    pub max_fee_gwei: u64,
    /// Gwei per gas, the highest tip.
    #[serde(default = "defaults::ethereum_tip")]
    pub max_tip_gwei: u64,
    /// A block is final with this many confirmations; by the `finalized` tag when absent.
    pub confirmations: Option<u64>,
    #[serde(default)]
    pub tokens: Vec<TokenConfig>,
    pub start_height: Option<u64>,
    #[serde(default = "defaults::ethereum_poll")]
    pub poll_ms: u64,
    #[serde(default = "defaults::timeout")]
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// What people write; letters and digits.
    pub symbol: String,
    /// `0x` and 40 hex digits.
    #[serde(deserialize_with = "contract")]
    pub contract: [u8; 20],
    pub decimals: u8,
}

impl TokenConfig {
    pub fn info(&self) -> AssetInfo {
        AssetInfo { asset: Asset::Erc20(self.contract), symbol: self.symbol.clone(), decimals: self.decimals }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XrpConfig {
    /// 0 is mainnet.
    pub network_id: u32,
    /// May carry a provider's key.
    pub url: Hidden,
    #[serde(default = "defaults::xrp_floor")]
    pub fee_floor_drops: u64,
    #[serde(default = "defaults::xrp_cap")]
    pub fee_cap_drops: u64,
    /// How many ledgers a payment stays valid.
    #[serde(default = "defaults::xrp_window")]
    pub ledger_window: u32,
    pub start_height: Option<u64>,
    #[serde(default = "defaults::xrp_poll")]
    pub poll_ms: u64,
    #[serde(default = "defaults::timeout")]
    pub timeout_ms: u64,
}

impl BitcoinConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = common("bitcoin", self.poll_ms, self.timeout_ms);
        if self.user.is_some() != self.password.is_some() || self.user.is_some() == self.cookie_file.is_some()
        {
            problems.push("bitcoin: give either user and password, or cookie_file".into());
        }
        if !(self.fee_floor <= self.fee_fallback && self.fee_fallback <= self.fee_cap) {
            problems.push(
                "bitcoin: fee_floor ≤ fee_fallback ≤ fee_cap must hold (satoshi per 1000 virtual bytes)"
                    .into(),
            );
        }
        if self.confirmations == 0 {
            problems.push("bitcoin.confirmations: at least 1".into());
        }
        problems
    }
}

impl EthereumConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = common("ethereum", self.poll_ms, self.timeout_ms);
        if self.confirmations == Some(0) {
            problems.push(
                "ethereum.confirmations: at least 1, or leave it out to use the `finalized` tag".into(),
            );
        }
        let mut symbols: Vec<&str> = vec!["BTC", "ETH", "XRP"];
        for token in &self.tokens {
            let readable = (1..=20).contains(&token.symbol.len())
                && token.symbol.bytes().all(|b| b.is_ascii_alphanumeric());
            if !readable || symbols.contains(&token.symbol.as_str()) {
                problems.push(format!(
                    "ethereum.tokens: symbol {:?} must be 1 to 20 letters and digits, and unique",
                    token.symbol
                ));
            }
            symbols.push(&token.symbol);
            if token.decimals > 36 {
                problems.push(format!("ethereum.tokens: {}: decimals above 36", token.symbol));
            }
        }
        problems
    }
}

impl XrpConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = common("xrp", self.poll_ms, self.timeout_ms);
        if self.fee_floor_drops > self.fee_cap_drops {
            problems.push("xrp: fee_floor_drops must not be above fee_cap_drops".into());
        }
        if !(10..=10_000).contains(&self.ledger_window) {
            problems.push("xrp.ledger_window: from 10 to 10000 ledgers".into());
        }
        problems
    }
}

fn common(section: &str, poll_ms: u64, timeout_ms: u64) -> Vec<String> {
    let mut problems = Vec::new();
    if !(10..=600_000).contains(&poll_ms) {
        problems.push(format!("{section}.poll_ms: from 10 to 600000"));
    }
    if !(100..=60_000).contains(&timeout_ms) {
        problems.push(format!("{section}.timeout_ms: from 100 to 60000"));
    }
    problems
}

fn contract<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 20], D::Error> {
    let text = String::deserialize(deserializer)?;
    match format!("erc20:{text}").parse() {
        Ok(Asset::Erc20(contract)) => Ok(contract),
        _ => Err(D::Error::custom("a contract is 0x and 40 hex digits")),
    }
}

mod defaults {
    pub const fn timeout() -> u64 {
        10_000
    }
    pub const fn bitcoin_floor() -> u64 {
        1_000
    }
    pub const fn bitcoin_cap() -> u64 {
        500_000
    }
    pub const fn bitcoin_fallback() -> u64 {
        5_000
    }
    pub const fn bitcoin_target() -> u16 {
        6
    }
    pub const fn bitcoin_depth() -> u64 {
        6
    }
    pub const fn bitcoin_poll() -> u64 {
        5_000
    }
    pub const fn ethereum_cap() -> u64 {
        300
    }
    pub const fn ethereum_tip() -> u64 {
        5
    }
    pub const fn ethereum_poll() -> u64 {
        3_000
    }
    pub const fn xrp_floor() -> u64 {
        10
    }
    pub const fn xrp_cap() -> u64 {
        100_000
    }
    pub const fn xrp_window() -> u32 {
        75
    }
    pub const fn xrp_poll() -> u64 {
        1_000
    }
}
