//! What a vendor covers, and what it calls it.

use bursar_domain::{
    amount::Amount,
    asset::{Asset, AssetInfo},
    network::Network,
    screening::Unanswered,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Networks and assets that a vendor screens. What is not in it is not asked about: UNSUPPORTED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    networks: BTreeMap<Network, String>,
    assets: BTreeMap<Asset, AssetInfo>,
}

/// Something that moved, in the vendor's words.
pub(super) struct Moved<'a> {
    pub network: &'a str,
    pub asset: &'a str,
    /// In whole units.
    pub amount: String,
    /// The output's.
    pub address: &'a str,
    pub tx_id: &'a str,
}

/// What a vendor calls the three main networks.
#[derive(Debug, Clone, Copy)]
pub struct NetworkNames {
    pub bitcoin: &'static str,
    pub ethereum: &'static str,
    pub xrp: &'static str,
}

/// An ERC-20 token that the vendor screens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub asset: Asset,
    /// As the vendor calls it.
    pub symbol: String,
    pub decimals: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCoverage {
    #[error("provider.networks: {0}: unknown network; write such as \"bitcoin:mainnet\"")]
    Network(String),
    #[error("provider.tokens: {0}: must be an erc20 asset, each once")]
    Token(Asset),
}

impl Coverage {
    /// The main networks under the vendor's `names`, unless `networks` names others; the chains' own assets, and `tokens`.
    ///
    /// # Errors
    /// The field, and what it must be.
    pub fn new(
        names: NetworkNames,
        networks: Option<&BTreeMap<String, String>>,
        tokens: &[Token],
    ) -> Result<Self, InvalidCoverage> {
        let networks = match networks {
            None => BTreeMap::from([
                (Network::Bitcoin(bursar_domain::network::BitcoinNetwork::Mainnet), names.bitcoin.to_owned()),
                (Network::Ethereum(1), names.ethereum.to_owned()),
                (Network::Xrp(0), names.xrp.to_owned()),
            ]),
            Some(given) => given
                .iter()
                .map(|(network, name)| {
                    let parsed = network.parse().map_err(|_| InvalidCoverage::Network(network.clone()))?;
                    Ok((parsed, name.clone()))
                })
                .collect::<Result<_, _>>()?,
        };
        let mut assets: BTreeMap<Asset, AssetInfo> =
            AssetInfo::natives().into_iter().map(|info| (info.asset, info)).collect();
        for Token { asset, symbol, decimals } in tokens {
            let info = AssetInfo { asset: *asset, symbol: symbol.clone(), decimals: *decimals };
            if !matches!(asset, Asset::Erc20(_)) || assets.insert(*asset, info).is_some() {
                return Err(InvalidCoverage::Token(*asset));
            }
        }
        Ok(Self { networks, assets })
    }

    /// What the vendor calls it.
    pub(super) fn network(&self, network: Network) -> Result<&str, Unanswered> {
        let name = self.networks.get(&network).map(String::as_str);
        name.ok_or_else(|| Unanswered::Unsupported(format!("network {network}")))
    }

    /// What the vendor calls it, and the amount in whole units.
    pub(super) fn amount(&self, asset: Asset, amount: Amount) -> Result<(&str, String), Unanswered> {
        let info = self.assets.get(&asset);
        let info = info.ok_or_else(|| Unanswered::Unsupported(format!("asset {asset}")))?;
        Ok((&info.symbol, amount.to_decimal(info.decimals)))
    }

    pub(super) fn moved<'a>(
        &'a self,
        network: Network,
        asset: Asset,
        amount: Amount,
        address: &'a str,
        tx_id: &'a str,
    ) -> Result<Moved<'a>, Unanswered> {
        let network = self.network(network)?;
        let (asset, amount) = self.amount(asset, amount)?;
        Ok(Moved { network, asset, amount, address, tx_id })
    }

    /// The network that the vendor calls so.
    pub(super) fn named(&self, name: &str) -> Option<Network> {
        let same = |(_, known): &(&Network, &String)| known.eq_ignore_ascii_case(name);
        self.networks.iter().find(same).map(|(network, _)| *network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: NetworkNames = NetworkNames { bitcoin: "Bitcoin", ethereum: "Ethereum", xrp: "XRP" };

    #[test]
    fn what_is_not_covered_is_not_asked_about() {
        let token: Asset = "erc20:0x00000000000000000000000000000000000000aa".parse().unwrap();
        let tokens = [Token { asset: token, symbol: "USDC".into(), decimals: 6 }];
        let coverage = Coverage::new(NAMES, None, &tokens).unwrap();
        assert_eq!(coverage.network("bitcoin:mainnet".parse().unwrap()), Ok("Bitcoin"));
        for network in ["bitcoin:regtest", "ethereum:5", "xrp:1"] {
            let refused = coverage.network(network.parse().unwrap());
            assert!(matches!(refused, Err(Unanswered::Unsupported(_))), "{network}");
        }
        let amount = Amount::from_u64(1_500_000);
        assert_eq!(coverage.amount(token, amount), Ok(("USDC", "1.5".to_owned())));
        assert_eq!(coverage.amount(Asset::Btc, amount), Ok(("BTC", "0.015".to_owned())));
        let other = Asset::Erc20([1; 20]);
        assert!(matches!(coverage.amount(other, amount), Err(Unanswered::Unsupported(_))));
        assert_eq!(coverage.named("BITCOIN"), Some("bitcoin:mainnet".parse().unwrap()));
        assert_eq!(coverage.named("Dogecoin"), None);
    }

    #[test]
    fn networks_and_tokens_are_checked() {
        let wrong = BTreeMap::from([("bitcoin".to_owned(), "x".to_owned())]);
        assert!(matches!(Coverage::new(NAMES, Some(&wrong), &[]), Err(InvalidCoverage::Network(_))));
        let native = [Token { asset: Asset::Eth, symbol: "ETH".into(), decimals: 18 }];
        assert!(matches!(Coverage::new(NAMES, None, &native), Err(InvalidCoverage::Token(_))));
    }
}
