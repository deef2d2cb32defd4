//! Fresh addresses of others.

use crate::initiator::rand_bytes;
use alloy::primitives::Address as EthAddress;
use bitcoin::{
    Address, CompressedPublicKey, Network, PubkeyHash, ScriptBuf, XOnlyPublicKey, hashes::Hash as _,
    key::Secp256k1, secp256k1::SecretKey,
};
use xrpl::core::keypairs::{derive_classic_address, derive_keypair, generate_seed};

/// Each standard type of Bitcoin address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitcoinType {
    P2pkh,
    P2sh,
    P2wpkh,
    P2wsh,
    P2tr,
}

pub fn bitcoin(kind: BitcoinType) -> String {
    let secp = Secp256k1::new();
    let secret = loop {
        if let Ok(secret) = SecretKey::from_slice(&rand_bytes::<32>()) {
            break secret;
        }
    };
    let key = CompressedPublicKey(secret.public_key(&secp));
    let network = Network::Regtest;
    let script = ScriptBuf::new_p2pkh(&PubkeyHash::from_byte_array(rand_bytes()));
    let address = match kind {
        BitcoinType::P2pkh => Address::p2pkh(key, network),
        BitcoinType::P2sh => Address::p2shwpkh(&key, network),
        BitcoinType::P2wpkh => Address::p2wpkh(&key, network),
        BitcoinType::P2wsh => Address::p2wsh(&script, network),
        BitcoinType::P2tr => {
            Address::p2tr(&secp, XOnlyPublicKey::from(secret.public_key(&secp)), None, network)
        }
    };
    address.to_string()
}

pub fn ethereum() -> String {
    EthAddress::from(rand_bytes()).to_string()
}

/// An account that does not exist yet, and the seed of its key.
pub fn xrp() -> anyhow::Result<(String, String)> {
    let failed = |error: &dyn std::fmt::Display| anyhow::anyhow!("cannot make an XRPL account: {error}");
    let seed = generate_seed(Some(rand_bytes()), None).map_err(|error| failed(&error))?;
    let (public, _) = derive_keypair(&seed, false).map_err(|error| failed(&error))?;
    let address = derive_classic_address(&public).map_err(|error| failed(&error))?;
    Ok((address, seed))
}
