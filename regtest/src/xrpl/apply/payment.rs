//! Payment. Source: <https://xrpl.org/docs/references/protocol/transactions/types/payment>

use serde_json::{Value, json};

use super::super::entry::{Account, account_flags};
use super::super::ids::{AccountId, Hash256, keylet};
use super::super::meta::Delivered;
use super::super::result::Ter;
use super::super::tx::Tx;
use super::super::view::View;
use super::{Context, MAX_DROPS, Mode, Rules, trust};

const TF_NO_RIPPLE_DIRECT: u32 = 0x0001_0000;
pub(super) const TF_PARTIAL_PAYMENT: u32 = 0x0002_0000;
const TF_LIMIT_QUALITY: u32 = 0x0004_0000;
const KNOWN_FLAGS: u32 = 0xC000_0000 | TF_NO_RIPPLE_DIRECT | TF_PARTIAL_PAYMENT | TF_LIMIT_QUALITY;

fn is_xrp(value: &Value) -> bool {
    value.is_string()
}

pub(super) fn preflight(tx: &Tx) -> Result<(), Ter> {
    if tx.flags() & !KNOWN_FLAGS != 0 {
        return Err(Ter::TemInvalidFlag);
    }
    let amount = tx.json.get("Amount").ok_or(Ter::TemMalformed)?;
    let destination = tx.account_field("Destination").ok_or(Ter::TemDstNeeded)?;
    for field in ["SendMax", "Amount", "DeliverMin"] {
        if let Some(value) = tx.json.get(field) {
            check_amount(value)?;
        }
    }
    let max = tx.json.get("SendMax");
    let paths = tx.json.contains_key("Paths");
    let xrp_direct = is_xrp(amount) && max.is_none_or(is_xrp);
    let same_asset = match max {
        None => true,
        Some(max) => (is_xrp(max) && is_xrp(amount)) || max.get("currency") == amount.get("currency"),
    };
    if destination == tx.account && same_asset && !paths {
        return Err(Ter::TemRedundant);
    }
    if xrp_direct {
        let flagged = |flag: u32| tx.flags() & flag != 0;
        let rules = [
            (max.is_some(), Ter::TemBadSendXrpMax),
            (paths, Ter::TemBadSendXrpPaths),
            (flagged(TF_PARTIAL_PAYMENT), Ter::TemBadSendXrpPartial),
            (flagged(TF_LIMIT_QUALITY), Ter::TemBadSendXrpLimit),
            (flagged(TF_NO_RIPPLE_DIRECT), Ter::TemBadSendXrpNoDirect),
        ];
        if let Some((_, result)) = rules.into_iter().find(|(broken, _)| *broken) {
            return Err(result);
        }
    }
    if tx.json.contains_key("DeliverMin") && tx.flags() & TF_PARTIAL_PAYMENT == 0 {
        return Err(Ter::TemBadAmount);
    }
    Ok(())
}

fn check_amount(value: &Value) -> Result<(), Ter> {
    match value {
        Value::String(drops) => match drops.parse::<u64>() {
            Ok(1..=MAX_DROPS) => Ok(()),
            _ => Err(Ter::TemBadAmount),
        },
        issued => {
            let asset = trust::Asset::parse(issued).ok_or(Ter::TemBadCurrency)?;
            if asset.value.is_positive() { Ok(()) } else { Err(Ter::TemBadAmount) }
        }
    }
}

pub(super) fn preclaim(view: &View<'_>, tx: &Tx, rules: &Rules, mode: Mode) -> Result<(), Ter> {
    let destination = tx.account_field("Destination").ok_or(Ter::TemDstNeeded)?;
    let Some(account) = view.account(&destination) else {
        let Some(drops) = tx.drops("Amount") else { return Err(Ter::TecNoDst) };
        if mode.open && tx.flags() & TF_PARTIAL_PAYMENT != 0 {
            return Err(Ter::TelNoDstPartial);
        }
        return if drops < rules.reserve_base { Err(Ter::TecNoDstInsufXrp) } else { Ok(()) };
    };
    // DestinationTag 0 is a tag. DisallowXRP is advice to senders: the ledger does not enforce it.
    if account.has(account_flags::REQUIRE_DEST_TAG) && !tx.json.contains_key("DestinationTag") {
        return Err(Ter::TecDstTagNeeded);
    }
    Ok(())
}

pub(super) fn change(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    match context.tx.drops("Amount") {
        Some(drops) if !context.tx.json.contains_key("SendMax") => change_xrp(context, drops),
        _ => trust::change_payment(context),
    }
}

fn change_xrp(context: &mut Context<'_, '_>, drops: u64) -> Result<(), Ter> {
    let mut sender = context.sender();
    let fee = context.tx.fee().unwrap_or(0);
    // The fee may eat into the reserve, the amount may not.
    let kept = context.rules.reserve(sender.owner_count).max(fee);
    if context.prior_balance < drops.saturating_add(kept) {
        return Err(Ter::TecUnfundedPayment);
    }
    let destination = context.tx.account_field("Destination").ok_or(Ter::TemDstNeeded)?;
    let mut receiver = match context.view.account(&destination) {
        Some(account) => {
            let small = context.rules.reserve_base;
            // A payment up to the base reserve may rescue an account that has no more than it.
            if (drops > small || account.balance > small) && !may_deposit(context.view, &sender, &account) {
                return Err(Ter::TecNoPermission);
            }
            account
        }
        // Deletable accounts: a new account starts at the index of the ledger it is born in.
        None => Account::new(destination, 0, context.mode.ledger),
    };
    sender.balance -= drops;
    receiver.balance = receiver.balance.saturating_add(drops);
    receiver.flags &= !account_flags::PASSWORD_SPENT;
    context.view.put_account(sender);
    context.view.put_account(receiver);
    context.delivered = Delivered { explicit: None, amount: Some(json!(drops.to_string())) };
    Ok(())
}

/// Whether DepositAuth of `to` lets `from` pay.
pub(super) fn may_deposit(view: &View<'_>, from: &Account, to: &Account) -> bool {
    may_deposit_between(&from.id, to, |key| view.exists(key))
}

/// The same rule over any ledger, `exists` telling what is in it.
pub fn may_deposit_between(from: &AccountId, to: &Account, exists: impl Fn(&Hash256) -> bool) -> bool {
    !to.has(account_flags::DEPOSIT_AUTH) || *from == to.id || exists(&keylet::deposit_preauth(&to.id, from))
}
