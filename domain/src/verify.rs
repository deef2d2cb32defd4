//! Does this transaction do what was intended, and nothing else? The question that every co-signer asks for itself.

use crate::{
    amount::Amount,
    asset::Asset,
    effects::{Effects, Resource},
    intent::{Intent, Payment},
    network::Network,
};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EffectsMismatch {
    #[error("it is for {effects}, the intent for {intent}")]
    Network { intent: Network, effects: Network },
    #[error("it pays {effects}, the intent says {intent}")]
    Asset { intent: Asset, effects: Asset },
    #[error("it makes {effects} payments, the intent has {intent}")]
    PaymentCount { intent: usize, effects: usize },
    #[error("payments[{index}] goes to another recipient: {address}")]
    Recipient { index: usize, address: String },
    #[error("payments[{index}] pays {effects}, the intent says {intent}")]
    Amount { index: usize, intent: Amount, effects: Amount },
    #[error("it may cost {effects} in fees, the intent allows {intent}")]
    Fee { intent: Amount, effects: Amount },
    #[error("it pays from {effects}, the intent says {intent}")]
    Source { intent: String, effects: String },
    #[error("it claims no resource, so nothing would keep it from being repeated")]
    NoResource,
    #[error("it is to pay nobody, and makes {effects} payments")]
    PaysSomebody { effects: usize },
    #[error("it uses {effects}, and is to use nonce {intent} of {account} and nothing else")]
    Nonce { account: String, intent: u64, effects: String },
}

/// Holds decoded effects against an intent: recipients, tags, amounts and their order, asset, network, source, and a fee
/// within the intent's cap must all agree.
pub fn effects_match(intent: &Intent, effects: &Effects) -> Result<(), EffectsMismatch> {
    if effects.network != intent.network() {
        return Err(EffectsMismatch::Network { intent: intent.network(), effects: effects.network });
    }
    if effects.asset != intent.asset {
        return Err(EffectsMismatch::Asset { intent: intent.asset, effects: effects.asset });
    }
    if effects.payments.len() != intent.payments.len() {
        return Err(EffectsMismatch::PaymentCount {
            intent: intent.payments.len(),
            effects: effects.payments.len(),
        });
    }
    for (index, (intended, effected)) in intent.payments.iter().zip(&effects.payments).enumerate() {
        payment_matches(index, intended, effected)?;
    }
    if effects.fee > intent.max_fee {
        return Err(EffectsMismatch::Fee { intent: intent.max_fee, effects: effects.fee });
    }
    if let Some(source) = &intent.source
        && effects.from != [source.as_str()]
    {
        return Err(EffectsMismatch::Source { intent: source.clone(), effects: effects.from.join(", ") });
    }
    if effects.resources.is_empty() {
        return Err(EffectsMismatch::NoResource);
    }
    match intent.fills {
        Some(nonce) => fills(intent, nonce, effects),
        None => Ok(()),
    }
}

/// A filler uses the very nonce that its order names.
fn fills(intent: &Intent, nonce: u64, effects: &Effects) -> Result<(), EffectsMismatch> {
    let account = intent.source.clone().unwrap_or_default();
    if effects.resources == [Resource::Nonce { account: account.clone(), nonce }] {
        return Ok(());
    }
    let used: Vec<String> = effects.resources.iter().map(ToString::to_string).collect();
    Err(EffectsMismatch::Nonce { account, intent: nonce, effects: used.join(", ") })
}

/// Holds decoded effects against an intent whose payment is to be taken back: nobody is paid, at no more than the intent's
/// fee. The native asset moves, if anything does, and only within the wallet.
pub fn cancel_matches(intent: &Intent, effects: &Effects) -> Result<(), EffectsMismatch> {
    if !effects.payments.is_empty() {
        return Err(EffectsMismatch::PaysSomebody { effects: effects.payments.len() });
    }
    let native = Asset::native(intent.network().chain());
    effects_match(&Intent { asset: native, payments: Vec::new(), ..intent.clone() }, effects)
}

