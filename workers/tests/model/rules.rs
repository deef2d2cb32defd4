use super::{
    books::{self, Books},
    fillers::{self, Fillers},
    ledger::Ledger,
    signer::Produced,
    world::World,
};
use crate::shared::{basics::lock, payload::Signed};
use bursar_domain::{
    effects::Resource,
    ids::TransferId,
    lifecycle::{FundsMoved, State, SubStatus, Transfer},
    network::Chain,
};
use bursar_store::{
    events::{self, Event},
    halts::{self, HaltId},
    reservations,
    transactions::{self, TransactionRecord},
    transfers,
};
use std::{collections::BTreeSet, time::Duration};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Co-signers were never brought to sign two transactions of an intent that do not share a resource, nor a child of anything else
    /// than what they signed, or dearer than the intent allows.
    Memory,
    /// What was signed pays exactly what the initiator has not taken back, or nobody.
    Recalled,
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
    /// Beside a signed cancellation that may still be final no payment and no child is made any more.
    CancelStands,
    /// There are not more transactions than policy and people asked for, and few that are not signed.
    Bounded,
    /// Reserved is what transactions need that may still be final, and nothing else.
    Reserved,
    /// A filler uses one nonce, which is a gap or the account's next, and pays nobody.
    Fills,
    /// No session begins while the account is halted.
    Halted,
    /// What has a next step has a job, or a block will bring it one.
    NotLost,
    /// A transfer's events, one after the other, lead to how it stands.
    Replays,
    /// When everything works again, each transfer ends, and so does each child.
    Ends,
}

#[derive(Debug, Clone)]
pub struct Violation {
    pub rule: Rule,
    pub detail: String,
}

/// What the rules remember from check to check.
#[derive(Debug, Default, Clone)]
pub struct Past {
    /// What was dead once.
    dead: BTreeSet<Signed>,
    pub books: Books,
    fillers: Fillers,
}

impl Past {
    /// A reorganisation beyond finality may bring it back. Nothing that is built on finality survives that, so for the rules what was
    /// dead once stays it; the model must not bring anything back otherwise.
    fn buries(&mut self, ledger: &Ledger, produced: &[Produced], signed: &Signed) -> bool {
        if ledger.dead(signed) || self.orphan(ledger, produced, signed) {
            self.dead.insert(signed.clone());
            return true;
        }
        let was = self.dead.contains(signed);
        assert!(!was || !ledger.orphaned.is_empty(), "the model's chain is broken: {signed:?} is back");
        was
    }
}

impl Past {
    /// It spends what a transaction would have made that is dead.
    fn orphan(&mut self, ledger: &Ledger, produced: &[Produced], signed: &Signed) -> bool {
        let mut missing = signed.payload.uses.iter().filter(|resource| match resource {
            Resource::Utxo(outpoint) => !ledger.coin_exists(outpoint),
            _ => false,
        });
        missing.any(|resource| {
            maker(produced, resource).is_some_and(|maker| self.buries(ledger, produced, maker))
        })
    }
}

/// The transaction of ours that makes this output.
fn maker<'a>(produced: &'a [Produced], resource: &Resource) -> Option<&'a Signed> {
    let Resource::Utxo(outpoint) = resource else { return None };
    produced.iter().map(|produced| &produced.signed).find(|signed| signed.payload.makes(outpoint))
}

/// All that the rules look at, read once.
pub struct Sight {
    pub ledger: Ledger,
    pub produced: Vec<Produced>,
    pub transfers: Vec<(Transfer, Vec<TransactionRecord>)>,
    /// Halts that stand. Read after the transactions.
    pub halts: BTreeSet<HaltId>,
    /// Those that have a next step and no job.
    pub jobless: Vec<TransferId>,
    /// Since the last check.
    pub events: Vec<Event>,
}

