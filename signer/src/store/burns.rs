//! Fees of what pays nobody and takes back nothing that this party knows of: fillers, and cancellations of orders that it took no part in
//! paying. An initiator's key with a hostile orchestrator could have one signed after the other, so their number and their sum are
//! limited for each wallet over a rolling window. Remembered in the transaction that takes part, before anything is signed.

use super::{StoreError, from_json, to_json};
use crate::{
    rules::FeeLimit,
    verify::{Allowed, Refusal, RefusalCode},
};
use bursar_domain::{amount::Amount, intent::IntentDigest, time::Timestamp, wallet::WalletDescriptor};
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

/// By when this party took part in it last, and order.
const BURNT: TableDefinition<'static, (i64, [u8; 32]), &[u8]> = TableDefinition::new("fees_without_payment");
/// Where an order is in [`BURNT`].
const BURNT_AT: TableDefinition<'static, [u8; 32], i64> = TableDefinition::new("fees_without_payment_at");

/// What an order may have cost: it counts once, with the most that anything signed for it costs, because one of them is final at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Burnt {
    wallet: WalletDescriptor,
    fee: Amount,
}

pub(super) fn create(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(BURNT)?;
    write.open_table(BURNT_AT)?;
    Ok(())
}

/// Counts it from now on, if there is room for it.
pub(super) fn burn(
    write: &WriteTransaction,
    allowed: &Allowed,
    now: Timestamp,
) -> Result<Result<(), Refusal>, StoreError> {
    let (mut burnt, mut at) = (write.open_table(BURNT)?, write.open_table(BURNT_AT)?);
    let row = match within(&burnt, &at, allowed, now)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(before) = at.insert(allowed.intent.0, now.0)? {
        burnt.remove((before.value(), allowed.intent.0))?;
    }
    burnt.insert((now.0, allowed.intent.0), to_json(&row).as_slice())?;
    Ok(Ok(()))
}

/// Whether there is room for it, as things stand.
pub(super) fn may_burn(
    read: &ReadTransaction,
    allowed: &Allowed,
    now: Timestamp,
) -> Result<Result<(), Refusal>, StoreError> {
    let (burnt, at) = (read.open_table(BURNT)?, read.open_table(BURNT_AT)?);
    Ok(within(&burnt, &at, allowed, now)?.map(|_| ()))
}

fn within(
    burnt: &impl ReadableTable<(i64, [u8; 32]), &'static [u8]>,
    at: &impl ReadableTable<[u8; 32], i64>,
    allowed: &Allowed,
    now: Timestamp,
) -> Result<Result<Burnt, Refusal>, StoreError> {
    let Allowed { intent: IntentDigest(order), wallet, fee_limit, .. } = *allowed;
    let FeeLimit { window, count, sum } = fee_limit;
    let micros = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
    let mut fee = allowed.fee;
    if let Some(before) = at.get(order)?.map(|row| row.value())
        && let Some(row) = burnt.get((before, order))?
    {
        fee = fee.max(from_json::<Burnt>("fees_without_payment", row.value())?.fee);
    }
    let (mut others, mut total) = (0_u32, Some(fee));
    // Without an end: what a clock that ran ahead has written counts, too.
    for row in burnt.range((now.0.saturating_sub(micros), [0; 32])..)? {
        let (key, row) = row?;
        let known: Burnt = from_json("fees_without_payment", row.value())?;
        if key.value().1 != order && known.wallet == wallet {
            others = others.saturating_add(1);
            total = total.and_then(|total| total.checked_add(known.fee));
        }
    }
    let refuse = |what: String| {
        let reason = format!(
            "it pays nobody and takes back no payment that this party knows of; {what} for {wallet} within {} s \
             ([fees_without_payment] in rules.toml)",
            window.as_secs()
        );
        Ok(Err(Refusal::new(RefusalCode::FeesWithoutPayment, reason)))
    };
    if others >= count {
        return refuse(format!("at most {count} of those are signed"));
    }
    match total {
        Some(total) if total <= sum => Ok(Ok(Burnt { wallet, fee })),
        _ => refuse(format!("those cost at most {sum}")),
    }
}
