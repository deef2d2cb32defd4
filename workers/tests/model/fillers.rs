//! Orders that use up a nonce and pay nobody (ADR 14).
//!
//! Broken on purpose on 21 November 2026: without the refusal "is not the account's next, and has nothing of ours waiting behind it" in
//! `number` (`workers/src/preflight.rs`), `ethereum__should_keep_the_rules_whatever_happens` finds [`Rule::Fills`] broken by its first seed.

use super::{
    rules::{Rule, Sight, Violation, broken},
    world::World,
};
use bursar_domain::{
    effects::Resource,
    ids::TransactionId,
    lifecycle::{State, SubStatus, Transfer},
    network::Chain,
};
use bursar_store::transactions::TransactionRecord;
use std::collections::BTreeSet;

/// As of the last check.
#[derive(Debug, Default, Clone)]
pub struct Fillers {
    /// The highest number that ever was the account's next. A node that lags shows an earlier one, and a reorganisation may take it back.
    next: u64,
    seen: BTreeSet<TransactionId>,
}

/// Each uses its nonce alone and pays nobody. It was drafted only at the account's next nonce or below, or with something of ours
/// behind it: otherwise it would itself be what waits behind a gap. One that found nothing to fill was never signed.
pub fn check(world: &World, sight: &Sight, past: &mut Fillers) -> Result<(), Violation> {
    if world.chain != Chain::Ethereum {
        return Ok(());
    }
    past.next = past.next.max(sight.ledger.used(&world.desk.account));
    for (transfer, records) in &sight.transfers {
        let Some(nonce) = transfer.intent.intent.fills else { continue };
        let alone = [Resource::Nonce { account: world.desk.account.clone(), nonce }];
        let id = transfer.id;
        let of = || sight.produced.iter().filter(move |produced| produced.transfer == id);
        let odd = |uses: &[Resource], payments: usize| uses != alone || payments > 0;
        if let Some(signed) = of().find(|one| odd(&one.signed.payload.uses, one.signed.payload.pays.len())) {
            return Err(broken(Rule::Fills, transfer, format!("{signed:?}")));
        }
        for record in records {
            if odd(&record.effects.resources, record.effects.payments.len()) {
                return Err(broken(Rule::Fills, transfer, format!("{record:?}")));
            }
            if past.seen.insert(record.id) && nonce > past.next && !behind(sight, transfer, nonce) {
                let what = format!("{nonce} is above {}, with nothing of ours behind it", past.next);
                return Err(broken(Rule::Fills, transfer, what));
            }
        }
        let nothing_to_fill = transfer.sub_status == Some(SubStatus::NothingToFill);
        if nothing_to_fill && matches!(transfer.state, State::Failed { .. }) && of().next().is_some() {
            return Err(broken(Rule::Fills, transfer, "nothing was to be filled, and it is signed"));
        }
    }
    Ok(())
}

/// Whether anything of another transfer was ever given a number above it.
fn behind(sight: &Sight, transfer: &Transfer, nonce: u64) -> bool {
    let above = |record: &TransactionRecord| {
        let mut numbers = record.effects.resources.iter();
        numbers.any(|resource| matches!(resource, Resource::Nonce { nonce: other, .. } if *other > nonce))
    };
    let others = sight.transfers.iter().filter(|(other, _)| other.id != transfer.id);
    others.flat_map(|(_, records)| records).any(above)
}

/// Whether its signature may be anywhere although nothing is reserved for it any more: it pays nobody, and co-signers that took part in it
/// refuse payments of its nonce.
pub fn given_up(transfer: &Transfer) -> bool {
    transfer.intent.intent.fills.is_some() && matches!(transfer.state, State::Expired)
}
