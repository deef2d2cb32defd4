//! The two identifiers of the XRP Ledger: 20-byte accounts and 32-byte hashes.

use std::fmt;

use sha2::{Digest, Sha256, Sha512};
use xrpl::core::addresscodec::{decode_classic_address, encode_classic_address};

/// Account of the XRP Ledger: RIPEMD-160 of the SHA-256 of its master public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub [u8; 20]);

impl AccountId {
    /// Decodes a classic address (`r…`), checksum included.
    #[must_use]
    pub fn parse(address: &str) -> Option<Self> {
        if !address.starts_with('r') || address.len() > 35 {
            return None;
        }
        Some(Self(decode_classic_address(address).ok()?.try_into().ok()?))
    }

    /// Account that belongs to a public key in its 33-byte form (`02…`/`03…`, or `ED…`).
    #[must_use]
    pub fn of_public_key(key: &[u8]) -> Self {
        use bitcoin::hashes::{Hash as _, ripemd160};
        let inner = Sha256::digest(key);
        Self(ripemd160::Hash::hash(&inner).to_byte_array())
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = encode_classic_address(&self.0).expect("20 bytes always encode as an address");
        f.write_str(&address)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// SHA-512Half value: transaction id, ledger hash or the key of a ledger entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash256(pub [u8; 32]);

impl Hash256 {
    /// "No transaction": what genesis entries carry as `PreviousTxnID`.
    pub const ZERO: Self = Self([0; 32]);

    /// First 32 bytes of SHA-512 over the concatenated parts.
    #[must_use]
    pub fn half_sha512(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha512::new();
        for part in parts {
            hasher.update(part);
        }
        let mut half = [0; 32];
        half.copy_from_slice(&hasher.finalize()[..32]);
        Self(half)
    }

    /// Reads 64 hex digits, either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(hex::decode(text).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

impl fmt::Debug for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Keys of ledger entries, as rippled derives them from a 16-bit name space.
/// Source: <https://xrpl.org/docs/references/protocol/ledger-data/common-fields>
pub mod keylet {
    use super::{AccountId, Hash256};

    #[must_use]
    pub fn account(id: &AccountId) -> Hash256 {
        Hash256::half_sha512(&[&[0, b'a'], &id.0])
    }

    #[must_use]
    pub fn ticket(owner: &AccountId, sequence: u32) -> Hash256 {
        Hash256::half_sha512(&[&[0, b'T'], &owner.0, &sequence.to_be_bytes()])
    }

    #[must_use]
    pub fn deposit_preauth(owner: &AccountId, authorized: &AccountId) -> Hash256 {
        Hash256::half_sha512(&[&[0, b'p'], &owner.0, &authorized.0])
    }

    #[must_use]
    pub fn signer_list(owner: &AccountId) -> Hash256 {
        Hash256::half_sha512(&[&[0, b'S'], &owner.0, &[0; 4]])
    }

    /// Trust line of two accounts; the order of the arguments does not matter.
    #[must_use]
    pub fn line(a: &AccountId, b: &AccountId, currency: &[u8; 20]) -> Hash256 {
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        Hash256::half_sha512(&[&[0, b'r'], &low.0, &high.0, currency])
    }
}

/// Root of the SHAMap that holds these transaction ids without metadata: the id of a consensus set, and the salt of
/// the order in which rippled applies it.
#[must_use]
pub fn transaction_set_hash(ids: &[Hash256]) -> Hash256 {
    if ids.is_empty() {
        return Hash256::ZERO;
    }
    inner_node(ids, 0)
}

fn inner_node(ids: &[Hash256], depth: usize) -> Hash256 {
    let mut children: [Vec<Hash256>; 16] = Default::default();
    for id in ids {
        let byte = id.0[depth / 2];
        let nibble = if depth.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f };
        children[usize::from(nibble)].push(*id);
    }
    let mut node = b"MIN\0".to_vec();
    for child in &children {
        let hash = match child.as_slice() {
            [] => Hash256::ZERO,
            [leaf] => *leaf,
            // Equal ids would recurse past the last nibble: callers pass a set.
            several => inner_node(several, depth + 1),
        };
        node.extend_from_slice(&hash.0);
    }
    Hash256::half_sha512(&[&node])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_should_be_those_of_rippled() {
        let genesis = AccountId::parse("rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh").unwrap();
        assert_eq!(
            keylet::account(&genesis).to_string(),
            "2B6AC232AA4C4BE41BF49D2459FA4A0347E1B543A4C92FCEE0821C0201E2E9A8"
        );
        let owner = AccountId::parse("rMfCbrRSYu7ZWwGLxAQe655W9XpTTS3X3J").unwrap();
        assert_eq!(
            keylet::ticket(&owner, 21).to_string(),
            "2A772C8012408C6F75C283250C87A7372D8864C6FE9B480AF43899567F211BF5"
        );
        assert_eq!(owner.to_string(), "rMfCbrRSYu7ZWwGLxAQe655W9XpTTS3X3J");
    }

    #[test]
    fn account_of_public_key_should_be_the_genesis_account_for_its_key() {
        let key = hex::decode("0330E7FC9D56BB25D6893BA3F317AE5BCF33B3291BD63DB32654A313222F7FD020").unwrap();
        assert_eq!(AccountId::of_public_key(&key).to_string(), "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh");
    }

    #[test]
    fn addresses_with_a_wrong_checksum_should_be_refused() {
        assert_eq!(AccountId::parse("rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTi"), None);
        assert_eq!(AccountId::parse("rBAD"), None);
        assert_eq!(AccountId::parse(""), None);
    }
}
