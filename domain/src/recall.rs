//! Taking one payout back from a batch that is not signed yet.
//!
//! The initiator signs the recall, as it signed the intent: the orchestrator alone can leave no payout out. A user's recall counts as long as the
//! log has the key that it is by; after that they recall the payout again with another, which takes the place of the first.

use crate::{
    canonical::Canonical,
    governance::{
        directory::{Directory, UserId},
        signature::{InvalidSignature, Signature},
    },
    intent::{InitiatorId, Intent, IntentDigest, SignedIntent},
    text::hex_bytes,
};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, slice::from_ref};

/// The initiator's word that one payout of an intent is not to be made any more, over [`canonical`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecall {
    /// Index into the intent's `payments`, from 0.
    pub payment: u32,
    pub signature: RecallSignature,
}

/// By the intent's own initiator, as that signed the intent: a bare key over the bytes, or a user, with any of their keys, over the digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "signature: give 128 hex digits, or an object with user, key and evidence")]
pub enum RecallSignature {
    /// Ed25519 (RFC 8032).
    Key(#[serde(with = "hex_bytes")] [u8; 64]),
    User(Signature),
}

/// The bytes that the initiator signs; of a user of a governed desk, their SHA-256.
pub fn canonical(intent: IntentDigest, payment: u32) -> Canonical {
    Canonical::new("bursar/recall/v1").bytes(&intent.0).number(u64::from(payment))
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecall {
    #[error("payment: the intent has no payments[{0}]")]
    NoSuchPayment(u32),
    #[error("payment: payments[{0}] is recalled already")]
    Twice(u32),
    #[error("payment: payments[{0}] is the last one left; abort the transfer instead")]
    LastOne(u32),
    #[error("signature: is not the initiator's over the recall of payments[{0}]")]
    Signature(u32),
    #[error("signature: of payments[{payment}]: {source}")]
    User { payment: u32, source: InvalidSignature },
    #[error("signature: payments[{payment}] is for {initiator} to recall, who ordered it")]
    OtherUser { payment: u32, initiator: UserId },
    #[error("initiator: not a valid Ed25519 public key")]
    Key,
}

/// The intent without the payouts that were recalled, each under its initiator's signature. The digest of the result names no order:
/// keep using that of the original.
///
/// A bare key's signatures are verified always, a user's by the `directory`: whoever has none relies on their having been verified when
/// they came, and holds only the name against the order's.
pub fn remaining(
    order: &SignedIntent,
    recalls: &[SignedRecall],
    directory: Option<&Directory>,
) -> Result<Intent, InvalidRecall> {
    let mut intent = order.intent.clone();
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
        verify(order, digest, recall, directory)?;
    }
    let mut index = 0;
    intent.payments.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    Ok(intent)
}

/// What a recall is beside those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Its payout is recalled already, by word that counts: nothing changes.
    Known,
    /// Its payout is recalled by word that does not count any more, in whose place it comes: what is paid stays as it is.
    Renews,
    /// Its payout is one that is paid now, and not the last one.
    First,
}

/// What `recall` is beside those that are `there`, by the `directory` as it is. Whoever takes it takes out what [`remaining`] says.
///
/// # Errors
/// A recall that does not count itself, as in [`remaining`].
pub fn beside(
    order: &SignedIntent,
    there: &[SignedRecall],
    recall: &SignedRecall,
    directory: Option<&Directory>,
) -> Result<Beside, InvalidRecall> {
    let alone = from_ref(recall);
    remaining(order, alone, directory)?;
    match there.iter().find(|there| there.payment == recall.payment) {
        Some(known) if verify(order, order.intent.digest(), known, directory).is_ok() => Ok(Beside::Known),
        Some(_) => Ok(Beside::Renews),
        // Of the others it matters only which payouts they take out.
        None => remaining(order, &[there, alone].concat(), None).map(|_| Beside::First),
    }
}

