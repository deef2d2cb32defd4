//! What must hold after every step, of everything that was ever signed.

use super::{
    basics::lock,
    ledger::{Ledger, Signed},
    signer::Produced,
    world::World,
};
use bursar_domain::{
    lifecycle::{FundsMoved, State, SubStatus, Transfer},
    network::Chain,
};
use bursar_store::{reservations, transactions};
use std::{collections::BTreeSet, time::Duration};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Of a transfer's transactions at most one can pay.
    OneCanPay,
    /// The recipient was paid once at most.
    PaidOnce,
    /// Each transfer has ended, has a next step, or says why it waits.
    SaysWhy,
    /// Whatever can still pay has its resources reserved for its own transfer.
    Claimed,
    /// COMPLETED: a final block holds the payment. Ended without a payment: nothing that was signed can pay.
    EndsAreTrue,
    /// When everything works again, each transfer ends.
    Ends,
}

#[derive(Debug, Clone)]
pub struct Violation {
    pub rule: Rule,
    pub detail: String,
}

/// What was dead once.
#[derive(Debug, Default)]
pub struct Past {
    dead: BTreeSet<Signed>,
}

impl Past {
    /// A reorganisation beyond finality may bring it back. Nothing that is built on finality survives that, so for the rules what was
    /// dead once stays it; the model must not bring anything back otherwise.
    fn buries(&mut self, ledger: &Ledger, signed: &Signed) -> bool {
        if ledger.dead(signed) {
            self.dead.insert(signed.clone());
            return true;
        }
        let was = self.dead.contains(signed);
        assert!(!was || !ledger.orphaned.is_empty(), "the model's chain is broken: {signed:?} is back");
        was
    }
}

pub async fn check(world: &mut World) -> Result<(), Violation> {
    if look(world).await.is_ok() {
        return Ok(());
    }
    // A commit may have been on its way while we read; what is broken stays broken.
    tokio::time::sleep(Duration::from_millis(30)).await;
    look(world).await
}

async fn look(world: &mut World) -> Result<(), Violation> {
    let ledger = lock(&world.ledger).clone();
    let produced = world.signer.produced();
    let mut past = std::mem::take(&mut world.past);
    let mut result = Ok(());
    for id in &world.transfers {
        let transfer = world.transfer(*id).await;
        let of: Vec<&Produced> = produced.iter().filter(|produced| produced.transfer == *id).collect();
        let alive: Vec<&Signed> = of
            .iter()
            .map(|produced| &produced.signed)
            .filter(|signed| !past.buries(&ledger, signed))
            .collect();
        result = result.and(chain_rules(&ledger, &transfer, &alive));
        result = result.and(says_why(&transfer));
        result = result.and(true_end(&ledger, &transfer, &of, &alive));
        if result.is_ok() {
            result = claimed(world, &transfer, &alive).await;
        }
    }
    world.past = past;
    result
}

fn broken(rule: Rule, transfer: &Transfer, what: impl std::fmt::Display) -> Violation {
    Violation { rule, detail: format!("{}: {:?}: {what}", transfer.id, transfer.state) }
}

fn recipient(transfer: &Transfer) -> &str {
    &transfer.intent.intent.payments[0].destination.address
}

fn chain_rules(ledger: &Ledger, transfer: &Transfer, alive: &[&Signed]) -> Result<(), Violation> {
    let to = recipient(transfer);
    let paying: Vec<_> = alive.iter().filter(|signed| signed.payload.pays(to)).collect();
    for (index, one) in paying.iter().enumerate() {
        for other in &paying[index + 1..] {
            if !one.payload.uses.iter().any(|resource| other.payload.uses.contains(resource)) {
                return Err(broken(Rule::OneCanPay, transfer, format!("{one:?} and {other:?}")));
            }
        }
    }
    match ledger.paid(to) {
        0 | 1 => Ok(()),
        times => Err(broken(Rule::PaidOnce, transfer, format!("{to} was paid {times} times"))),
    }
}

fn says_why(transfer: &Transfer) -> Result<(), Violation> {
    let fine =
        transfer.status().is_terminal() || transfer.state.next_step().is_some() || transfer.reason.is_some();
    if fine { Ok(()) } else { Err(broken(Rule::SaysWhy, transfer, "nobody knows why it is here")) }
}

/// Claims outlive whoever dies, so they are looked for in the store, by resource.
async fn claimed(world: &World, transfer: &Transfer, alive: &[&Signed]) -> Result<(), Violation> {
    let records = transactions::of_transfer(world.store(), transfer.id).await.unwrap();
    for signed in alive {
        let unsigned = serde_json::to_vec(&signed.payload).unwrap();
        if !records.iter().any(|record| record.unsigned.bytes == unsigned) {
            return Err(broken(Rule::Claimed, transfer, format!("the store does not know {signed:?}")));
        }
        for resource in &signed.payload.uses {
            let network = transfer.intent.intent.network();
            let holder = reservations::holder(world.store(), network, resource).await.unwrap();
            if !records.iter().any(|record| Some(record.id) == holder) {
                let what = format!("{resource} of {signed:?} is held by {holder:?}");
                return Err(broken(Rule::Claimed, transfer, what));
            }
        }
    }
    Ok(())
}

