//! Which ledger: a chain together with the network of it.

use crate::text::serde_as_text;
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    Bitcoin,
    Ethereum,
    Xrp,
}

impl Chain {
    pub const ALL: [Self; 3] = [Self::Bitcoin, Self::Ethereum, Self::Xrp];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Bitcoin => "bitcoin",
            Self::Ethereum => "ethereum",
            Self::Xrp => "xrp",
        }
    }
}
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
impl FromStr for Chain {
    type Err = InvalidNetwork;
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        Self::ALL.into_iter().find(|chain| chain.name() == text).ok_or(InvalidNetwork)
    }
}
serde_as_text!(Chain);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BitcoinNetwork {
    Mainnet,
    Testnet4,
    Signet,
    Regtest,
}

impl BitcoinNetwork {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Mainnet, "mainnet"),
        (Self::Testnet4, "testnet4"),
        (Self::Signet, "signet"),
        (Self::Regtest, "regtest"),
    ];
}

/// A ledger. Text form `bitcoin:regtest`, `ethereum:<EIP-155 chain id>`, `xrp:<NetworkID>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    Bitcoin(BitcoinNetwork),
    /// EIP-155 chain id; 1 is mainnet.
    Ethereum(u64),
    /// XRPL NetworkID; 0 is mainnet, above 1024 it is part of each transaction.
    Xrp(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown network: expected such as bitcoin:mainnet, bitcoin:regtest, ethereum:1, xrp:0")]
pub struct InvalidNetwork;

impl Network {
    pub const fn chain(self) -> Chain {
        match self {
            Self::Bitcoin(_) => Chain::Bitcoin,
            Self::Ethereum(_) => Chain::Ethereum,
            Self::Xrp(_) => Chain::Xrp,
        }
    }

    /// Whether this is a throw-away network on which development conveniences (pre-made primes) are allowed.
    /// Bitcoin regtest; the EIP-155 ids that development nodes use (1337, 31337); XRPL NetworkIDs from 63 000 up
    /// are left to private stand-alone ledgers by convention of this project.
    pub const fn is_regtest(self) -> bool {
        match self {
            Self::Bitcoin(network) => matches!(network, BitcoinNetwork::Regtest),
            Self::Ethereum(id) => matches!(id, 1337 | 31337),
            Self::Xrp(id) => id >= 63_000,
        }
    }
}
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bitcoin(network) => {
                let name =
                    BitcoinNetwork::ALL.iter().find(|(n, _)| n == network).map_or("", |(_, name)| name);
                write!(f, "bitcoin:{name}")
            }
            Self::Ethereum(id) => write!(f, "ethereum:{id}"),
            Self::Xrp(id) => write!(f, "xrp:{id}"),
        }
    }
}
impl FromStr for Network {
    type Err = InvalidNetwork;
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (chain, reference) = text.split_once(':').ok_or(InvalidNetwork)?;
        let parsed = match chain {
            "bitcoin" => {
                BitcoinNetwork::ALL.into_iter().find(|(_, n)| *n == reference).map(|(n, _)| Self::Bitcoin(n))
            }
            "ethereum" => reference.parse().ok().map(Self::Ethereum),
            "xrp" => reference.parse().ok().map(Self::Xrp),
            _ => None,
        };
        // One text form for each network: "+1" and "01" parse as integers and are refused here.
        parsed.filter(|network| network.to_string() == text).ok_or(InvalidNetwork)
    }
}
serde_as_text!(Network);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_one_text_form() {
        for text in
            ["bitcoin:mainnet", "bitcoin:regtest", "ethereum:1", "ethereum:31337", "xrp:0", "xrp:63456"]
        {
            assert_eq!(text.parse::<Network>().map(|n| n.to_string()).as_deref(), Ok(text));
        }
        for text in
            ["bitcoin", "bitcoin:", "ethereum:+1", "ethereum:01", "xrp:-1", "xrp:4294967296", "BTC:regtest"]
        {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text}");
        }
    }
}
