//! TicketCreate. Source: <https://xrpl.org/docs/references/protocol/transactions/types/ticketcreate>

use super::super::entry::Entry;
use super::super::ids::keylet;
use super::super::result::Ter;
use super::super::tx::{SeqProxy, Tx};
use super::super::view::View;
use super::Context;

const MAX_TICKETS: u32 = 250;

pub(super) fn preflight(tx: &Tx) -> Result<(), Ter> {
    match tx.number("TicketCount") {
        Some(1..=MAX_TICKETS) => Ok(()),
        _ => Err(Ter::TemInvalidCount),
    }
}

pub(super) fn preclaim(view: &View<'_>, tx: &Tx) -> Result<(), Ter> {
    let owned = view.account(&tx.account).map_or(0, |account| account.ticket_count);
    let consumed = u32::from(matches!(tx.seq, SeqProxy::Ticket(_)));
    let after = owned + tx.number("TicketCount").unwrap_or(0) - consumed.min(owned);
    if after > MAX_TICKETS { Err(Ter::TecDirFull) } else { Ok(()) }
}

pub(super) fn change(context: &mut Context<'_, '_>) -> Result<(), Ter> {
    let count = context.tx.number("TicketCount").unwrap_or(0);
    let mut owner = context.sender();
    if context.prior_balance < context.rules.reserve(owner.owner_count + count) {
        return Err(Ter::TecInsufficientReserve);
    }
    let first = owner.sequence;
    for sequence in first..first.saturating_add(count) {
        let key = keylet::ticket(&owner.id, sequence);
        owner.owned.insert(key);
        context.view.put(key, Entry::Ticket { owner: owner.id, sequence });
    }
    owner.owner_count += count;
    owner.ticket_count += count;
    owner.sequence = first.saturating_add(count);
    context.view.put_account(owner);
    Ok(())
}
