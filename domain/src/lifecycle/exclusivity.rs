//! The exclusivity rule: one intent, at most one payment.
//!
//! Every transaction of a transfer that might still be final must need a resource (an output, a nonce, a Sequence) in common with
//! each of the others, so that the chain itself takes one of them at most. Workers ask before they build on it, the store asks
//! again before it writes, and each co-signer has the same rule about what it signed.

use crate::{effects::Resource, ids::TransactionId, package::Purpose};
use std::collections::BTreeSet;

/// A transaction of a transfer, as the rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub transaction: TransactionId,
    pub purpose: &'a Purpose,
    pub resources: &'a [Resource],
}

impl Claim<'_> {
    /// A child spends what its parent returns to the wallet, and pays nobody: it takes no other transaction's place.
    const fn is_child(&self) -> bool {
        matches!(self.purpose, Purpose::Child { .. })
    }

    /// The first resource that both need, in the order of the text form.
    pub fn shared<'a>(&'a self, other: &'a Claim<'_>) -> Option<&'a Resource> {
        let mine: BTreeSet<&Resource> = self.resources.iter().collect();
        other.resources.iter().filter(|resource| mine.contains(resource)).min()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotExclusive {
    #[error("it has no exclusive resource, so nothing would keep it from paying twice")]
    NoResource,
    #[error("transaction {0} of the same transfer might still be final and shares no resource with it")]
    Disjoint(TransactionId),
}

/// Whether a new transaction may stand beside those of the same transfer that are neither released nor proven dead.
pub fn may_follow(new: &Claim<'_>, live: &[Claim<'_>]) -> Result<(), NotExclusive> {
    if new.resources.is_empty() {
        return Err(NotExclusive::NoResource);
    }
    if new.is_child() {
        return Ok(());
    }
    let disjoint = |earlier: &&Claim<'_>| !earlier.is_child() && new.shared(earlier).is_none();
    match live.iter().find(disjoint) {
        Some(earlier) => Err(NotExclusive::Disjoint(earlier.transaction)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        effects::OutPoint,
        package::UnsignedTransaction,
        wallet::{WalletDescriptor, WalletKind},
    };
    use proptest::prelude::*;

    fn utxos(numbers: &BTreeSet<u32>) -> Vec<Resource> {
        numbers.iter().map(|vout| Resource::Utxo(OutPoint { txid: [1; 32], vout: *vout })).collect()
    }
    fn id(n: usize) -> TransactionId {
        TransactionId::new(uuid::Uuid::from_u128(n as u128))
    }

    proptest! {
        /// Whatever is tried, in whatever order: no two of those that were let in can both be final, because every pair needs one
        /// output in common.
        #[test]
        fn any_two_that_were_let_in_exclude_each_other(
            tries in prop::collection::vec(prop::collection::btree_set(0u32..6, 0..4), 1..12)
        ) {
            let tries: Vec<_> = tries.iter().map(utxos).collect();
            let mut live: Vec<Claim<'_>> = Vec::new();
            for (n, resources) in tries.iter().enumerate() {
                let new = Claim { transaction: id(n), purpose: &Purpose::Pay, resources };
                if may_follow(&new, &live).is_ok() {
                    live.push(new);
                }
            }
            for (n, one) in live.iter().enumerate() {
                for other in &live[..n] {
                    prop_assert!(one.shared(other).is_some());
                }
            }
        }
    }

    #[test]
    fn a_child_stands_beside_its_parent_and_in_nobodys_way() {
        let bitcoin = crate::network::Network::Bitcoin(crate::network::BitcoinNetwork::Regtest);
        let wallet = WalletDescriptor::new(bitcoin, WalletKind::P2tr, 0).unwrap();
        let parent = Box::new(UnsignedTransaction { wallet, source: None, bytes: vec![1] });
        let (pay, child) = (Purpose::Pay, Purpose::Child { parent });
        let [one, two] = [1, 2].map(|vout| utxos(&[vout].into()));
        let first = Claim { transaction: id(1), purpose: &pay, resources: &one };
        let beside = Claim { transaction: id(2), purpose: &child, resources: &two };
        assert_eq!(may_follow(&beside, &[first]), Ok(()));
        let replacement = Claim { transaction: id(3), purpose: &pay, resources: &one };
        assert_eq!(may_follow(&replacement, &[first, beside]), Ok(()));
        let apart = Claim { transaction: id(4), purpose: &pay, resources: &two };
        assert_eq!(may_follow(&apart, &[first, beside]), Err(NotExclusive::Disjoint(id(1))));
        let nothing = Claim { resources: &[], ..apart };
        assert_eq!(may_follow(&nothing, &[]), Err(NotExclusive::NoResource));
    }
}
