//! Composes what takes the place of earlier transactions: the same Sequence or Ticket, so that a ledger applies one of them at
//! most.

use super::{check_destination, check_funds, check_source, last_ledger, network_id, payment, xrp_state};
use crate::{
    XrpAdapter,
    codec::{Action, Fields},
    decode::explain,
};
use bursar_domain::{
    account::XrpAccount,
    amount::{Amount, Drops},
    package::{Purpose, UnsignedTransaction},
    ports::{BuildError, ReplaceRequest, ReplaceTransaction},
};

/// A server keeps a queued transaction unless the fee of the new one is above the old one by more than this, in percent
/// (rippled, `TxQ::Setup::retrySequencePercent`).
const LEAST_RAISE: u32 = 25;

impl ReplaceTransaction for XrpAdapter {
    /// A payment again, or a cancellation: an AccountSet that sets nothing. Each is valid for a fresh window of ledgers.
    fn replace(&self, request: &ReplaceRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let intent = request.intent;
        let network_id = network_id(intent)?;
        let state = xrp_state(request.state)?;
        let (Fields { account, turn, signing_pub_key, .. }, highest) = earlier(request)?;
        check_source(intent, state, &account)?;
        let fee = raised(highest, request.raise_percent)?.max(state.fee);
        let cap = intent.max_fee;
        if Amount::from(fee) > cap {
            return Err(BuildError::FeeAboveCap { fee: fee.into(), cap });
        }
        if let Some(cap) = request.price_cap {
            cap.allows(fee.0.into(), "drops")?;
        }
        let state = XrpAccount { fee, ..state.clone() };
        let action = match request.purpose {
            Purpose::Pay => {
                let (to, action) = payment(intent, &account)?;
                check_destination(&state, to, action.amount())?;
                check_funds(&state, action.amount())?;
                action
            }
            Purpose::Cancel => Action::Nothing,
            Purpose::Child { .. } => {
                return Err(BuildError::Inconsistent("no transaction pays for another on this chain"));
            }
        };
        let last_ledger_sequence = last_ledger(&state)?;
        let fields = Fields { network_id, account, action, fee, turn, last_ledger_sequence, signing_pub_key };
        let bytes =
            fields.unsigned_bytes().map_err(|_| BuildError::Inconsistent("the codec refuses the fields"))?;
        Ok(UnsignedTransaction { wallet: intent.wallet, source: request.earlier[0].source, bytes })
    }
}

/// The first of the earlier transactions, and the highest fee of all. They must have the account and the turn in common.
fn earlier(request: &ReplaceRequest<'_>) -> Result<(Fields, Drops), BuildError> {
    let mut found: Option<(Fields, Drops)> = None;
    for one in request.earlier {
        if one.wallet != request.intent.wallet || one.source != request.earlier[0].source {
            return Err(BuildError::Inconsistent("the earlier transactions are not of one account"));
        }
        let fields = explain(one, request.key)
            .map_err(|_| BuildError::Inconsistent("an earlier transaction does not decode"))?
            .fields;
        found = match found {
            None => Some((fields.clone(), fields.fee)),
            Some((first, highest)) if first.turn == fields.turn => Some((first, highest.max(fields.fee))),
            Some(_) => {
                return Err(BuildError::Inconsistent(
                    "the earlier transactions have different Sequences or Tickets",
                ));
            }
        };
    }
    found.ok_or(BuildError::Inconsistent("there is no earlier transaction to replace"))
}

/// More than [`LEAST_RAISE`] percent above `fee`.
fn raised(fee: Drops, percent: u32) -> Result<Drops, BuildError> {
    let factor = 100 + u128::from(percent.max(LEAST_RAISE));
    let raised = u128::from(fee.0) * factor / 100 + 1;
    let raised = u64::try_from(raised).ok().map(Drops).filter(|fee| *fee <= Drops::MAX);
    raised.ok_or(BuildError::Inconsistent("the raised fee is above the supply"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raise_is_more_than_a_quarter() {
        for (fee, percent, expected) in [(10, 0, 13), (10, 25, 13), (12, 25, 16), (12, 100, 25), (1, 0, 2)] {
            assert_eq!(raised(Drops(fee), percent), Ok(Drops(expected)), "{fee} by {percent} %");
        }
        assert!(raised(Drops::MAX, 25).is_err());
    }
}
