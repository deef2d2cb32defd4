//! Which keys, scripts and addresses are the wallet's own: recomputed, never taken from the PSBT.

use super::refuse;
use bitcoin::{
    Address, Network as ChainParams, Script, ScriptBuf, WPubkeyHash, XOnlyPublicKey,
    bip32::{Fingerprint, KeySource},
    hashes::{Hash, hash160},
    key::TapTweak,
    secp256k1::{PublicKey, Secp256k1, VerifyOnly},
};
use bursar_domain::{
    hd::{DeriveError, derive_public_key},
    network::{BitcoinNetwork, Network},
    ports::DecodeError,
    signing::{GroupKey, Scheme},
    wallet::{DerivationPath, WalletDescriptor, WalletKind},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    /// Key-path spend of an output without a script tree (BIP-86).
    Taproot,
    WitnessKeyHash,
}

pub struct OwnKeys<'a> {
    pub kind: ScriptKind,
    wallet: &'a WalletDescriptor,
    group: &'a GroupKey,
    fingerprint: Fingerprint,
    chain: ChainParams,
    secp: Secp256k1<VerifyOnly>,
}

impl<'a> OwnKeys<'a> {
    pub fn new(wallet: &'a WalletDescriptor, group: &'a GroupKey) -> Result<Self, DecodeError> {
        let chain = match wallet.network {
            Network::Bitcoin(BitcoinNetwork::Mainnet) => ChainParams::Bitcoin,
            Network::Bitcoin(BitcoinNetwork::Testnet4) => ChainParams::Testnet4,
            Network::Bitcoin(BitcoinNetwork::Signet) => ChainParams::Signet,
            Network::Bitcoin(BitcoinNetwork::Regtest) => ChainParams::Regtest,
            other => return refuse("wallet", format!("is on {other}")),
        };
        let (kind, scheme) = match wallet.kind {
            WalletKind::P2tr => (ScriptKind::Taproot, Scheme::Bip340),
            WalletKind::P2wpkh => (ScriptKind::WitnessKeyHash, Scheme::EcdsaSecp256k1),
            other => return refuse("wallet", format!("is of kind {other}")),
        };
        if group.scheme != scheme {
            return refuse("wallet", format!("needs the {scheme} key, not the {} key", group.scheme));
        }
        let head = hash160::Hash::hash(&group.public_key).to_byte_array();
        let fingerprint = Fingerprint::from([head[0], head[1], head[2], head[3]]);
        Ok(Self { kind, wallet, group, fingerprint, chain, secp: Secp256k1::verification_only() })
    }

    /// The path that a key origin names, if it is below this key and in this wallet.
    pub fn path(&self, (fingerprint, path): &KeySource) -> Result<DerivationPath, DecodeError> {
        if *fingerprint != self.fingerprint {
            return refuse("key origin", format!("has fingerprint {fingerprint}, not this key's"));
        }
        let elements: Vec<u32> = path.into_iter().map(|child| u32::from(*child)).collect();
        match DerivationPath::from_elements(&elements) {
            Some(path) if self.wallet.owns(&path) => Ok(path),
            _ => refuse("key origin", format!("m/{path} is not a path of the wallet")),
        }
    }

    pub fn child(&self, path: &DerivationPath) -> Result<PublicKey, DecodeError> {
        let bytes = derive_public_key(self.group, path)?;
        PublicKey::from_slice(&bytes).map_err(|_| DeriveError::InvalidPoint(self.group.scheme).into())
    }

    /// The script that locks money to `child`.
    pub fn script(&self, child: &PublicKey) -> ScriptBuf {
        match self.kind {
            ScriptKind::Taproot => {
                let (internal, _parity): (XOnlyPublicKey, _) = child.x_only_public_key();
                let (output, _parity) = internal.tap_tweak(&self.secp, None);
                ScriptBuf::new_p2tr_tweaked(output)
            }
            ScriptKind::WitnessKeyHash => {
                ScriptBuf::new_p2wpkh(&WPubkeyHash::from_raw_hash(hash160::Hash::hash(&child.serialize())))
            }
        }
    }

    /// The address of a script, if it is of a type that is paid.
    pub fn show(&self, script: &Script) -> Result<String, DecodeError> {
        let known = script.is_p2pkh() || script.is_p2sh() || script.is_p2wpkh() || script.is_p2wsh();
        let taproot = script.is_p2tr() && XOnlyPublicKey::from_slice(&script.as_bytes()[2..]).is_ok();
        if !known && !taproot {
            return refuse("outputs", format!("pay to a script that has no standard address: {script}"));
        }
        Address::from_script(script, self.chain)
            .map(|address| address.to_string())
            .or_else(|error| refuse("outputs", format!("pay to a script that has no address: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIP-86 test vector: from the internal key to the output's script, whatever the group key.
    #[test]
    fn bip86_vector() {
        let internal: PublicKey =
            "02cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115".parse().unwrap();
        let group = GroupKey {
            scheme: Scheme::Bip340,
            public_key: internal.serialize().to_vec(),
            chain_code: [0; 32],
            threshold: 2,
            parties: 3,
            generation: 0,
        };
        let wallet = "bitcoin:mainnet/p2tr/0".parse().unwrap();
        let script = OwnKeys::new(&wallet, &group).unwrap().script(&internal);
        assert_eq!(
            script.to_hex_string(),
            "5120a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c"
        );
    }
}
