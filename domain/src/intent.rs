//! The intent to pay: what an initiator signs, people approve, co-signers verify, and the chain must show.

mod signed;

pub use signed::{InitiatorId, InitiatorKey, InvalidInitiatorSignature, Proof, SignedIntent};

use crate::{
    amount::Amount,
    asset::Asset,
    canonical::Canonical,
    fill::{self, InvalidFill},
    governance::{
        directory::UserId,
        log::{EntryDigest, Head},
    },
    ids::ExternalId,
    network::{Chain, Network},
    text::hex_bytes,
    time::Timestamp,
    wallet::WalletDescriptor,
};
use serde::{Deserialize, Serialize};

/// Where a payment goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Destination {
    /// The chain's canonical form: bech32(m) or base58 as given, EIP-55 checksummed, XRPL classic. At most 100 bytes.
    pub address: String,
    /// XRPL destination tag. Tag 0 is a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
}

/// One payout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub destination: Destination,
    pub amount: Amount,
}

/// A payment, or on Bitcoin a batch of them in one transaction. Immutable once submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    pub external_id: ExternalId,
    pub wallet: WalletDescriptor,
    pub asset: Asset,
    /// Which of the wallet's own addresses pays, on chains with accounts; its first when absent. Absent on Bitcoin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub payments: Vec<Payment>,
    /// The most that the payment's transaction may cost, in the chain's own smallest unit.
    pub max_fee: Amount,
    /// Nothing is signed after this time. Microseconds since the epoch.
    pub expires_at: Timestamp,
    /// The nonce that is used up instead of anything being paid: see [`crate::fill`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fills: Option<u64>,
    /// What it stands under at a governed desk, where a user of the desk signs it. Absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
}

/// Where an order is one, under which policy it was given, and whose it is: at no other desk and under no other name is it worth anything.
/// Approvals and verdicts are about an order's digest, so they are about whoever ordered, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// The first entry of the desk's governance log.
    pub desk: EntryDigest,
    /// The entry that published the policy that was in force when it was signed.
    pub policy: Head,
    /// The user of the desk who orders, and signs.
    pub initiator: UserId,
}

