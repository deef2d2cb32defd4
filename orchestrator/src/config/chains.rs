//! One section for each chain: its nodes, its fee bounds, its finality.

use super::{
    ReplacementConfig, networks,
    nodes::{self, BitcoinNodeEntry, NodeEntry},
};
use bursar_domain::{
    asset::{Asset, AssetInfo},
    network::BitcoinNetwork,
};
use serde::{Deserialize, Deserializer, de::Error};
use std::path::{Path, PathBuf};
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
    /// Of the one node, without credentials; or several in `nodes`.
    pub url: Option<String>,
    /// Of the one node, and of those of `nodes` that name none of their own.
    pub user: Option<String>,
    pub password: Option<Hidden>,
    /// Instead of user and password.
    pub cookie_file: Option<PathBuf>,
    #[serde(default)]
    pub nodes: Vec<BitcoinNodeEntry>,
    /// How many nodes must say the same before it counts; more than half of them when absent.
    pub min_agree: Option<usize>,
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
    #[serde(default)]
    pub replacement: ReplacementConfig,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EthereumConfig {
    /// EIP-155.
    pub chain_id: u64,
    /// Of the one node; or several in `nodes`. May carry a provider's key.
    pub url: Option<Hidden>,
    #[serde(default)]
    pub nodes: Vec<NodeEntry>,
    /// How many nodes must say the same before it counts; more than half of them when absent.
    pub min_agree: Option<usize>,
    /// Gwei per gas, the most that is ever offered.
    #[serde(default = "defaults::ethereum_cap")]
    pub max_fee_gwei: u64,
    /// Gwei per gas, the highest tip.
    #[serde(default = "defaults::ethereum_tip")]
    pub max_tip_gwei: u64,
    /// A block is final with this many confirmations; by the `finalized` tag when absent.
    pub confirmations: Option<u64>,
    /// Whether blocks are traced, to see what contracts send on to our addresses.
    #[serde(default)]
    pub traces: TracesConfig,
    #[serde(default)]
    pub tokens: Vec<TokenConfig>,
    pub start_height: Option<u64>,
    #[serde(default = "defaults::ethereum_poll")]
    pub poll_ms: u64,
    #[serde(default = "defaults::timeout")]
    pub timeout_ms: u64,
    #[serde(default)]
    pub replacement: ReplacementConfig,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TracesConfig {
    /// Where the nodes can.
    #[default]
    Auto,
    Off,
    /// The chain is followed only with nodes that can.
    Required,
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
    /// Of the one node; or several in `nodes`. May carry a provider's key.
    pub url: Option<Hidden>,
    #[serde(default)]
    pub nodes: Vec<NodeEntry>,
    /// How many nodes must say the same before it counts; more than half of them when absent.
    pub min_agree: Option<usize>,
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
    #[serde(default)]
    pub replacement: ReplacementConfig,
}

impl BitcoinConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = common("bitcoin", self.poll_ms, self.timeout_ms);
        let listed: Vec<_> = self.nodes.iter().map(|node| (node.name.as_str(), node.url.as_str())).collect();
        problems.extend(nodes::check("bitcoin", self.url.as_deref(), &listed, self.min_agree));
        let urls = self.url.iter().chain(self.nodes.iter().map(|node| &node.url));
        if urls.into_iter().any(|url| url.contains('@')) {
            problems.push("bitcoin: no credentials in a url; give user and password, or cookie_file".into());
        }
        problems.extend(self.check_credentials());
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

/// How to log in to a Bitcoin node.
#[derive(Debug, Clone)]
pub enum BitcoinLogin {
    Password { user: String, password: Hidden },
    CookieFile(PathBuf),
}

impl BitcoinConfig {
    /// Name, URL and login of each node.
    pub fn node_list(&self) -> Vec<(String, String, BitcoinLogin)> {
        let own = login(self.user.as_ref(), self.password.as_ref(), self.cookie_file.as_ref());
        let one = self.url.iter().map(|url| (nodes::ONLY.to_owned(), url.clone(), None));
        let listed = self.nodes.iter().map(|node| (node.name.clone(), node.url.clone(), node.login()));
        one.chain(listed)
            .filter_map(|(name, url, login)| Some((name, url, login.or_else(|| own.clone())?)))
            .collect()
    }

    pub fn min_agree(&self) -> usize {
        nodes::min_agree(self.url.is_some(), self.nodes.len(), self.min_agree)
    }

    /// Relative paths are relative to `base`.
    pub(super) fn resolve(&mut self, base: &Path) {
        let listed = self.nodes.iter_mut().map(|node| &mut node.cookie_file);
        for cookie in listed.chain([&mut self.cookie_file]).flatten() {
            *cookie = base.join(&*cookie);
        }
    }

    fn check_credentials(&self) -> Vec<String> {
        const REMEDY: &str = "give either user and password, or cookie_file";
        let given = |user: bool, password: bool, cookie: bool| match (user, password, cookie) {
            (false, false, false) => Some(false),
            (true, true, false) | (false, false, true) => Some(true),
            _ => None,
        };
        let own = given(self.user.is_some(), self.password.is_some(), self.cookie_file.is_some());
        let all_have_their_own =
            !self.nodes.is_empty() && self.nodes.iter().all(|node| node.login().is_some());
        let mut problems = Vec::new();
        if own.is_none() || (own == Some(false) && !all_have_their_own) {
            problems.push(format!("bitcoin: {REMEDY}"));
        }
        for node in &self.nodes {
            if given(node.user.is_some(), node.password.is_some(), node.cookie_file.is_some()).is_none() {
                problems.push(format!("bitcoin.nodes: {}: {REMEDY}", node.name));
            }
        }
        problems
    }
}

impl BitcoinNodeEntry {
    fn login(&self) -> Option<BitcoinLogin> {
        login(self.user.as_ref(), self.password.as_ref(), self.cookie_file.as_ref())
    }
}

fn login(
    user: Option<&String>,
    password: Option<&Hidden>,
    cookie_file: Option<&PathBuf>,
) -> Option<BitcoinLogin> {
    match (user, password, cookie_file) {
        (.., Some(file)) => Some(BitcoinLogin::CookieFile(file.clone())),
        (Some(user), Some(password), None) => {
            Some(BitcoinLogin::Password { user: user.clone(), password: password.clone() })
        }
        _ => None,
    }
}

impl EthereumConfig {
    /// Name and URL of each node.
    pub fn node_list(&self) -> Vec<(String, Hidden)> {
        nodes::listed(self.url.as_ref(), &self.nodes)
    }

    pub fn min_agree(&self) -> usize {
        nodes::min_agree(self.url.is_some(), self.nodes.len(), self.min_agree)
    }

    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = common("ethereum", self.poll_ms, self.timeout_ms);
        problems.extend(nodes::check_hidden("ethereum", self.url.as_ref(), &self.nodes, self.min_agree));
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
    /// Name and URL of each node.
    pub fn node_list(&self) -> Vec<(String, Hidden)> {
        nodes::listed(self.url.as_ref(), &self.nodes)
    }

    pub fn min_agree(&self) -> usize {
        nodes::min_agree(self.url.is_some(), self.nodes.len(), self.min_agree)
    }

    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = common("xrp", self.poll_ms, self.timeout_ms);
        problems.extend(nodes::check_hidden("xrp", self.url.as_ref(), &self.nodes, self.min_agree));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bitcoin(text: &str) -> BitcoinConfig {
        toml::from_str(&format!("network = \"regtest\"\n{text}")).unwrap()
    }

    #[test]
    fn one_node_needs_no_more_than_before() {
        let config = bitcoin("url = \"http://127.0.0.1:1\"\nuser = \"u\"\npassword = \"p\"");
        assert!(config.check().is_empty(), "{:?}", config.check());
        let nodes = config.node_list();
        assert!(matches!(&nodes[..], [(name, _, BitcoinLogin::Password { .. })] if name == nodes::ONLY));
        assert_eq!(config.min_agree(), 1);
    }

    #[test]
    fn nodes_use_the_section_s_credentials_unless_they_have_their_own() {
        let mut config = bitcoin(
            r#"
            user = "u"
            password = "p"
            [[nodes]]
            name = "own"
            url = "http://127.0.0.1:1"
            [[nodes]]
            name = "other"
            url = "http://127.0.0.1:2"
            cookie_file = "other/.cookie"
            "#,
        );
        assert!(config.check().is_empty(), "{:?}", config.check());
        config.resolve(Path::new("/etc/bursar"));
        let nodes = config.node_list();
        assert!(matches!(&nodes[0].2, BitcoinLogin::Password { user, .. } if user == "u"));
        assert!(
            matches!(&nodes[1].2, BitcoinLogin::CookieFile(file) if file == Path::new("/etc/bursar/other/.cookie"))
        );
        assert_eq!((nodes[0].0.as_str(), nodes[1].0.as_str(), config.min_agree()), ("own", "other", 2));
    }

    #[test]
    fn wrong_credentials_of_nodes_are_all_told() {
        let problems = bitcoin(
            r#"
            min_agree = 4
            [[nodes]]
            name = "none"
            url = "http://user:secret@127.0.0.1:1"
            [[nodes]]
            name = "half"
            url = "http://127.0.0.1:2"
            user = "u"
            "#,
        )
        .check();
        for expected in
            ["min_agree", "no credentials in a url", "bitcoin: give either user", "half: give either user"]
        {
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
        }
        assert!(problems.len() == 4 && !problems.concat().contains("secret"), "{problems:?}");
    }

    #[test]
    fn urls_that_may_hold_keys_are_not_shown() {
        let config: EthereumConfig = toml::from_str(
            r#"
            chain_id = 1
            min_agree = 1
            nodes = [{ name = "a", url = "https://a/key1" }, { name = "b", url = "https://b/key2" }]
            "#,
        )
        .unwrap();
        assert!(config.check().is_empty());
        assert!(!format!("{config:?}").contains("/key"));
        assert_eq!((config.node_list().len(), config.min_agree()), (2, 1));
    }
}