fn verify(
    order: &SignedIntent,
    digest: IntentDigest,
    recall: &SignedRecall,
    directory: Option<&Directory>,
) -> Result<(), InvalidRecall> {
    let payment = recall.payment;
    let signed = canonical(digest, payment);
    match (order.initiator(), &recall.signature) {
        (InitiatorId::Key(initiator), RecallSignature::Key(signature)) => {
            let key = VerifyingKey::from_bytes(&initiator.0).map_err(|_| InvalidRecall::Key)?;
            key.verify_strict(signed.as_bytes(), &ed25519_dalek::Signature::from_bytes(signature))
                .map_err(|_| InvalidRecall::Signature(payment))
        }
        (InitiatorId::User { user: initiator }, RecallSignature::User(signature)) => {
            if signature.user != initiator {
                return Err(InvalidRecall::OtherUser { payment, initiator });
            }
            let Some(directory) = directory else { return Ok(()) };
            let verified = signature.verify(directory, &signed.digest());
            verified.map(|_| ()).map_err(|source| InvalidRecall::User { payment, source })
        }
        _ => Err(InvalidRecall::Signature(payment)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        amount::Amount,
        asset::Asset,
        governance::{
            change::Change,
            testing::{TestDesk, TestPasskey, key as key_of},
        },
        intent::{Destination, InitiatorKey, Payment, Terms},
        network::{BitcoinNetwork, Network},
        time::Timestamp,
        wallet::{WalletDescriptor, WalletKind},
    };
    use ed25519_dalek::{Signer as _, SigningKey};

    fn order(key: &SigningKey) -> SignedIntent {
        let intent = batch(None);
        let signature = key.sign(intent.canonical().as_bytes()).to_bytes();
        SignedIntent::by_key(intent, InitiatorKey(key.verifying_key().to_bytes()), signature)
    }

    fn batch(terms: Option<Terms>) -> Intent {
        let payment = |n: u64| Payment {
            destination: Destination { address: format!("bcrt1q{n}"), tag: None },
            amount: Amount::from_u64(n),
        };
        Intent {
            external_id: "batch-1".parse().unwrap(),
            wallet: WalletDescriptor::new(Network::Bitcoin(BitcoinNetwork::Regtest), WalletKind::P2tr, 0)
                .unwrap(),
            asset: Asset::Btc,
            source: None,
            payments: vec![payment(1), payment(2), payment(3)],
            max_fee: Amount::from_u64(9),
            expires_at: Timestamp(1),
            fills: None,
            terms,
        }
    }

    fn recall(key: &SigningKey, order: &SignedIntent, payment: u32) -> SignedRecall {
        let signature = key.sign(canonical(order.intent.digest(), payment).as_bytes()).to_bytes();
        SignedRecall { payment, signature: RecallSignature::Key(signature) }
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
            remaining(&order, recalls, None)
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

    #[test]
    fn a_user_takes_back_what_they_ordered_with_any_of_their_keys() {
        let mut desk = TestDesk::new(0);
        let passkey = TestPasskey::new("client.operator", "laptop");
        let add = Change::AddKey { user: passkey.user.clone(), key: passkey.public() };
        desk.accept(add, &["client.owner", "manager.security"]);
        let intent = batch(Some(desk.terms()));
        let signature = key_of("client.operator").sign(&intent.digest().0);
        let order = SignedIntent::by_user(intent, signature);
        let digest = |payment| canonical(order.intent.digest(), payment).digest();
        let by = |payment, signature| SignedRecall { payment, signature: RecallSignature::User(signature) };
        let own = by(1, key_of("client.operator").sign(&digest(1)));
        let touched = by(1, passkey.sign(&digest(1)));
        let left = |recall: &SignedRecall, desk: &TestDesk| {
            remaining(&order, from_ref(recall), Some(desk.state.directory()))
                .map(|intent| intent.payments.len())
        };
        for recall in [&own, &touched] {
            assert_eq!(left(recall, &desk), Ok(2));
            let text = serde_json::to_string(recall).unwrap();
            assert_eq!(serde_json::from_str::<SignedRecall>(&text).unwrap(), *recall);
        }
        let moved = SignedRecall { payment: 2, ..touched.clone() };
        assert!(matches!(left(&moved, &desk), Err(InvalidRecall::User { payment: 2, .. })));
        let other = by(1, key_of("manager.operator").sign(&digest(1)));
        let initiator = passkey.user.clone();
        assert_eq!(left(&other, &desk), Err(InvalidRecall::OtherUser { payment: 1, initiator }));
        // A bare key recalls nothing of it, whosever it is.
        let bare = recall(&key_of("client.operator").secret, &order, 1);
        assert_eq!(left(&bare, &desk), Err(InvalidRecall::Signature(1)));

        let (user, key) = (passkey.user.clone(), passkey.id.clone());
        desk.accept(Change::RemoveKey { user, key }, &["manager.security"]);
        assert_eq!(left(&own, &desk), Ok(2));
        assert!(matches!(left(&touched, &desk), Err(InvalidRecall::User { payment: 1, .. })));
    }

    /// Only what does not count any more makes way, and never does a payout come back.
    #[test]
    fn a_recall_by_a_key_that_left_is_renewed_with_another() {
        let mut desk = TestDesk::new(0);
        let laptop = TestPasskey::new("client.operator", "laptop");
        let (user, id) = (laptop.user.clone(), laptop.id.clone());
        let add = Change::AddKey { user: user.clone(), key: laptop.public() };
        desk.accept(add, &["client.owner", "manager.security"]);
        let main = key_of("client.operator");
        let order = main.order(batch(Some(desk.terms())));
        let what = |there: &[SignedRecall], recall: &SignedRecall, desk: &TestDesk| {
            beside(&order, there, recall, Some(desk.state.directory()))
        };
        let (touched, typed) = (laptop.recall(&order, 1), main.recall(&order, 1));
        assert_eq!(what(&[], &touched, &desk), Ok(Beside::First));
        let there = [touched.clone(), main.recall(&order, 2)];
        for known in [&touched, &typed] {
            assert_eq!(what(&there, known, &desk), Ok(Beside::Known), "the first one counts");
        }
        let last = main.recall(&order, 0);
        assert_eq!(what(&there, &last, &desk), Err(InvalidRecall::LastOne(0)));

        desk.accept(Change::RemoveKey { user: user.clone(), key: id }, &["manager.security"]);
        assert!(
            remaining(&order, &there, Some(desk.state.directory())).is_err(),
            "co-signers refuse the batch"
        );
        assert_eq!(what(&there, &typed, &desk), Ok(Beside::Renews));
        assert_eq!(what(&there, &there[1], &desk), Ok(Beside::Known));
        assert_eq!(
            what(&there, &last, &desk),
            Err(InvalidRecall::LastOne(0)),
            "it stays taken out meanwhile"
        );
        // Neither the one that does not count, nor another's.
        assert!(matches!(what(&there, &touched, &desk), Err(InvalidRecall::User { payment: 1, .. })));
        let others = key_of("manager.operator").recall(&order, 1);
        assert_eq!(
            what(&there, &others, &desk),
            Err(InvalidRecall::OtherUser { payment: 1, initiator: user })
        );

        let renewed = [typed.clone(), there[1].clone()];
        let left = remaining(&order, &renewed, Some(desk.state.directory())).unwrap();
        assert_eq!(left, remaining(&order, &there, None).unwrap(), "the same is paid");
        assert_eq!(what(&renewed, &typed, &desk), Ok(Beside::Known));
    }

    #[test]
    fn a_bare_recall_counts_for_ever() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let order = order(&key);
        let (first, second) = (recall(&key, &order, 1), recall(&key, &order, 2));
        let what = |there: &[SignedRecall], recall| beside(&order, there, recall, None);
        assert_eq!(what(&[], &first), Ok(Beside::First));
        assert_eq!(what(from_ref(&first), &first), Ok(Beside::Known));
        assert_eq!(what(from_ref(&first), &second), Ok(Beside::First));
        let stranger = recall(&SigningKey::from_bytes(&[4; 32]), &order, 1);
        assert_eq!(what(from_ref(&first), &stranger), Err(InvalidRecall::Signature(1)));
    }

    /// What was kept of before reads and is written as it was.
    #[test]
    fn the_form_of_a_bare_recall_has_not_changed() {
        let recall = SignedRecall { payment: 1, signature: RecallSignature::Key([7; 64]) };
        let text = format!(r#"{{"payment":1,"signature":"{}"}}"#, "07".repeat(64));
        assert_eq!(serde_json::to_string(&recall).unwrap(), text);
        assert_eq!(serde_json::from_str::<SignedRecall>(&text).unwrap(), recall);
    }
}