/// The most payouts in one Bitcoin batch: 200 P2TR outputs are 8.6 kvB, far under the standard limit of 100 kvB.
pub const MAX_BATCH: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIntent {
    #[error("payments: at least one is needed")]
    NoPayments,
    #[error("payments: at most {max} in one transfer on {chain}")]
    TooManyPayments { chain: Chain, max: usize },
    #[error("payments[{index}].amount: must be greater than zero")]
    ZeroAmount { index: usize },
    #[error("payments: the total is too large")]
    Overflow,
    #[error("asset: {asset} is not paid from a {chain} wallet")]
    AssetOfOtherChain { asset: Asset, chain: Chain },
    #[error("payments[{index}].destination.tag: only XRP destinations have a tag")]
    UnexpectedTag { index: usize },
    #[error("payments[{index}].destination.address: must be 1 to 100 characters")]
    AddressLength { index: usize },
    #[error("payments[{index}]: pays the same destination as payments[{first}]; add the amounts up")]
    DuplicateDestination { index: usize, first: usize },
    #[error("source: must be absent on Bitcoin, where coins are selected from all of the wallet's addresses")]
    SourceOnBitcoin,
    #[error("{0}")]
    Fill(#[from] InvalidFill),
}

impl Intent {
    pub fn network(&self) -> Network {
        self.wallet.network
    }

    /// What must hold of every intent whatever the chain's state. Addresses are checked by the chain's adapter.
    pub fn validate(&self) -> Result<(), InvalidIntent> {
        if let Some(nonce) = self.fills {
            return Ok(fill::validate(self, nonce)?);
        }
        let chain = self.network().chain();
        let max = if chain == Chain::Bitcoin { MAX_BATCH } else { 1 };
        if self.payments.is_empty() {
            return Err(InvalidIntent::NoPayments);
        }
        if self.payments.len() > max {
            return Err(InvalidIntent::TooManyPayments { chain, max });
        }
        if self.asset.chain() != chain {
            return Err(InvalidIntent::AssetOfOtherChain { asset: self.asset, chain });
        }
        if chain == Chain::Bitcoin && self.source.is_some() {
            return Err(InvalidIntent::SourceOnBitcoin);
        }
        let mut seen = std::collections::BTreeMap::new();
        for (index, payment) in self.payments.iter().enumerate() {
            if payment.amount.is_zero() {
                return Err(InvalidIntent::ZeroAmount { index });
            }
            if payment.destination.tag.is_some() && chain != Chain::Xrp {
                return Err(InvalidIntent::UnexpectedTag { index });
            }
            if !(1..=100).contains(&payment.destination.address.len()) {
                return Err(InvalidIntent::AddressLength { index });
            }
            if let Some(first) = seen.insert(&payment.destination, index) {
                return Err(InvalidIntent::DuplicateDestination { index, first });
            }
        }
        self.total().map(|_| ()).ok_or(InvalidIntent::Overflow)
    }

    /// The sum of the payouts; `None` on overflow.
    pub fn total(&self) -> Option<Amount> {
        Amount::sum(self.payments.iter().map(|payment| payment.amount))
    }

    /// The bytes that an initiator signs: under a tag of its own where the order is to fill a nonce, and where it has terms.
    pub fn canonical(&self) -> Canonical {
        let tag = match (self.fills, &self.terms) {
            (None, None) => "bursar/intent/v1",
            (None, Some(_)) => "bursar/intent/v2",
            (Some(_), None) => fill::DOMAIN,
            (Some(_), Some(_)) => fill::DOMAIN_WITH_TERMS,
        };
        let mut out = Canonical::new(tag);
        if let Some(Terms { desk, policy, initiator }) = &self.terms {
            out = out.bytes(&desk.0).number(policy.seq).bytes(&policy.digest.0).text(initiator);
        }
        out = out
            .text(&self.external_id)
            .text(self.wallet)
            .text(self.asset)
            .optional(self.source.as_ref())
            .text(self.max_fee)
            .number(self.expires_at.micros().cast_unsigned())
            .number(self.payments.len() as u64);
        for Payment { destination, amount } in &self.payments {
            out = out.text(&destination.address).optional(destination.tag).text(amount);
        }
        match self.fills {
            Some(nonce) => out.number(nonce),
            None => out,
        }
    }

    /// Names this intent everywhere: two intents with the same digest are the same intent.
    pub fn digest(&self) -> IntentDigest {
        IntentDigest(self.canonical().digest())
    }
}

/// SHA-256 of an intent's canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IntentDigest(#[serde(with = "hex_bytes")] pub [u8; 32]);

impl std::fmt::Display for IntentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::WalletKind;
    use ed25519_dalek::{Signer as _, SigningKey};

    /// The worked example of docs/intent.md.
    fn example() -> Intent {
        Intent {
            external_id: "invoice-2026-0042".parse().unwrap(),
            wallet: WalletDescriptor::new(Network::Xrp(0), WalletKind::XrpEd25519, 0).unwrap(),
            asset: Asset::Xrp,
            source: None,
            payments: vec![Payment {
                destination: Destination {
                    address: "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE".into(),
                    tag: Some(4242),
                },
                amount: Amount::from_u64(123_456_789),
            }],
            max_fee: Amount::from_u64(10_000),
            expires_at: Timestamp::from_secs(1_798_761_600),
            fills: None,
            terms: None,
        }
    }

    /// The same at a governed desk.
    fn with_terms() -> Intent {
        let policy = Head { seq: 3, digest: EntryDigest([0xbb; 32]) };
        let (desk, initiator) = (EntryDigest([0xaa; 32]), "olga".parse().unwrap());
        Intent { terms: Some(Terms { desk, policy, initiator }), ..example() }
    }

    /// Others compute these bytes with their own code: they never change under `bursar/intent/v1`.
    #[test]
    fn canonical_bytes_and_signature_are_those_of_the_documentation() {
        let intent = example();
        intent.validate().unwrap();
        assert_eq!(intent.canonical().as_bytes().len(), 187);
        assert_eq!(
            intent.digest().to_string(),
            "b81c5cf60f47ace72b58b04c030f9b42022093cc30b8dd999291ffe13fedc584"
        );
        // The secret key of the first test vector of RFC 8032, section 7.1.
        let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let key = SigningKey::from_bytes(&hex::decode(secret).unwrap().try_into().unwrap());
        let signature = key.sign(intent.canonical().as_bytes()).to_bytes();
        assert_eq!(
            hex::encode(signature),
            "ab96b3a69cbd8aeb89b3a2439ccfc0886a28dd4415993f59d384f62f180066ae\
             5e645364a7c0b5fa26669a510f89c24ae7e5df3e63d1cfd9f630f9e6dec63a09"
        );
        let initiator = InitiatorKey(key.verifying_key().to_bytes());
        assert_eq!(initiator.to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let mut signed = SignedIntent::by_key(intent, initiator, signature);
        assert_eq!(signed.verify_key(), Ok(initiator));
        signed.intent.payments[0].destination.tag = Some(4243);
        assert_eq!(signed.verify_key(), Err(InvalidInitiatorSignature::Signature));
        // The neutral point of the curve, under which a lax verification lets signatures of anything pass.
        let mut neutral = InitiatorKey([0; 32]);
        neutral.0[0] = 1;
        assert!(SignedIntent::by_key(signed.intent, neutral, signature).verify_key().is_err());
    }

    /// Others compute these bytes with their own code: they never change under `bursar/intent/v2`.
    #[test]
    fn canonical_bytes_with_terms_are_those_of_the_documentation() {
        let (plain, intent) = (example(), with_terms());
        intent.validate().unwrap();
        let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let terms = [
            field(b"bursar/intent/v2"),
            field(&[0xaa; 32]),
            field(&3u64.to_be_bytes()),
            field(&[0xbb; 32]),
            field(b"olga"),
        ];
        let plain = plain.canonical();
        let rest = &plain.as_bytes()[field(b"bursar/intent/v1").len()..];
        assert_eq!(intent.canonical().as_bytes(), [terms.concat().as_slice(), rest].concat());
        assert_eq!(intent.canonical().as_bytes().len(), 279);
        assert_eq!(
            intent.digest().to_string(),
            "2a7626f030c105e0458f5ab76f8d6fbdd73caaa2f9885a759e14b252c9febe2a"
        );
        // A user's key signs the digest's 32 bytes: the key of the example above.
        let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let key = SigningKey::from_bytes(&hex::decode(secret).unwrap().try_into().unwrap());
        assert_eq!(
            hex::encode(key.sign(&intent.digest().0).to_bytes()),
            "b00c7c574d4a2b34da7d86e3a809d273b019a1c10bb25cd97770a679dc6fe538c6ad494e4efb2ae212384f66638bd8ddc1afd8ed3ca9d229e4f2bf0967324c00"
        );
    }

    #[test]
    fn every_field_is_in_the_digest() {
        let (plain, mut digests) = (every_field_counts(example), every_field_counts(with_terms));
        assert!(plain.is_disjoint(&digests), "neither is ever taken for the other");
        let changes: [fn(&mut Terms); 4] = [
            |terms| terms.desk.0[0] ^= 1,
            |terms| terms.policy.seq += 1,
            |terms| terms.policy.digest.0[31] ^= 1,
            |terms| terms.initiator = "olgb".parse().unwrap(),
        ];
        for (place, change) in changes.into_iter().enumerate() {
            let mut intent = with_terms();
            change(intent.terms.as_mut().unwrap());
            assert!(digests.insert(intent.digest()), "change {place} of the terms");
        }
    }

    fn every_field_counts(example: fn() -> Intent) -> std::collections::BTreeSet<IntentDigest> {
        let changes: [fn(&mut Intent); 12] = [
            |intent| intent.fills = Some(0),
            |intent| intent.external_id = "invoice-2026-0043".parse().unwrap(),
            |intent| intent.wallet.account = 1,
            |intent| intent.wallet.network = Network::Xrp(1),
            |intent| intent.wallet.kind = WalletKind::XrpSecp256k1,
            |intent| intent.asset = Asset::Eth,
            |intent| intent.source = Some(String::new()),
            |intent| intent.payments[0].destination.address.push('x'),
            |intent| intent.payments[0].destination.tag = None,
            |intent| intent.payments[0].amount = Amount::from_u64(123_456_788),
            |intent| intent.max_fee = Amount::from_u64(10_001),
            |intent| intent.expires_at = Timestamp(intent.expires_at.0 + 1),
        ];
        let mut digests = std::collections::BTreeSet::from([example().digest()]);
        for (place, change) in changes.into_iter().enumerate() {
            let mut intent = example();
            change(&mut intent);
            assert!(digests.insert(intent.digest()), "change {place}");
        }
        digests
    }

    /// Orders of before keep their form, and one with terms comes back whole.
    #[test]
    fn terms_are_in_the_json_only_where_there_are_any() {
        assert!(serde_json::to_value(example()).unwrap().get("terms").is_none());
        let json = serde_json::to_value(with_terms()).unwrap();
        assert_eq!(json["terms"]["policy"]["seq"], 3);
        assert_eq!(json["terms"]["initiator"], "olga");
        let mut nobodys = json.clone();
        nobodys["terms"].as_object_mut().unwrap().remove("initiator");
        assert!(serde_json::from_value::<Intent>(nobodys).is_err());
        assert_eq!(serde_json::from_value::<Intent>(json).unwrap(), with_terms());
    }

    fn invalid(change: impl FnOnce(&mut Intent)) -> InvalidIntent {
        let mut intent = example();
        change(&mut intent);
        intent.validate().expect_err("must be refused")
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let bitcoin = WalletDescriptor::new("bitcoin:regtest".parse().unwrap(), WalletKind::P2tr, 0).unwrap();
        let twice = |intent: &mut Intent| intent.payments.push(intent.payments[0].clone());
        assert_eq!(invalid(|intent| intent.payments.clear()), InvalidIntent::NoPayments);
        assert_eq!(invalid(twice), InvalidIntent::TooManyPayments { chain: Chain::Xrp, max: 1 });
        assert_eq!(
            invalid(|intent| intent.asset = Asset::Btc),
            InvalidIntent::AssetOfOtherChain { asset: Asset::Btc, chain: Chain::Xrp }
        );
        assert_eq!(
            invalid(|intent| intent.payments[0].amount = Amount::from_u64(0)),
            InvalidIntent::ZeroAmount { index: 0 }
        );
        for length in [0, 101] {
            let address = "r".repeat(length);
            let refused = invalid(|intent| intent.payments[0].destination.address = address);
            assert_eq!(refused, InvalidIntent::AddressLength { index: 0 });
        }
        let on_bitcoin = |change: fn(&mut Intent)| {
            invalid(|intent| {
                (intent.wallet, intent.asset) = (bitcoin, Asset::Btc);
                intent.payments[0].destination.tag = None;
                change(intent);
            })
        };
        assert_eq!(on_bitcoin(|intent| intent.source = Some("x".into())), InvalidIntent::SourceOnBitcoin);
        assert_eq!(
            on_bitcoin(|intent| intent.payments[0].destination.tag = Some(0)),
            InvalidIntent::UnexpectedTag { index: 0 }
        );
        assert_eq!(
            on_bitcoin(|intent| intent.payments.push(intent.payments[0].clone())),
            InvalidIntent::DuplicateDestination { index: 1, first: 0 }
        );
        let overflow = on_bitcoin(|intent| {
            intent.payments.push(intent.payments[0].clone());
            intent.payments[1].destination.address.push('x');
            intent.payments[1].amount = Amount(ruint::aliases::U256::MAX);
        });
        assert_eq!(overflow, InvalidIntent::Overflow);
    }
}