impl Sight {
    async fn of(world: &World) -> Self {
        let store = world.store();
        let jobless = match world.jobs_lost {
            true => vec![],
            false => transfers::unfinished(store, world.time.now().plus(Duration::MAX), 100).await.unwrap(),
        };
        let mut transfers = Vec::new();
        for id in &world.transfers {
            let records = transactions::of_transfer(store, *id).await.unwrap();
            transfers.push((world.transfer(*id).await, records));
        }
        let halts = halts::standing(store, world.network()).await.unwrap();
        Self {
            transfers,
            jobless,
            halts: halts.into_iter().map(|halt| halt.id).collect(),
            events: events::after(store, world.past.books.read_to, u32::MAX).await.unwrap(),
            ledger: lock(&world.ledger).clone(),
            produced: world.signer.produced(),
        }
    }
    pub fn records(&self) -> impl Iterator<Item = &TransactionRecord> {
        self.transfers.iter().flat_map(|(_, records)| records)
    }
}

pub async fn check(world: &mut World) -> Result<(), Violation> {
    let result = match look(world).await {
        Ok(past) => Ok(past),
        Err(_) => {
            // A commit may have been on its way while we read; what is broken stays broken.
            tokio::time::sleep(Duration::from_millis(30)).await;
            look(world).await
        }
    };
    world.past = result?;
    Ok(())
}

async fn look(world: &World) -> Result<Past, Violation> {
    let sight = Sight::of(world).await;
    let mut past = world.past.clone();
    fillers::check(world, &sight, &mut past.fillers)?;
    for (transfer, records) in &sight.transfers {
        let produced = sight.produced.iter().filter(|produced| produced.transfer == transfer.id);
        let of: Vec<&Signed> = produced.map(|produced| &produced.signed).collect();
        let alive: Vec<&Signed> = of
            .iter()
            .copied()
            .filter(|signed| !past.buries(&sight.ledger, &sight.produced, signed))
            .collect();
        memory(transfer, &of)?;
        as_it_remains(transfer, &of)?;
        chain_rules(&sight.ledger, transfer, &alive)?;
        says_why(transfer)?;
        true_end(&sight.ledger, transfer, &of, &alive)?;
        claimed(world, transfer, records, &alive).await?;
    }
    books::check(world, &sight, &mut past.books).await?;
    Ok(past)
}

pub fn broken(rule: Rule, transfer: &Transfer, what: impl std::fmt::Display) -> Violation {
    Violation { rule, detail: format!("{}: {:?}: {what}", transfer.id, transfer.state) }
}

fn recipients(transfer: &Transfer) -> impl Iterator<Item = &str> {
    transfer.intent.intent.payments.iter().map(|payment| payment.destination.address.as_str())
}

fn pays_any(transfer: &Transfer, signed: &Signed) -> bool {
    recipients(transfer).any(|to| signed.payload.pays(to))
}

/// What co-signers go by: they know neither the chain nor what we think has ended.
fn memory(transfer: &Transfer, of: &[&Signed]) -> Result<(), Violation> {
    for (index, one) in of.iter().enumerate() {
        let Some(parent) = &one.payload.parent else {
            let apart =
                |other: &&&Signed| other.payload.parent.is_none() && !other.payload.shares(&one.payload);
            match of[..index].iter().find(apart) {
                None => continue,
                Some(other) => return Err(broken(Rule::Memory, transfer, format!("{one:?} and {other:?}"))),
            }
        };
        let known = of[..index].iter().any(|other| other.payload == **parent);
        let both = bursar_domain::amount::Amount::from_u64(parent.fee + one.payload.fee);
        if !known || both > transfer.intent.intent.max_fee || !one.payload.pays.is_empty() {
            return Err(broken(Rule::Memory, transfer, format!("child {one:?}")));
        }
    }
    Ok(())
}

fn as_it_remains(transfer: &Transfer, of: &[&Signed]) -> Result<(), Violation> {
    let remaining = transfer.remaining().unwrap().payments;
    let remaining: Vec<&str> = remaining.iter().map(|payment| payment.destination.address.as_str()).collect();
    for signed in of.iter().filter(|signed| !signed.payload.pays.is_empty()) {
        let pays: Vec<&str> = signed.payload.pays.iter().map(|payout| payout.to.as_str()).collect();
        if pays != remaining {
            let what = format!("{signed:?}, and what remains is {remaining:?}");
            return Err(broken(Rule::Recalled, transfer, what));
        }
    }
    Ok(())
}

