//! Whether a transfer's transactions can still be in a block, asked only where there is cause: a ledger that has passed, a resource
//! that a transaction of nobody we know has used, or an output of a transaction of our own that has itself ended.

use super::{Progress, live, ports, wait};
use crate::{
    context::{ChainPorts, Context},
    engine::StepError,
    frozen::rebuild_later,
    transition::{advance_in, still},
};
use bursar_domain::{
    chain::Liveness,
    effects::{Resource, Validity},
    ids::TransactionId,
    lifecycle::{Fact, SubStatus, Transfer, Verb},
    network::Network,
    package::Purpose,
    ports::{SentTransaction, SpentBy},
};
use bursar_store::{
    StoreError, WriteTx, chain,
    transactions::{self, GoneParent, TransactionRecord},
};
use std::collections::BTreeSet;

/// Ends the transfer if all of its transactions are proven dead; the proofs are kept. `None`: there is no cause to doubt.
pub async fn check(
    context: &Context,
    transfer: &Transfer,
    variants: &[TransactionRecord],
) -> Result<Option<Progress>, StepError> {
    let (network, ports) = ports(context, transfer)?;
    let causes = Causes::of(context, network, variants).await?;
    if live(variants).next().is_none() || causes.none() {
        return Ok(None);
    }
    if published(context, ports, live(variants), &causes.spent_by).await? {
        return Ok(Some(Progress::Moved));
    }
    let (mut proofs, mut alive) = (Vec::new(), Vec::new());
    for record in live(variants) {
        let liveness = match causes.parent_of(record) {
            // The final block that excludes the parent was seen already; no node need be asked.
            Some(gone) => Liveness::Dead { proof: gone.to_string() },
            None => ports.node.liveness(&sent(record, variants, &causes.spent_by)).await?,
        };
        match liveness {
            Liveness::Dead { proof } => proofs.push((record.id, proof)),
            Liveness::Unexplained { reason } => {
                return wait(context, transfer.clone(), SubStatus::Unexplained, reason).await.map(Some);
            }
            Liveness::MayConfirm if causes.ledger_passed => {
                return Ok(Some(Progress::Wait(context.settings.retry)));
            }
            Liveness::MayConfirm => alive.push(record),
        }
    }
    if let Some(first) = alive.first() {
        if !proofs.is_empty() && leave_dead(context, transfer, &causes, &proofs, &alive, variants).await? {
            return Ok(Some(Progress::Moved));
        }
        // Used in part at most, or not for good: it goes on.
        return not_final(context, transfer, first, &causes.spent_by).await;
    }
    bury(context, transfer.clone(), &causes, variants, proofs).await.map(Some)
}

/// What became of what a draft needs, for which no session began.
pub(super) enum Needs {
    There,
    /// The draft itself is in a block: it was signed in what a backup does not remember. Only where signatures are no part of the id.
    UsedByItself {
        tx_id: String,
    },
    /// Somebody else has used it, in a block that need not be final, or it will never exist. The draft can be built of something else.
    Gone {
        why: String,
    },
}

impl Needs {
    pub async fn of(
        context: &Context,
        ports: &ChainPorts,
        draft: &TransactionRecord,
    ) -> Result<Self, StepError> {
        let TransactionRecord { network, effects, unsigned, .. } = draft;
        let spent_by = chain::foreign_spends(&context.store, *network, &effects.resources).await?;
        let id = ports.adapter.fixed_id(unsigned);
        if let Some(tx_id) = id.filter(|id| spent_by.iter().any(|used| used.tx_id == *id)) {
            return Ok(Self::UsedByItself { tx_id });
        }
        if let Some(SpentBy { resource, tx_id, height }) = spent_by.first() {
            let why = format!("its {resource} was used by {tx_id} in block {height}, which is not ours");
            return Ok(Self::Gone { why });
        }
        let gone = transactions::gone_parents(&context.store, *network, &effects.resources).await?;
        Ok(gone.first().map_or(Self::There, |gone| Self::Gone { why: gone.to_string() }))
    }
}

/// Why transactions of a transfer may be in no block any more.
struct Causes {
    network: Network,
    /// They share their Sequence, so none is given up while one may still be applied.
    ledger_passed: bool,
    spent_by: Vec<SpentBy>,
    /// Sound without a node: what ended our own transaction was final.
    gone: Vec<GoneParent>,
}

impl Causes {
    async fn of(
        context: &Context,
        network: Network,
        variants: &[TransactionRecord],
    ) -> Result<Self, StepError> {
        let walked = chain::cursor(&context.store, network).await?.map_or(0, |block| block.height);
        let passed = |record: &TransactionRecord| match record.effects.validity {
            Validity::Unlimited => false,
            Validity::UntilLedger(last) => walked >= u64::from(last),
        };
        let resources: BTreeSet<&Resource> =
            live(variants).flat_map(|record| &record.effects.resources).collect();
        let resources: Vec<Resource> = resources.into_iter().cloned().collect();
        Ok(Self {
            network,
            ledger_passed: live(variants).all(passed),
            spent_by: chain::foreign_spends(&context.store, network, &resources).await?,
            gone: transactions::gone_parents(&context.store, network, &resources).await?,
        })
    }

    fn none(&self) -> bool {
        !self.ledger_passed && self.spent_by.is_empty() && self.gone.is_empty()
    }

    /// What would have made an output that it spends, if that will never be in a block.
    fn parent_of(&self, record: &TransactionRecord) -> Option<&GoneParent> {
        self.gone.iter().find(|gone| record.effects.resources.contains(&gone.resource))
    }

