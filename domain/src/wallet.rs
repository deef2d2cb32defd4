//! Wallets: which key, which chain, which address format, and the paths of their addresses.

use crate::{
    network::{Chain, Network},
    signing::Scheme,
    text::serde_as_text,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The address format of a wallet, which fixes its signature scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WalletKind {
    /// BIP-341 key-path spends of BIP-86 outputs, signed by FROST. Bitcoin's default.
    P2tr,
    /// BIP-84 outputs, signed by threshold ECDSA.
    P2wpkh,
    /// Externally owned accounts, signed by threshold ECDSA.
    Ethereum,
    /// XRPL accounts with an Ed25519 key, signed by FROST. XRP's default.
    XrpEd25519,
    /// XRPL accounts with a secp256k1 key, signed by threshold ECDSA.
    XrpSecp256k1,
}

impl WalletKind {
    pub const ALL: [Self; 5] =
        [Self::P2tr, Self::P2wpkh, Self::Ethereum, Self::XrpEd25519, Self::XrpSecp256k1];

    pub const fn name(self) -> &'static str {
        match self {
            Self::P2tr => "p2tr",
            Self::P2wpkh => "p2wpkh",
            Self::Ethereum => "ethereum",
            Self::XrpEd25519 => "xrp-ed25519",
            Self::XrpSecp256k1 => "xrp-secp256k1",
        }
    }
    pub const fn chain(self) -> Chain {
        match self {
            Self::P2tr | Self::P2wpkh => Chain::Bitcoin,
            Self::Ethereum => Chain::Ethereum,
            Self::XrpEd25519 | Self::XrpSecp256k1 => Chain::Xrp,
        }
    }
    pub const fn default_for(chain: Chain) -> Self {
        match chain {
            Chain::Bitcoin => Self::P2tr,
            Chain::Ethereum => Self::Ethereum,
            Chain::Xrp => Self::XrpEd25519,
        }
    }
    pub const fn scheme(self) -> Scheme {
        match self {
            Self::P2tr => Scheme::Bip340,
            Self::P2wpkh | Self::Ethereum | Self::XrpSecp256k1 => Scheme::EcdsaSecp256k1,
            Self::XrpEd25519 => Scheme::Ed25519,
        }
    }
    /// First path element, after BIP-43 and SLIP-44: 86 and 84 by script type, else the registered coin type. It keeps
    /// the child keys of different chains apart although they grow from one key.
    pub const fn purpose(self) -> u32 {
        match self {
            Self::P2tr => 86,
            Self::P2wpkh => 84,
            Self::Ethereum => 60,
            Self::XrpEd25519 | Self::XrpSecp256k1 => 144,
        }
    }
}
impl fmt::Display for WalletKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown wallet kind: expected p2tr, p2wpkh, ethereum, xrp-ed25519 or xrp-secp256k1")]
pub struct InvalidWalletKind;
impl FromStr for WalletKind {
    type Err = InvalidWalletKind;
    fn from_str(text: &str) -> Result<Self, InvalidWalletKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(InvalidWalletKind)
    }
}
serde_as_text!(WalletKind);

/// Names a wallet so that a co-signer can derive its keys without asking anyone.
///
/// Text form `<network>/<kind>/<account>`, such as `bitcoin:regtest/p2tr/0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WalletDescriptor {
    pub network: Network,
    pub kind: WalletKind,
    /// Index of the wallet below its key, under 2³¹.
    pub account: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a wallet descriptor: expected <network>/<kind>/<account>, such as bitcoin:regtest/p2tr/0")]
pub struct InvalidDescriptor;

impl WalletDescriptor {
    pub fn new(network: Network, kind: WalletKind, account: u32) -> Result<Self, InvalidDescriptor> {
        let valid = kind.chain() == network.chain() && account < HARDENED;
        valid.then_some(Self { network, kind, account }).ok_or(InvalidDescriptor)
    }
    pub const fn scheme(&self) -> Scheme {
        self.kind.scheme()
    }
    pub const fn path(&self, branch: Branch, index: u32) -> DerivationPath {
        DerivationPath { purpose: self.kind.purpose(), account: self.account, branch, index }
    }
    /// Whether `path` belongs to this wallet.
    pub const fn owns(&self, path: &DerivationPath) -> bool {
        path.purpose == self.kind.purpose() && path.account == self.account && path.index < HARDENED
    }
}
impl fmt::Display for WalletDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.kind, self.account)
    }
}
impl FromStr for WalletDescriptor {
    type Err = InvalidDescriptor;
    fn from_str(text: &str) -> Result<Self, InvalidDescriptor> {
        let mut parts = text.split('/');
        let (Some(network), Some(kind), Some(account), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidDescriptor);
        };
        let descriptor = Self::new(
            network.parse().map_err(|_| InvalidDescriptor)?,
            kind.parse().map_err(|_| InvalidDescriptor)?,
            account.parse().map_err(|_| InvalidDescriptor)?,
        )?;
        (descriptor.to_string() == text).then_some(descriptor).ok_or(InvalidDescriptor)
    }
}
serde_as_text!(WalletDescriptor);

const HARDENED: u32 = 1 << 31;

/// BIP-44's last but one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Branch {
    Receive,
    Change,
}

/// The non-hardened path `m/purpose/account/branch/index` below a threshold key. The distributed key is the root `m`:
/// with no complete private key, hardened derivation (which needs one) does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DerivationPath {
    pub purpose: u32,
    pub account: u32,
    pub branch: Branch,
    pub index: u32,
}

impl DerivationPath {
    pub const fn elements(&self) -> [u32; 4] {
        [self.purpose, self.account, matches!(self.branch, Branch::Change) as u32, self.index]
    }
    /// The inverse of [`elements`](Self::elements): `None` unless four non-hardened elements with a branch of 0 or 1.
    pub fn from_elements(elements: &[u32]) -> Option<Self> {
        match *elements {
            [purpose, account, branch @ (0 | 1), index] if purpose.max(account).max(index) < HARDENED => {
                let branch = if branch == 0 { Branch::Receive } else { Branch::Change };
                Some(Self { purpose, account, branch, index })
            }
            _ => None,
        }
    }
}
impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [purpose, account, branch, index] = self.elements();
        write!(f, "m/{purpose}/{account}/{branch}/{index}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_have_one_text_form() {
        for text in ["bitcoin:regtest/p2tr/0", "ethereum:31337/ethereum/7", "xrp:0/xrp-ed25519/1"] {
            assert_eq!(text.parse::<WalletDescriptor>().map(|d| d.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "bitcoin:regtest/ethereum/0",
            "bitcoin:regtest/p2tr/00",
            "bitcoin:regtest/p2tr",
            "bitcoin:regtest/p2tr/2147483648",
            "bitcoin:regtest/p2tr/0/0",
        ] {
            assert_eq!(text.parse::<WalletDescriptor>(), Err(InvalidDescriptor), "{text}");
        }
    }

    #[test]
    fn paths_round_trip() {
        let path = DerivationPath { purpose: 86, account: 1, branch: Branch::Change, index: 9 };
        assert_eq!(path.to_string(), "m/86/1/1/9");
        assert_eq!(DerivationPath::from_elements(&path.elements()), Some(path));
        assert_eq!(DerivationPath::from_elements(&[86, 0, 2, 0]), None);
        assert_eq!(DerivationPath::from_elements(&[86, 0, 0, 1 << 31]), None);
    }
}
