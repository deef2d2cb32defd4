//! Reading networks' names in configuration.

use bursar_domain::network::{BitcoinNetwork, Network};
use serde::{Deserialize, Deserializer, de::Error};

/// `mainnet`, `testnet4`, `signet` or `regtest`.
pub fn bitcoin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BitcoinNetwork, D::Error> {
    let name = String::deserialize(deserializer)?;
    match format!("bitcoin:{name}").parse() {
        Ok(Network::Bitcoin(network)) => Ok(network),
        _ => Err(D::Error::custom(format!(
            "unknown network {name}: expected mainnet, testnet4, signet or regtest"
        ))),
    }
}
