//! Threshold keys, what is asked of them, and what they give back.

use crate::{
    text::{hex_bytes, hex_vec, serde_as_text},
    wallet::DerivationPath,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A signature scheme; each has a distributed key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// ECDSA over secp256k1 by CGGMP24 (ePrint 2021/060).
    EcdsaSecp256k1,
    /// BIP-340 Schnorr by FROST (RFC 9591).
    Bip340,
    /// Ed25519 (RFC 8032) by FROST (RFC 9591).
    Ed25519,
}

impl Scheme {
    pub const ALL: [Self; 3] = [Self::EcdsaSecp256k1, Self::Bip340, Self::Ed25519];

    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdsaSecp256k1 => "ecdsa-secp256k1",
            Self::Bip340 => "bip340",
            Self::Ed25519 => "ed25519",
        }
    }
}
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown signature scheme: expected ecdsa-secp256k1, bip340 or ed25519")]
pub struct InvalidScheme;
impl FromStr for Scheme {
    type Err = InvalidScheme;
    fn from_str(text: &str) -> Result<Self, InvalidScheme> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == text).ok_or(InvalidScheme)
    }
}
serde_as_text!(Scheme);

/// Who a co-signer acts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PartyRole {
    Client,
    WealthManager,
    /// Runs the orchestrator; it never initiates a payment.
    CustodyPlatform,
}

/// A party's place in every key: 0 to n − 1. The same in all three schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartyIndex(pub u16);

impl fmt::Display for PartyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The public side of a distributed key: the root of its wallets' derivation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupKey {
    pub scheme: Scheme,
    /// 33 bytes, SEC1 compressed (secp256k1), or 32 bytes (Ed25519).
    #[serde(with = "hex_vec")]
    pub public_key: Vec<u8>,
    #[serde(with = "hex_bytes")]
    pub chain_code: [u8; 32],
    /// t: how many parties must sign together.
    pub threshold: u16,
    /// n: how many parties hold a share.
    pub parties: u16,
    /// Counts refreshes of the shares; the public key stays.
    pub generation: u32,
}

/// One signature that a transaction needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningPayload {
    pub scheme: Scheme,
    /// Which child of the group key signs.
    pub path: DerivationPath,
    /// ECDSA and BIP-340: the 32-byte digest. Ed25519: the whole message.
    #[serde(with = "hex_vec")]
    pub message: Vec<u8>,
    /// BIP-340 only: sign under the BIP-341 output key with an empty script tree (BIP-86).
    pub taproot_tweak: bool,
}

/// A signature in the 64-byte form of its scheme: `r ‖ s` big-endian with low S (ECDSA), BIP-340, or RFC 8032.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureBytes(#[serde(with = "hex_bytes")] pub [u8; 64]);
