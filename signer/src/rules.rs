//! What this party allows. Read from its own file; nobody else can change it.

use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::log::EntryDigest,
    intent::{Destination, InitiatorKey},
    network::Network,
    ports::Adapter,
    signing::PartyRole,
};
use serde::Deserialize;
use std::{collections::BTreeSet, fmt, time::Duration};

use crate::adapters::Adapters;

/// Checked rules: complete, and with addresses in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub networks: BTreeSet<Network>,
    /// The first entry of the governance log, which then says who may do what. `initiators` is empty.
    pub governance: Option<EntryDigest>,
    pub initiators: Vec<Initiator>,
    pub assets: Vec<AssetRule>,
    pub destinations: Destinations,
    /// How far ahead an intent's expiry may lie.
    pub max_expiry: Duration,
    pub fees_without_payment: FeesWithoutPayment,
}

/// `[fees_without_payment]`: what is signed, for each wallet and over a rolling window, of transactions that pay nobody and take back no
/// payment that this party took part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeesWithoutPayment {
    pub window_seconds: u64,
    /// Orders.
    pub count: u32,
    /// Their fees together, in times of the asset's `max_fee`.
    pub times_max_fee: u32,
}

impl Default for FeesWithoutPayment {
    fn default() -> Self {
        Self { window_seconds: 86_400, count: 10, times_max_fee: 3 }
    }
}

/// [`FeesWithoutPayment`] for an asset, with the sum in the chain's own smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeLimit {
    pub window: Duration,
    pub count: u32,
    pub sum: Amount,
}

/// Who may initiate payments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initiator {
    pub name: String,
    /// The party that this key belongs to. Never the custody platform.
    pub role: PartyRole,
    pub public_key: InitiatorKey,
}

/// Caps, in the asset's smallest unit; the fee in that of the chain's own asset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetRule {
    pub asset: Asset,
    /// The most that one transfer may pay in total.
    pub max_amount: Amount,
    /// The most that its transaction may cost.
    pub max_fee: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destinations {
    Any,
    Only(BTreeSet<(Network, Destination)>),
}

/// Everything that is wrong with a rules file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidRules(pub Vec<String>);