fn chain_rules(ledger: &Ledger, transfer: &Transfer, alive: &[&Signed]) -> Result<(), Violation> {
    let paying: Vec<_> = alive.iter().filter(|signed| pays_any(transfer, signed)).collect();
    for (index, one) in paying.iter().enumerate() {
        for other in &paying[index + 1..] {
            if !one.payload.shares(&other.payload) {
                return Err(broken(Rule::OneCanPay, transfer, format!("{one:?} and {other:?}")));
            }
        }
    }
    for to in recipients(transfer) {
        let times = ledger.paid(to);
        if times > 1 {
            return Err(broken(Rule::PaidOnce, transfer, format!("{to} was paid {times} times")));
        }
    }
    Ok(())
}

fn says_why(transfer: &Transfer) -> Result<(), Violation> {
    let fine =
        transfer.status().is_terminal() || transfer.state.next_step().is_some() || transfer.reason.is_some();
    if fine { Ok(()) } else { Err(broken(Rule::SaysWhy, transfer, "nobody knows why it is here")) }
}

/// Claims outlive whoever dies, so they are looked for in the store, by resource.
async fn claimed(
    world: &World,
    transfer: &Transfer,
    records: &[TransactionRecord],
    alive: &[&Signed],
) -> Result<(), Violation> {
    if fillers::given_up(transfer) {
        return Ok(());
    }
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
    all: &[&Signed],
    alive: &[&Signed],
) -> Result<(), Violation> {
    let false_end = |what: String| Err(broken(Rule::EndsAreTrue, transfer, what));
    match &transfer.state {
        State::Completed { block, .. } => {
            // A block that was final and is not in the chain any more: the follower will see it, and it is opened again.
            let orphaned = ledger.orphaned.contains(&block.hash);
            let fills = transfer.intent.intent.fills.is_some();
            let paying = all.iter().filter(|signed| fills || pays_any(transfer, signed));
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
            match alive.iter().find(|signed| pays_any(transfer, signed)) {
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
    // It is to be proven dead then: what would have made its coin is on record, and excluded by a final block.
    if proven_dead(world, &ledger, &of).await {
        return false;
    }
    let turn =
        matches!(transfer.state, State::Queued | State::PendingSignature { signing_started: false, .. });
    match transfer.sub_status {
        None if matches!(transfer.state, State::Broadcasting { .. }) => stuck,
        // Built anew whenever the package is too old, and waits again.
        None if turn => behind_another(world, transfer).await,
        Some(SubStatus::SigningInconclusive) => !of.is_empty(),
        Some(SubStatus::Unexplained) => {
            // Co-signers took part in a payment of the nonce that is to be filled.
            let taken = || {
                let others = produced.iter().filter(|other| other.transfer != transfer.id);
                let mut used = others.flat_map(|other| &other.signed.payload.uses);
                used.any(|used| records.iter().any(|record| record.effects.resources.contains(used)))
            };
            robbed || taken() || world.log.iter().any(|line| line.contains("RefusesForThePast"))
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

/// All that was signed of it spends what a transaction would have made that the store has ended.
async fn proven_dead(world: &World, ledger: &Ledger, of: &[&Signed]) -> bool {
    let mut ended = Vec::new();
    for id in &world.transfers {
        let records = transactions::of_transfer(world.store(), *id).await.unwrap();
        let gone =
            records.iter().filter(|record| record.ended.as_ref().is_some_and(|it| it.proof().is_some()));
        let signed = gone.filter_map(|record| record.signed.as_ref());
        ended.extend(signed.map(|signed| serde_json::from_slice::<Signed>(&signed.bytes).unwrap()));
    }
    let orphan = |signed: &&Signed| {
        signed.payload.uses.iter().any(|resource| match resource {
            Resource::Utxo(outpoint) => {
                !ledger.coin_exists(outpoint) && ended.iter().any(|ended| ended.payload.makes(outpoint))
            }
            _ => false,
        })
    };
    !of.is_empty() && of.iter().all(orphan)
}

/// Its coin was made by a transaction that is in no block any more.
fn waits_for_another(ledger: &Ledger, of: &[&Signed]) -> bool {
    ledger.chain == Chain::Bitcoin && of.iter().any(|signed| !ledger.fits(signed))
}