fn true_end(
    ledger: &Ledger,
    transfer: &Transfer,
    all: &[&Produced],
    alive: &[&Signed],
) -> Result<(), Violation> {
    let to = recipient(transfer);
    let false_end = |what: String| Err(broken(Rule::EndsAreTrue, transfer, what));
    match &transfer.state {
        State::Completed { block, .. } => {
            // A block that was final and is not in the chain any more: the follower will see it, and it is opened again.
            let orphaned = ledger.orphaned.contains(&block.hash);
            let paying = all.iter().map(|produced| &produced.signed).filter(|signed| signed.payload.pays(to));
            let paid = paying.filter_map(|signed| ledger.find(signed));
            match orphaned
                || paid.into_iter().any(|found| found.is_final && !found.failed && found.hash == block.hash)
            {
                true => Ok(()),
                false => false_end("no final block holds the payment".into()),
            }
        }
        State::Failed { funds_moved: FundsMoved::FeeOnly, .. } => {
            let failed = alive
                .iter()
                .filter_map(|signed| ledger.find(signed))
                .any(|found| found.failed && found.is_final);
            match failed || !ledger.orphaned.is_empty() {
                true => Ok(()),
                false => false_end("no final block shows that it failed".into()),
            }
        }
        State::Cancelled
        | State::Expired
        | State::Rejected
        | State::Blocked
        | State::Replaced { .. }
        | State::Failed { funds_moved: FundsMoved::None, .. } => {
            match alive.iter().find(|signed| signed.payload.pays(to)) {
                None => Ok(()),
                Some(signed) => false_end(format!("{signed:?} can pay, or has paid")),
            }
        }
        _ => Ok(()),
    }
}

/// Why a transfer may stay open for good, as far as the chain and the co-signers bear it out.
pub async fn explained(world: &World, transfer: &Transfer) -> bool {
    let ledger = lock(&world.ledger).clone();
    let produced = world.signer.produced();
    let of: Vec<&Signed> = produced
        .iter()
        .filter(|produced| produced.transfer == transfer.id)
        .map(|produced| &produced.signed)
        .collect();
    // Signatures are no part of the id there, so what a block holds is known whoever published it.
    if ledger.chain == Chain::Bitcoin && of.iter().any(|signed| ledger.find(signed).is_some()) {
        return false;
    }
    // Something else than what the store knows has used what it needs.
    let records = transactions::of_transfer(world.store(), transfer.id).await.unwrap();
    let robbed = records
        .iter()
        .any(|record| record.effects.resources.iter().any(|resource| ledger.user(resource).is_some()));
    // Flagged, and no block could take any of it: a number below is unused and nobody's, or its coin is gone with a reorganisation.
    let stuck = transfer.flags.stuck && !of.iter().any(|signed| ledger.fits(signed));
    let turn =
        matches!(transfer.state, State::Queued | State::PendingSignature { signing_started: false, .. });
    match transfer.sub_status {
        None if matches!(transfer.state, State::Broadcasting { .. }) => stuck,
        // Built anew whenever the package is too old, and waits again.
        None if turn => behind_another(world, transfer).await,
        Some(SubStatus::SigningInconclusive) => !of.is_empty(),
        Some(SubStatus::Unexplained) => {
            robbed || world.log.iter().any(|line| line.contains("RefusesForThePast"))
        }
        Some(SubStatus::BroadcastRejected) => robbed || waits_for_another(&ledger, &of),
        Some(SubStatus::WaitsItsTurn) => behind_another(world, transfer).await,
        Some(SubStatus::InsufficientFunds) => ledger.chain == Chain::Bitcoin,
        _ => false,
    }
}

/// The account's numbers are signed in order, and one that is not signed belongs to a transfer that is stuck for a reason.
async fn behind_another(world: &World, transfer: &Transfer) -> bool {
    for id in &world.transfers {
        let other = world.transfer(*id).await;
        let holds = matches!(other.state, State::PendingSignature { signing_started: true, .. })
            || other.sub_status == Some(SubStatus::Unexplained);
        if other.id != transfer.id && holds && other.reason.is_some() {
            return world.chain != Chain::Bitcoin;
        }
    }
    false
}

/// Its coin was made by a transaction that is in no block any more.
fn waits_for_another(ledger: &Ledger, of: &[&Signed]) -> bool {
    ledger.chain == Chain::Bitcoin && of.iter().any(|signed| !ledger.fits(signed))
}