impl fmt::Display for InvalidRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rules: {}", self.0.join("; "))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    #[serde(default)]
    networks: Vec<Network>,
    governance: Option<GovernanceFile>,
    #[serde(default)]
    initiators: Vec<Initiator>,
    #[serde(default)]
    assets: Vec<AssetRule>,
    destinations: Option<DestinationsFile>,
    max_expiry_seconds: Option<u64>,
    #[serde(default)]
    fees_without_payment: FeesWithoutPayment,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GovernanceFile {
    genesis: EntryDigest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationsFile {
    #[serde(default)]
    any: bool,
    #[serde(default)]
    allow: Vec<Allowed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    network: Network,
    address: String,
    tag: Option<u32>,
}

impl Rules {
    /// Reads a rules file and reports all that is wrong with it at once. A file without rules is an error: a co-signer
    /// without rules must not run.
    pub fn parse(text: &str, adapters: Adapters) -> Result<Self, InvalidRules> {
        let file: RulesFile = toml::from_str(text).map_err(|error| InvalidRules(vec![error.to_string()]))?;
        let mut errors = Vec::new();
        for (field, missing) in [
            ("networks", file.networks.is_empty()),
            ("initiators", file.initiators.is_empty() && file.governance.is_none()),
            ("assets", file.assets.is_empty()),
            ("destinations", file.destinations.is_none()),
        ] {
            if missing {
                errors.push(format!("{field}: nothing is allowed yet; write down what this party may sign"));
            }
        }
        if file.governance.is_some() && !file.initiators.is_empty() {
            errors.push(
                "initiators: with [governance] the log says who may initiate; remove every [[initiators]]"
                    .into(),
            );
        }
        if file.max_expiry_seconds.is_none_or(|seconds| seconds == 0) {
            errors.push(
                "max_expiry_seconds: required and greater than zero; say how far ahead a payment's expiry may lie, such as \
                 172800 (two days): it bounds how long an intent can be signed again should this party lose its session store"
                    .into(),
            );
        }
        if file.fees_without_payment.window_seconds == 0 {
            errors.push("fees_without_payment.window_seconds: must be greater than zero".into());
        }
        let networks: BTreeSet<Network> = file.networks.into_iter().collect();
        errors.extend(one_world(&networks));
        let mut keys = BTreeSet::new();
        for (index, initiator) in file.initiators.iter().enumerate() {
            if initiator.role == PartyRole::CustodyPlatform {
                errors.push(format!("initiators[{index}].role: the custody platform may never initiate"));
            }
            if ed25519_dalek::VerifyingKey::from_bytes(&initiator.public_key.0).is_err() {
                errors.push(format!("initiators[{index}].public_key: not a valid Ed25519 public key"));
            }
            if !keys.insert(initiator.public_key) {
                errors.push(format!("initiators[{index}].public_key: appears twice"));
            }
        }
        let mut assets = BTreeSet::new();
        for (index, rule) in file.assets.iter().enumerate() {
            if !assets.insert(rule.asset) {
                errors.push(format!("assets[{index}].asset: {} appears twice", rule.asset));
            }
            if rule.max_amount.is_zero() || rule.max_fee.is_zero() {
                errors.push(format!("assets[{index}]: max_amount and max_fee must be greater than zero"));
            }
        }
        let destinations = match file.destinations {
            Some(section) if section.any && !section.allow.is_empty() => {
                errors.push("destinations: give either any = true or a list of allowed ones".into());
                Destinations::Any
            }
            Some(section) if section.any => Destinations::Any,
            Some(section) => {
                if section.allow.is_empty() {
                    errors.push("destinations: allow any = true or list what is allowed".into());
                }
                Destinations::Only(canonical(section.allow, adapters, &mut errors))
            }
            None => Destinations::Only(BTreeSet::new()),
        };
        if !errors.is_empty() {
            return Err(InvalidRules(errors));
        }
        Ok(Self {
            networks,
            governance: file.governance.map(|governance| governance.genesis),
            initiators: file.initiators,
            assets: file.assets,
            destinations,
            max_expiry: Duration::from_secs(file.max_expiry_seconds.unwrap_or_default()),
            fees_without_payment: file.fees_without_payment,
        })
    }

    pub fn fee_limit(&self, rule: &AssetRule) -> FeeLimit {
        let FeesWithoutPayment { window_seconds, count, times_max_fee } = self.fees_without_payment;
        let sum = rule.max_fee.checked_mul(times_max_fee.into());
        FeeLimit {
            window: Duration::from_secs(window_seconds),
            count,
            // More than any chain's supply.
            sum: sum.unwrap_or(Amount::from_u128(u128::MAX)),
        }
    }

    /// Whether every network is a throw-away one.
    pub fn regtest_only(&self) -> bool {
        !self.networks.is_empty() && self.networks.iter().all(|network| network.is_regtest())
    }

    /// For people, on one line.
    pub fn summary(&self) -> String {
        let networks: Vec<String> = self.networks.iter().map(ToString::to_string).collect();
        let assets: Vec<String> = self
            .assets
            .iter()
            .map(|rule| format!("{} up to {} (fee {})", rule.asset, rule.max_amount, rule.max_fee))
            .collect();
        let initiators: Vec<&str> = self.initiators.iter().map(|initiator| initiator.name.as_str()).collect();
        let destinations = match &self.destinations {
            Destinations::Any => "any destination".to_owned(),
            Destinations::Only(list) => format!("{} destinations", list.len()),
        };
        let initiators = match &self.governance {
            Some(genesis) => format!("whom the governance log from {genesis} names"),
            None => initiators.join(", "),
        };
        format!("{}; {}; initiated by {initiators}; {destinations}", networks.join(", "), assets.join(", "))
    }
}

/// Why these networks must not share keys.
///
/// Keys and derivation paths are the same on all networks, so what is signed must itself name the ledger. A Bitcoin digest
/// (BIP-143, BIP-341) names none, and neither does an XRP transaction where NetworkID is at most 1024 (XRPL docs,
/// "NetworkID Field"): a payment that was meant for a test network would also be valid where the money is. An Ethereum
/// transaction names its chain (EIP-155).
fn one_world(networks: &BTreeSet<Network>) -> Vec<String> {
    const REMEDY: &str = "use separate shares, in a folder of their own, for each";
    let listed = |unnamed: fn(&Network) -> bool| {
        let names: Vec<String> =
            networks.iter().filter(|one| unnamed(one)).map(ToString::to_string).collect();
        (names.len() > 1).then(|| names.join(" and "))
    };
    let mut errors = Vec::new();
    if let Some(names) = listed(|one| matches!(one, Network::Bitcoin(_))) {
        errors.push(format!(
            "networks: a Bitcoin signature for one of {names} is valid on the others: {REMEDY}"
        ));
    }
    if let Some(names) = listed(|one| matches!(one, Network::Xrp(id) if *id <= 1024)) {
        errors
            .push(format!("networks: an XRP signature for one of {names} is valid on the others: {REMEDY}"));
    }
    if let Some(throw_away) = networks.iter().find(|one| one.is_regtest())
        && let Some(other) = networks.iter().find(|one| !one.is_regtest())
    {
        errors.push(format!("networks: {throw_away} is a throw-away network and {other} is not: {REMEDY}"));
    }
    errors
}

fn canonical(
    allow: Vec<Allowed>,
    adapters: Adapters,
    errors: &mut Vec<String>,
) -> BTreeSet<(Network, Destination)> {
    let mut out = BTreeSet::new();
    for (index, entry) in allow.into_iter().enumerate() {
        let adapter: &dyn Adapter = adapters(entry.network.chain());
        match adapter.parse_destination(entry.network, &entry.address, entry.tag) {
            Ok(destination) => {
                out.insert((entry.network, destination));
            }
            Err(error) => errors.push(format!("destinations.allow[{index}].address: {error}")),
        }
    }
    out
}

/// What `init` writes: denies everything until someone edits it.
pub const TEMPLATE: &str = r#"# What this co-signer may sign. Nobody but you can change it. It denies everything until you fill it in, and
# bursar-signer refuses to start without rules. Amounts are integers in the asset's smallest unit (satoshi, wei, drop).

# One set of shares serves one network of each chain. Shares that ever served a test network are not for real money.
# networks = ["bitcoin:mainnet", "ethereum:1", "xrp:0"]

# The furthest that a payment's expiry may lie ahead, in seconds. Required.
# max_expiry_seconds = 172800

# Either who may do what is in the governance log, whose first entry has this digest (compare it with the other parties) ...
# [governance]
# genesis = "..."

# ... or, without one, who may initiate payments: role CLIENT or WEALTH_MANAGER, Ed25519 public key in hex. The custody platform never may.
# [[initiators]]
# name = "back office"
# role = "CLIENT"
# public_key = "..."

# One for each asset. max_amount: in total for one transfer. max_fee: in the chain's own asset.
# [[assets]]
# asset = "BTC"
# max_amount = "100000000"
# max_fee = "200000"

# What pays nobody costs fees all the same: fillers of nonces, and cancellations of payments that this co-signer did not sign. How
# many orders of that kind it signs for each wallet in a rolling window, and what they may cost together, in times of max_fee. As here
# without this section.
# [fees_without_payment]
# window_seconds = 86400
# count = 10
# times_max_fee = 3

# Either any destination ...
# [destinations]
# any = true

# ... or only these.
# [[destinations.allow]]
# network = "xrp:0"
# address = "r..."
# tag = 1
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::by_chain;

    const GOOD: &str = r#"
        networks = ["bitcoin:regtest"]
        max_expiry_seconds = 7200
        [[initiators]]
        name = "desk"
        role = "CLIENT"
        public_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        [[assets]]
        asset = "BTC"
        max_amount = "1000"
        max_fee = "10"
        [destinations]
        any = true
    "#;

    fn errors(text: &str) -> Vec<String> {
        Rules::parse(text, by_chain).expect_err("must be refused").0
    }

    #[test]
    fn good_rules_are_read() {
        let rules = Rules::parse(GOOD, by_chain).unwrap();
        assert!(rules.regtest_only());
        assert_eq!(rules.assets[0].max_amount, Amount::from_u64(1000));
    }

    #[test]
    fn no_rules_and_the_template_are_refused_with_every_gap_named() {
        for text in ["", TEMPLATE] {
            let errors = errors(text);
            for field in ["networks", "initiators", "assets", "destinations", "max_expiry_seconds"] {
                assert!(errors.iter().any(|error| error.starts_with(field)), "{field}: {errors:?}");
            }
        }
    }

    #[test]
    fn fees_without_payment_are_limited_unless_told_otherwise() {
        let limit = |text: &str| {
            let rules = Rules::parse(text, by_chain).unwrap();
            let limit = rules.fee_limit(&rules.assets[0]);
            (limit.window.as_secs(), limit.count, limit.sum)
        };
        assert_eq!(limit(GOOD), (86_400, 10, Amount::from_u64(30)));
        let section = |text: &str| format!("{GOOD}\n[fees_without_payment]\n{text}");
        assert_eq!(limit(&section("count = 0")), (86_400, 0, Amount::from_u64(30)));
        assert_eq!(limit(&section("window_seconds = 60\ntimes_max_fee = 7")), (60, 10, Amount::from_u64(70)));
        assert!(errors(&section("window_seconds = 0"))[0].starts_with("fees_without_payment"));
        assert!(errors(&section("counts = 1"))[0].contains("counts"));
    }

    #[test]
    fn a_horizon_is_required() {
        for text in [GOOD.replace("max_expiry_seconds = 7200", ""), GOOD.replace("7200", "0")] {
            let errors = errors(&text);
            assert!(errors.len() == 1 && errors[0].starts_with("max_expiry_seconds"), "{errors:?}");
        }
    }

    #[test]
    fn networks_on_which_one_signature_is_valid_twice_are_refused_together() {
        let with = |networks: &str| GOOD.replace("\"bitcoin:regtest\"", networks);
        for networks in [
            r#""bitcoin:mainnet", "bitcoin:testnet4""#,
            r#""bitcoin:mainnet", "bitcoin:regtest""#,
            r#""xrp:0", "xrp:1""#,
            r#""xrp:1", "xrp:1024""#,
            r#""ethereum:1", "ethereum:31337""#,
            r#""bitcoin:mainnet", "ethereum:31337", "xrp:0""#,
            r#""bitcoin:regtest", "xrp:1""#,
        ] {
            let errors = errors(&with(networks));
            assert!(errors.iter().all(|error| error.starts_with("networks: ")), "{networks}: {errors:?}");
            assert!(errors.iter().all(|error| error.contains("separate shares")), "{networks}: {errors:?}");
        }
        for networks in [
            r#""bitcoin:mainnet", "ethereum:1", "xrp:0""#,
            r#""bitcoin:mainnet", "bitcoin:mainnet""#,
            r#""ethereum:1", "ethereum:10""#,
            r#""xrp:0", "xrp:21338""#,
            r#""bitcoin:regtest", "ethereum:31337", "ethereum:1337", "xrp:63456""#,
        ] {
            assert!(Rules::parse(&with(networks), by_chain).is_ok(), "{networks}");
        }
    }

    #[test]
    fn the_log_takes_the_place_of_initiators() {
        let genesis = format!("[governance]\ngenesis = \"{}\"\n", "07".repeat(32));
        let both = errors(&format!("{GOOD}\n{genesis}"));
        assert!(both.len() == 1 && both[0].starts_with("initiators: "), "{both:?}");
        let (before, rest) = GOOD.split_once("[[initiators]]").unwrap();
        let (_, after) = rest.split_once("[[assets]]").unwrap();
        let without = format!("{before}\n[[assets]]{after}");
        assert!(errors(&without)[0].starts_with("initiators"));
        let rules = Rules::parse(&format!("{without}\n{genesis}"), by_chain).unwrap();
        assert_eq!(rules.governance, Some(EntryDigest([7; 32])));
        assert!(rules.summary().contains("governance log"));
        assert!(Rules::parse(&format!("{without}\n[governance]\ngenesis = \"07\""), by_chain).is_err());
    }

    #[test]
    fn the_custody_platform_may_not_be_an_initiator() {
        let errors = errors(&GOOD.replace("\"CLIENT\"", "\"CUSTODY_PLATFORM\""));
        assert!(errors[0].contains("initiators[0].role"), "{errors:?}");
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(errors(&format!("max_amout = 1\n{GOOD}"))[0].contains("max_amout"));
        assert!(errors(&GOOD.replace("max_fee", "maxfee"))[0].contains("maxfee"));
    }
}
