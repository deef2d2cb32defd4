//! Taking one payout back from a batch that is not signed yet.
//!
//! The initiator signs the recall, as it signed the intent: the orchestrator alone can leave no payout out.

use crate::{
    canonical::Canonical,
    intent::{Intent, IntentDigest, SignedIntent},
    text::hex_bytes,
};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The initiator's word that one payout of an intent is not to be made any more, over [`canonical`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecall {
    /// Index into the intent's `payments`, from 0.
    pub payment: u32,
    /// Ed25519 (RFC 8032) by the intent's own initiator.
    #[serde(with = "hex_bytes")]
    pub signature: [u8; 64],
}

/// The bytes that the initiator signs.
pub fn canonical(intent: IntentDigest, payment: u32) -> Canonical {
    Canonical::new("bursar/recall/v1").bytes(&intent.0).number(u64::from(payment))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecall {
    #[error("payment: the intent has no payments[{0}]")]
    NoSuchPayment(u32),
    #[error("payment: payments[{0}] is recalled already")]
    Twice(u32),
    #[error("payment: payments[{0}] is the last one left; abort the transfer instead")]
    LastOne(u32),
    #[error("signature: is not the initiator's over the recall of payments[{0}]")]
    Signature(u32),
    #[error("initiator: not a valid Ed25519 public key")]
    Key,
}

/// The intent without the payouts that were recalled, each under its initiator's verified signature. The digest of the result
/// names no order: keep using that of the original.
pub fn remaining(order: &SignedIntent, recalls: &[SignedRecall]) -> Result<Intent, InvalidRecall> {
    let mut intent = order.intent.clone();
    if recalls.is_empty() {
        return Ok(intent);
    }
    let key = VerifyingKey::from_bytes(&order.initiator.0).map_err(|_| InvalidRecall::Key)?;
    let digest = intent.digest();
    let mut gone = BTreeSet::new();
    for recall in recalls {
        let index = recall.payment;
        if usize::try_from(index).map_or(true, |index| index >= intent.payments.len()) {
            return Err(InvalidRecall::NoSuchPayment(index));
        }
        if !gone.insert(index as usize) {
            return Err(InvalidRecall::Twice(index));
        }
        if gone.len() == intent.payments.len() {
            return Err(InvalidRecall::LastOne(index));
        }
        key.verify_strict(canonical(digest, index).as_bytes(), &Signature::from_bytes(&recall.signature))
            .map_err(|_| InvalidRecall::Signature(index))?;
    }
    let mut index = 0;
    intent.payments.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    Ok(intent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        amount::Amount,
        asset::Asset,
        intent::{Destination, InitiatorKey, Payment},
        network::{BitcoinNetwork, Network},
        time::Timestamp,
        wallet::{WalletDescriptor, WalletKind},
    };
    use ed25519_dalek::{Signer as _, SigningKey};

    fn order(key: &SigningKey) -> SignedIntent {
        let payment = |n: u64| Payment {
            destination: Destination { address: format!("bcrt1q{n}"), tag: None },
            amount: Amount::from_u64(n),
        };
        let intent = Intent {
            external_id: "batch-1".parse().unwrap(),
            wallet: WalletDescriptor::new(Network::Bitcoin(BitcoinNetwork::Regtest), WalletKind::P2tr, 0)
                .unwrap(),
            asset: Asset::Btc,
            source: None,
            payments: vec![payment(1), payment(2), payment(3)],
            max_fee: Amount::from_u64(9),
            expires_at: Timestamp(1),
            fills: None,
        };
        let signature = key.sign(intent.canonical().as_bytes()).to_bytes();
        SignedIntent { intent, initiator: InitiatorKey(key.verifying_key().to_bytes()), signature }
    }

    fn recall(key: &SigningKey, order: &SignedIntent, payment: u32) -> SignedRecall {
        let signature = key.sign(canonical(order.intent.digest(), payment).as_bytes()).to_bytes();
        SignedRecall { payment, signature }
    }

    /// The worked example of docs/intent.md.
    #[test]
    fn the_documented_bytes_are_the_encoding() {
        let digest = "b81c5cf60f47ace72b58b04c030f9b42022093cc30b8dd999291ffe13fedc584";
        let mut bytes = [0; 32];
        hex::decode_to_slice(digest, &mut bytes).unwrap();
        let encoding = canonical(IntentDigest(bytes), 1);
        let documented =
            format!("000000106275727361722f726563616c6c2f763100000020{digest}000000080000000000000001");
        assert_eq!(hex::encode(encoding.as_bytes()), documented);
        let mut secret = [0; 32];
        let published = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        hex::decode_to_slice(published, &mut secret).unwrap();
        let signature = SigningKey::from_bytes(&secret).sign(encoding.as_bytes()).to_bytes();
        assert_eq!(
            hex::encode(signature),
            "6bb7354b9ba66f78a4e2f7ad0dae8db5d1ad960ecc06b42cc9a0674f7943bb46\
             d426bb0b4ee530769886fecd91b04ad197797057395e58145f7b753d8c9a130e"
        );
    }

    #[test]
    fn only_what_the_initiator_took_back_is_left_out() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let order = order(&key);
        let amounts = |recalls: &[SignedRecall]| {
            remaining(&order, recalls)
                .map(|intent| intent.payments.iter().map(|p| p.amount.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(amounts(&[]).unwrap(), ["1", "2", "3"]);
        assert_eq!(amounts(&[recall(&key, &order, 1)]).unwrap(), ["1", "3"]);
        assert_eq!(amounts(&[recall(&key, &order, 2), recall(&key, &order, 0)]).unwrap(), ["2"]);

        let twice = [recall(&key, &order, 1), recall(&key, &order, 1)];
        assert_eq!(amounts(&twice), Err(InvalidRecall::Twice(1)));
        let all: Vec<_> = (0..3).map(|n| recall(&key, &order, n)).collect();
        assert_eq!(amounts(&all), Err(InvalidRecall::LastOne(2)));
        assert_eq!(amounts(&[recall(&key, &order, 3)]), Err(InvalidRecall::NoSuchPayment(3)));
        let stranger = SigningKey::from_bytes(&[4; 32]);
        assert_eq!(amounts(&[recall(&stranger, &order, 1)]), Err(InvalidRecall::Signature(1)));
        let moved = SignedRecall { payment: 2, ..recall(&key, &order, 1) };
        assert_eq!(amounts(&[moved]), Err(InvalidRecall::Signature(2)));
    }
}