fn payment_matches(index: usize, intended: &Payment, effected: &Payment) -> Result<(), EffectsMismatch> {
    if effected.destination != intended.destination {
        let tag = effected.destination.tag.map(|tag| format!(" tag {tag}")).unwrap_or_default();
        let address = format!("{}{tag}", effected.destination.address);
        return Err(EffectsMismatch::Recipient { index, address });
    }
    if effected.amount != intended.amount {
        return Err(EffectsMismatch::Amount { index, intent: intended.amount, effects: effected.amount });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        effects::Validity,
        intent::Destination,
        time::Timestamp,
        wallet::{WalletDescriptor, WalletKind},
    };

    const OURS: &str = "rOurs";

    fn payment(address: &str, tag: Option<u32>, amount: u64) -> Payment {
        let destination = Destination { address: address.into(), tag };
        Payment { destination, amount: Amount::from_u64(amount) }
    }

    /// An intent and what it should come to. Two payments, which only a Bitcoin wallet could make, to have an order to hold.
    fn matching() -> (Intent, Effects) {
        let network = Network::Xrp(0);
        let payments = vec![payment("rOne", Some(0), 5), payment("rTwo", None, 7)];
        let intent = Intent {
            external_id: "invoice-1".parse().unwrap(),
            wallet: WalletDescriptor::new(network, WalletKind::XrpEd25519, 0).unwrap(),
            asset: Asset::Xrp,
            source: Some(OURS.into()),
            payments: payments.clone(),
            max_fee: Amount::from_u64(12),
            expires_at: Timestamp(1),
            fills: None,
            terms: None,
        };
        let effects = Effects {
            network,
            asset: Asset::Xrp,
            from: vec![OURS.into()],
            payments,
            fee: Amount::from_u64(12),
            change: Vec::new(),
            resources: vec![Resource::Sequence { account: OURS.into(), sequence: 1 }],
            validity: Validity::UntilLedger(9),
        };
        (intent, effects)
    }

    fn mismatch(change: impl FnOnce(&mut Effects)) -> EffectsMismatch {
        let (intent, mut effects) = matching();
        change(&mut effects);
        effects_match(&intent, &effects).expect_err("must not match")
    }

    #[test]
    fn what_was_intended_matches() {
        let (mut intent, mut effects) = matching();
        assert_eq!(effects_match(&intent, &effects), Ok(()));
        effects.fee = Amount::from_u64(1);
        assert_eq!(effects_match(&intent, &effects), Ok(()), "cheaper than allowed");
        intent.source = None;
        effects.from.push("rAnotherOfOurs".into());
        assert_eq!(effects_match(&intent, &effects), Ok(()), "the intent leaves the source open");
    }

    #[test]
    fn a_cancellation_pays_nobody_and_keeps_the_rest() {
        let (intent, mut effects) = matching();
        assert_eq!(cancel_matches(&intent, &effects), Err(EffectsMismatch::PaysSomebody { effects: 2 }));
        effects.payments.clear();
        assert_eq!(cancel_matches(&intent, &effects), Ok(()));
        let (network, fee) = (effects.network, effects.fee);
        effects.fee = Amount::from_u64(13);
        assert!(matches!(cancel_matches(&intent, &effects), Err(EffectsMismatch::Fee { .. })));
        effects.fee = fee;
        effects.network = Network::Xrp(1);
        assert!(matches!(cancel_matches(&intent, &effects), Err(EffectsMismatch::Network { .. })));
        effects.network = network;
        effects.from = vec!["rOther".into()];
        assert!(matches!(cancel_matches(&intent, &effects), Err(EffectsMismatch::Source { .. })));
        effects.from = vec![OURS.into()];
        effects.resources.clear();
        assert_eq!(cancel_matches(&intent, &effects), Err(EffectsMismatch::NoResource));
    }

    #[test]
    fn a_filler_uses_the_nonce_that_it_names_and_pays_nobody() {
        let intent = crate::fill::tests::order(7).intent();
        let nonce = |account: &str, nonce| Resource::Nonce { account: account.into(), nonce };
        let account = intent.source.clone().unwrap();
        let effects = Effects {
            network: intent.network(),
            asset: Asset::Eth,
            from: vec![account.clone()],
            payments: Vec::new(),
            fee: intent.max_fee,
            change: Vec::new(),
            resources: vec![nonce(&account, 7)],
            validity: Validity::Unlimited,
        };
        assert_eq!(effects_match(&intent, &effects), Ok(()));
        assert_eq!(cancel_matches(&intent, &effects), Ok(()));
        for resources in [
            vec![nonce(&account, 8)],
            vec![nonce("0xOther", 7)],
            vec![nonce(&account, 7), nonce(&account, 8)],
        ] {
            let wrong = Effects { resources, ..effects.clone() };
            assert!(matches!(effects_match(&intent, &wrong), Err(EffectsMismatch::Nonce { .. })));
            assert!(matches!(cancel_matches(&intent, &wrong), Err(EffectsMismatch::Nonce { .. })));
        }
        let pays = Effects { payments: vec![payment("0xThief", None, 1)], ..effects.clone() };
        assert!(matches!(effects_match(&intent, &pays), Err(EffectsMismatch::PaymentCount { .. })));
        let token = Effects { asset: Asset::Erc20([1; 20]), ..effects.clone() };
        assert!(matches!(effects_match(&intent, &token), Err(EffectsMismatch::Asset { .. })));
        let dear = Effects { fee: intent.max_fee.checked_add(Amount::from_u64(1)).unwrap(), ..effects };
        assert!(matches!(effects_match(&intent, &dear), Err(EffectsMismatch::Fee { .. })));
    }

    #[test]
    fn another_network_asset_or_number_of_payments_does_not() {
        let (intent, effects) = (Network::Xrp(0), Network::Xrp(1));
        assert_eq!(mismatch(|found| found.network = effects), EffectsMismatch::Network { intent, effects });
        let (intent, effects) = (Asset::Xrp, Asset::Btc);
        assert_eq!(mismatch(|found| found.asset = effects), EffectsMismatch::Asset { intent, effects });
        let fewer = mismatch(|found| found.payments.truncate(1));
        assert_eq!(fewer, EffectsMismatch::PaymentCount { intent: 2, effects: 1 });
        let more = mismatch(|found| found.payments.push(payment("rThree", None, 1)));
        assert_eq!(more, EffectsMismatch::PaymentCount { intent: 2, effects: 3 });
        let none = mismatch(|found| found.payments.clear());
        assert_eq!(none, EffectsMismatch::PaymentCount { intent: 2, effects: 0 });
    }

    #[test]
    fn another_recipient_tag_or_order_does_not() {
        let recipient = |index, address: &str| EffectsMismatch::Recipient { index, address: address.into() };
        let swapped = mismatch(|found| found.payments[1].destination.address = "rThief".into());
        assert_eq!(swapped, recipient(1, "rThief"));
        // Tag 0 is a tag.
        assert_eq!(mismatch(|found| found.payments[0].destination.tag = None), recipient(0, "rOne"));
        assert_eq!(mismatch(|found| found.payments[0].destination.tag = Some(1)), recipient(0, "rOne tag 1"));
        assert_eq!(mismatch(|found| found.payments[1].destination.tag = Some(0)), recipient(1, "rTwo tag 0"));
        assert_eq!(mismatch(|found| found.payments.reverse()), recipient(0, "rTwo"));
    }

    #[test]
    fn another_amount_does_not() {
        for (wrong, place) in [(4, 0), (6, 0), (6, 1), (8, 1)] {
            let (intent, _) = matching();
            let effects = Amount::from_u64(wrong);
            assert_eq!(
                mismatch(|found| found.payments[place].amount = effects),
                EffectsMismatch::Amount { index: place, intent: intent.payments[place].amount, effects }
            );
        }
    }

    #[test]
    fn a_higher_fee_another_source_or_no_resource_does_not() {
        let (intent, effects) = (Amount::from_u64(12), Amount::from_u64(13));
        assert_eq!(mismatch(|found| found.fee = effects), EffectsMismatch::Fee { intent, effects });
        let source = |effects: &str| EffectsMismatch::Source { intent: OURS.into(), effects: effects.into() };
        assert_eq!(mismatch(|found| found.from = vec!["rOther".into()]), source("rOther"));
        assert_eq!(mismatch(|found| found.from.push("rOther".into())), source("rOurs, rOther"));
        assert_eq!(mismatch(|found| found.from.clear()), source(""));
        assert_eq!(mismatch(|found| found.resources.clear()), EffectsMismatch::NoResource);
    }
}