    /// Whether no reorganisation deeper than finality has revived a parent since; none does before the commit.
    async fn still_gone(&self, tx: &mut WriteTx) -> Result<bool, StoreError> {
        let outputs: Vec<Resource> = self.gone.iter().map(|gone| gone.resource.clone()).collect();
        Ok(transactions::gone_parents_in(tx, self.network, &outputs).await? == self.gone)
    }
}

/// Whether the stranger in the block is one of these under a signature that never reached us; then the block is its own from now on.
/// Only where signatures are no part of the id. It is not signed again to find out: the order can be too old for that by then.
pub(super) async fn published(
    context: &Context,
    ports: &ChainPorts,
    records: impl Iterator<Item = &TransactionRecord>,
    spent_by: &[SpentBy],
) -> Result<bool, StepError> {
    for record in records.filter(|record| record.signed.is_none() && record.has_lost_session()) {
        let Some(id) = ports.adapter.fixed_id(&record.unsigned) else { continue };
        if spent_by.iter().any(|used| used.tx_id == id) {
            let now = context.now();
            let mut tx = context.store.write().await?;
            let found = transactions::in_a_block(&mut tx, record.id, &id, now).await?;
            tx.commit().await?;
            return Ok(found);
        }
    }
    Ok(false)
}

/// Of several transactions some are proven dead: those are given up, and one that can still be final takes the place of a dead one:
/// one that we can send, or else one whose signature was lost. Where there are only drafts, those are given back. `false` if
/// nothing was changed, nor has to be looked at again.
///
/// Where it was the cancellation that died, its order stands: what was to pay nobody is not sent on, but cancelled once more.
async fn leave_dead(
    context: &Context,
    transfer: &Transfer,
    causes: &Causes,
    proofs: &[(TransactionId, String)],
    alive: &[&TransactionRecord],
    variants: &[TransactionRecord],
) -> Result<bool, StepError> {
    let current = transfer.state.transaction();
    let current_died = proofs.iter().any(|(id, _)| Some(*id) == current);
    let signed = alive.iter().rev().find(|record| record.signed.is_some());
    let next = signed.or_else(|| alive.iter().rev().find(|record| record.has_lost_session()));
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, transfer).await?;
    if !causes.still_gone(&mut tx).await? {
        return Ok(true);
    }
    match next {
        Some(next) => {
            for (id, proof) in proofs {
                transactions::release_dead(&mut tx, *id, proof).await?;
            }
            if current_died {
                let cancels = next.purpose == Purpose::Cancel;
                let fact = Fact::Superseded { by: next.id, cancels };
                let moved = advance_in(&mut tx, transfer.clone(), fact, now).await?;
                let cancelled = variants
                    .iter()
                    .any(|record| Some(record.id) == current && record.purpose == Purpose::Cancel);
                if cancelled && !cancels {
                    let fact = Fact::ReplacementWanted { verb: Verb::Cancel };
                    advance_in(&mut tx, moved, fact, now).await?;
                }
            }
        }
        None if current_died => {
            for draft in alive {
                transactions::release(&mut tx, draft.id).await?;
            }
        }
        None => return Ok(false),
    }
    tx.commit().await?;
    Ok(true)
}

/// Used elsewhere, in a block that may still go away. The same bytes are useless until then.
async fn not_final(
    context: &Context,
    transfer: &Transfer,
    record: &TransactionRecord,
    spent_by: &[SpentBy],
) -> Result<Option<Progress>, StepError> {
    let Some(used) = spent_by.iter().find(|used| record.effects.resources.contains(&used.resource)) else {
        return Ok(None);
    };
    let SpentBy { resource, tx_id, height } = used;
    let reason =
        format!("its {resource} was used by {tx_id} in block {height}, which is not ours and not final yet");
    wait(context, transfer.clone(), SubStatus::SpentElsewhere, reason).await.map(Some)
}

/// Ends a transfer whose transactions are proven dead, and frees what they held.
async fn bury(
    context: &Context,
    transfer: Transfer,
    causes: &Causes,
    variants: &[TransactionRecord],
    proofs: Vec<(TransactionId, String)>,
) -> Result<Progress, StepError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    if !causes.still_gone(&mut tx).await? {
        return Ok(Progress::Moved);
    }
    for (id, proof) in &proofs {
        transactions::release_dead(&mut tx, *id, proof).await?;
    }
    for record in live(variants) {
        rebuild_later(&mut tx, record, now).await?;
    }
    let proof = proofs.into_iter().next_back().map(|(_, proof)| proof).unwrap_or_default();
    for child in variants.iter().filter(|record| record.is_child() && record.ended.is_none()) {
        let because = format!("what it spends can never exist: {proof}");
        transactions::release_dead(&mut tx, child.id, &because).await?;
    }
    let ledger_passed = causes.ledger_passed && causes.spent_by.is_empty();
    advance_in(&mut tx, transfer, Fact::ProvenDead { proof, ledger_passed }, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

fn sent(record: &TransactionRecord, variants: &[TransactionRecord], spent_by: &[SpentBy]) -> SentTransaction {
    let others = variants.iter().filter(|other| other.id != record.id);
    SentTransaction {
        transaction: record.id,
        tx_id: record.signed.as_ref().map(|signed| signed.tx_id.clone()),
        unsigned: record.unsigned.clone(),
        siblings: others.filter_map(|other| Some(other.signed.as_ref()?.tx_id.clone())).collect(),
        spent_by: spent_by
            .iter()
            .filter(|used| record.effects.resources.contains(&used.resource))
            .cloned()
            .collect(),
        resources: record.effects.resources.clone(),
        validity: record.effects.validity,
    }
}
