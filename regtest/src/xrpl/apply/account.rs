//! Transactions about one's own account: SetRegularKey, AccountDelete, DepositPreauth (AccountSet is in `set`).

pub mod set;

use serde_json::json;

use super::super::entry::{Entry, account_flags};
use super::super::ids::keylet;
use super::super::meta::Delivered;
use super::super::result::Ter;
use super::super::tx::Tx;
use super::super::view::View;
use super::payment::may_deposit;
use super::{Context, Mode, is_free_key_change};

/// An account may be deleted once its Sequence is this far behind the ledger index.
const DELETE_DISTANCE: u32 = 255;

pub(super) fn preflight_regular_key(tx: &Tx) -> Result<(), Ter> {
    if tx.account_field("RegularKey") == Some(tx.account) { Err(Ter::TemBadRegkey) } else { Ok(()) }
}

/// Source: <https://xrpl.org/docs/references/protocol/transactions/types/setregularkey>
pub(super) fn change_regular_key(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    let mut owner = context.sender();
    if is_free_key_change(context.tx, &owner) {
        owner.flags |= account_flags::PASSWORD_SPENT;
    }
    let key = context.tx.account_field("RegularKey");
    let multi_signed = context.view.exists(&keylet::signer_list(&owner.id));
    if key.is_none() && owner.has(account_flags::DISABLE_MASTER) && !multi_signed {
        return Err(Ter::TecNoAlternativeKey);
    }
    owner.regular_key = key;
    context.view.put_account(owner);
    Ok(())
}

pub(super) fn preflight_delete(tx: &Tx) -> Result<(), Ter> {
    match tx.account_field("Destination") {
        None => Err(Ter::TemDstNeeded),
        Some(destination) if destination == tx.account => Err(Ter::TemDstIsSrc),
        Some(_) => Ok(()),
    }
}

/// Source: <https://xrpl.org/docs/references/protocol/transactions/types/accountdelete>
pub(super) fn preclaim_delete(view: &View<'_>, tx: &Tx, mode: Mode) -> Result<(), Ter> {
    let destination =
        tx.account_field("Destination").and_then(|id| view.account(&id)).ok_or(Ter::TecNoDst)?;
    let owner = view.account(&tx.account).ok_or(Ter::TerNoAccount)?;
    if destination.has(account_flags::REQUIRE_DEST_TAG) && !tx.json.contains_key("DestinationTag") {
        return Err(Ter::TecDstTagNeeded);
    }
    if !may_deposit(view, &owner, &destination) {
        return Err(Ter::TecNoPermission);
    }
    if owner.sequence.saturating_add(DELETE_DISTANCE) > mode.ledger {
        return Err(Ter::TecTooSoon);
    }
    let lines = |key| view.get(key).is_some_and(|stored| matches!(stored.entry, Entry::Line(_)));
    if owner.owned.iter().any(lines) { Err(Ter::TecHasObligations) } else { Ok(()) }
}

pub(super) fn change_delete(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    let mut owner = context.sender();
    let destination = context.tx.account_field("Destination").ok_or(Ter::TemDstNeeded)?;
    let mut receiver = context.view.account(&destination).ok_or(Ter::TecNoDst)?;
    for key in &owner.owned {
        context.view.remove(*key);
    }
    receiver.balance = receiver.balance.saturating_add(owner.balance);
    receiver.flags &= !account_flags::PASSWORD_SPENT;
    context.view.put_account(receiver);
    let delivered = json!(owner.balance.to_string());
    let key = keylet::account(&owner.id);
    owner.balance = 0;
    context.view.put_account(owner);
    context.view.remove(key);
    context.delivered = Delivered { explicit: Some(delivered.clone()), amount: Some(delivered) };
    Ok(())
}

pub(super) fn preflight_preauth(tx: &Tx) -> Result<(), Ter> {
    match (tx.account_field("Authorize"), tx.account_field("Unauthorize")) {
        (Some(target), None) if target == tx.account => Err(Ter::TemCannotPreauthSelf),
        (Some(_), None) | (None, Some(_)) => Ok(()),
        // Credential sets (XLS-70) are not modelled.
        _ => Err(Ter::TemMalformed),
    }
}

/// Source: <https://xrpl.org/docs/references/protocol/transactions/types/depositpreauth>
pub(super) fn preclaim_preauth(view: &View<'_>, tx: &Tx) -> Result<(), Ter> {
    if let Some(target) = tx.account_field("Authorize") {
        if view.account(&target).is_none() {
            return Err(Ter::TecNoTarget);
        }
        if view.exists(&keylet::deposit_preauth(&tx.account, &target)) {
            return Err(Ter::TecDuplicate);
        }
    }
    if let Some(target) = tx.account_field("Unauthorize")
        && !view.exists(&keylet::deposit_preauth(&tx.account, &target))
    {
        return Err(Ter::TecNoEntry);
    }
    Ok(())
}

pub(super) fn change_preauth(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    let mut owner = context.sender();
    if let Some(authorized) = context.tx.account_field("Authorize") {
        let key = keylet::deposit_preauth(&owner.id, &authorized);
        let entry = Entry::DepositPreauth { owner: owner.id, authorized };
        context.own(&mut owner, key, entry)?;
    } else if let Some(target) = context.tx.account_field("Unauthorize") {
        let key = keylet::deposit_preauth(&owner.id, &target);
        context.disown(&mut owner, key);
    }
    context.view.put_account(owner);
    Ok(())
}
