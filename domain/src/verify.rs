//! Does this transaction do what was intended, and nothing else? The question that every co-signer asks for itself.

use crate::{
    amount::Amount,
    asset::Asset,
    effects::Effects,
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
    Ok(())
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
