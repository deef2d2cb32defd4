//! What can be paid.

use crate::{network::Chain, text::serde_as_text};
use std::{fmt, str::FromStr};

/// An asset. Text form `BTC`, `ETH`, `XRP`, or `erc20:0x` and 40 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asset {
    Btc,
    Eth,
    Xrp,
    /// An ERC-20 token by its contract address. The symbol of a token is never trusted: anyone can deploy a "USDT".
    Erc20([u8; 20]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown asset: expected BTC, ETH, XRP, or erc20:0x<40 hex digits>")]
pub struct InvalidAsset;

impl Asset {
    pub const fn chain(self) -> Chain {
        match self {
            Self::Btc => Chain::Bitcoin,
            Self::Eth | Self::Erc20(_) => Chain::Ethereum,
            Self::Xrp => Chain::Xrp,
        }
    }

    /// The asset that fees are paid in on this chain.
    pub const fn native(chain: Chain) -> Self {
        match chain {
            Chain::Bitcoin => Self::Btc,
            Chain::Ethereum => Self::Eth,
            Chain::Xrp => Self::Xrp,
        }
    }

    /// Decimal places of a chain's own asset; those of a token are configuration.
    pub const fn native_decimals(chain: Chain) -> u8 {
        match chain {
            Chain::Bitcoin => 8,
            Chain::Ethereum => 18,
            Chain::Xrp => 6,
        }
    }
}
impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Btc => f.write_str("BTC"),
            Self::Eth => f.write_str("ETH"),
            Self::Xrp => f.write_str("XRP"),
            Self::Erc20(contract) => write!(f, "erc20:0x{}", hex::encode(contract)),
        }
    }
}
impl FromStr for Asset {
    type Err = InvalidAsset;
    fn from_str(text: &str) -> Result<Self, InvalidAsset> {
        match text {
            "BTC" => Ok(Self::Btc),
            "ETH" => Ok(Self::Eth),
            "XRP" => Ok(Self::Xrp),
            _ => {
                let digits = text.strip_prefix("erc20:0x").ok_or(InvalidAsset)?;
                let mut contract = [0u8; 20];
                hex::decode_to_slice(digits.to_ascii_lowercase(), &mut contract).map_err(|_| InvalidAsset)?;
                Ok(Self::Erc20(contract))
            }
        }
    }
}
serde_as_text!(Asset);

/// How people write an asset: `{ asset: erc20:0x…, symbol: USDC, decimals: 6 }`. Operators configure tokens by contract.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AssetInfo {
    pub asset: Asset,
    pub symbol: String,
    pub decimals: u8,
}

impl AssetInfo {
    /// The chains' own assets.
    pub fn natives() -> [Self; 3] {
        Chain::ALL.map(|chain| {
            let asset = Asset::native(chain);
            Self { asset, symbol: asset.to_string(), decimals: Asset::native_decimals(chain) }
        })
    }
}
