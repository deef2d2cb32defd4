//! Non-hardened derivation of child public keys from a threshold key.
//!
//! secp256k1 keys follow BIP-32 (SLIP-10). For Ed25519 no standard defines non-hardened derivation; this is the
//! additive scheme of the `hd-wallet` crate (`Edwards`), which the co-signers use too.

use crate::{
    signing::{GroupKey, Scheme},
    wallet::DerivationPath,
};
use generic_ec::{
    Curve, Point,
    curves::{Ed25519, Secp256k1},
};
use hd_wallet::{Edwards, ExtendedPublicKey, HdWallet, NonHardenedIndex, Slip10};
use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{LazyLock, Mutex, PoisonError},
};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    #[error("the {0} group key's public key is not a valid point")]
    InvalidPoint(Scheme),
    #[error("derivation path {0} has a hardened element")]
    Hardened(DerivationPath),
}

/// The child public key at `path`: 33 bytes SEC1 compressed (secp256k1) or 32 bytes (Ed25519). Not taproot-tweaked.
///
/// Building, checking, signing and watching each ask for the same few keys, and an element costs a multiplication on the curve:
/// what was derived lately is remembered. The answer is the same with or without.
pub fn derive_public_key(key: &GroupKey, path: &DerivationPath) -> Result<Vec<u8>, DeriveError> {
    match key.scheme {
        Scheme::EcdsaSecp256k1 | Scheme::Bip340 => derive::<Secp256k1, Slip10>(key, path),
        Scheme::Ed25519 => derive::<Ed25519, Edwards>(key, path),
    }
}

fn derive<E: Curve, Hd: HdWallet<E>>(key: &GroupKey, path: &DerivationPath) -> Result<Vec<u8>, DeriveError> {
    let elements = path.elements();
    let at = |depth: usize| Node {
        root: (key.scheme, key.public_key.clone(), key.chain_code),
        below: elements.into_iter().take(depth).collect(),
    };
    // Two nodes of a path are worth keeping, the child and its branch: most paths differ in the last element only.
    let (child, branch) = (elements.len(), elements.len() - 1);
    let known = [child, branch].into_iter().find_map(|depth| Some((depth, recall(&at(depth))?)));
    let (depth, from) = known.unwrap_or_else(|| (0, (key.public_key.clone(), key.chain_code)));
    if depth == child {
        return Ok(from.0);
    }
    let point = Point::<E>::from_bytes(&from.0).map_err(|_| DeriveError::InvalidPoint(key.scheme))?;
    let mut node = ExtendedPublicKey { public_key: point, chain_code: from.1 };
    for (above, element) in elements.into_iter().enumerate().skip(depth) {
        let index = NonHardenedIndex::try_from(element).map_err(|_| DeriveError::Hardened(*path))?;
        node = Hd::derive_child_public_key(&node, index);
        if above + 1 >= branch {
            remember(at(above + 1), (node.public_key.to_bytes(true).to_vec(), node.chain_code));
        }
    }
    Ok(node.public_key.to_bytes(true).to_vec())
}

/// A node below a group key, named by all that it follows from: two that are equal are the same key.
#[derive(Hash, PartialEq, Eq)]
struct Node {
    root: (Scheme, Vec<u8>, [u8; 32]),
    below: Vec<u32>,
}

/// The public key's bytes and the chain code of a node.
type Extended = (Vec<u8>, [u8; 32]);

/// As many nodes are remembered, those used last: some 300 bytes each.
const REMEMBERED: usize = 1024;

static LATELY: LazyLock<Mutex<LruCache<Node, Extended>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN))));

fn recall(node: &Node) -> Option<Extended> {
    LATELY.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
}

fn remember(node: Node, key: Extended) {
    LATELY.lock().unwrap_or_else(PoisonError::into_inner).put(node, key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::Branch;

    /// BIP-32 test vector 2: from the node m/0 (an extended public key published there) to its child 0.
    #[test]
    fn secp256k1_follows_bip32() {
        // m/0/2147483647H/1 → m/0/2147483647H/1/2147483646H are hardened; test vector 1 gives m/0H/1/2H/2 → /1000000000.
        let parent = "02e8445082a72f29b75ca48748a914df60622a609cacfce8ed0e35804560741d29";
        let chain_code = "cfb71883f01676f587d023cc53a35bc7f88f724b1f8c2892ac1275ac822a3edd";
        let child = "022a471424da5e657499d1ff51cb43c47481a03b1e77f951fe64cec9f5a48f7011";
        let node = ExtendedPublicKey::<Secp256k1> {
            public_key: Point::from_bytes(hex::decode(parent).unwrap()).unwrap(),
            chain_code: hex::decode(chain_code).unwrap().try_into().unwrap(),
        };
        let derived = Slip10::derive_child_public_key(&node, 1_000_000_000.try_into().unwrap());
        assert_eq!(hex::encode(derived.public_key.to_bytes(true)), child);
    }

    #[test]
    fn each_path_has_its_own_key() {
        let generator = Point::<Ed25519>::generator().to_point().to_bytes(true).to_vec();
        let key = GroupKey {
            scheme: Scheme::Ed25519,
            public_key: generator,
            chain_code: [7; 32],
            threshold: 2,
            parties: 3,
            generation: 0,
        };
        let path = |branch, index| DerivationPath { purpose: 144, account: 0, branch, index };
        let keys: std::collections::BTreeSet<_> =
            [(Branch::Receive, 0), (Branch::Receive, 1), (Branch::Change, 0)]
                .into_iter()
                .map(|(branch, index)| derive_public_key(&key, &path(branch, index)).unwrap())
                .collect();
        assert_eq!(keys.len(), 3);
        // Again, with what is remembered by now; and a key that differs in its chain code alone has other children.
        let first = |key| derive_public_key(key, &path(Branch::Receive, 0)).unwrap();
        assert!(keys.contains(&first(&key)));
        assert!(!keys.contains(&first(&GroupKey { chain_code: [8; 32], ..key.clone() })));
        // More than are remembered, each as the crate derives it alone from the root.
        for index in (0..2 * REMEMBERED as u32).chain([0]) {
            let path = path(Branch::Receive, index);
            let root = ExtendedPublicKey::<Ed25519> {
                public_key: Point::from_bytes(&key.public_key).unwrap(),
                chain_code: key.chain_code,
            };
            let alone = path.elements().into_iter().fold(root, |node, element| {
                Edwards::derive_child_public_key(&node, element.try_into().unwrap())
            });
            assert_eq!(derive_public_key(&key, &path).unwrap(), alone.public_key.to_bytes(true).to_vec());
        }
        assert!(keys.iter().all(|key| key.len() == 32));
        let broken = GroupKey { public_key: vec![1; 31], ..key };
        assert_eq!(
            derive_public_key(&broken, &path(Branch::Receive, 0)),
            Err(DeriveError::InvalidPoint(Scheme::Ed25519))
        );
    }
}
