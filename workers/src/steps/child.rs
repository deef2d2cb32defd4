//! Child pays for parent (Bitcoin): where no replacement can be made, a transaction that spends the payment's change, at a fee for which
//! miners take both.
//!
//! The transfer stays on the parent; the child is a transaction of its own beside it, with its own claim on the change, sessions and
//! bytes. A parent has one at a time. It is sent whenever its parent is, and looked after until it has ended itself, also when the transfer
//! has ended before: otherwise the change would stay claimed. It ends in a final block, or when a final block holds what excludes its
//! parent or itself. Once a session began its claim is not given back without that, but for one case: its parent is final, and the
//! intent expired before a signature of it reached us, so that co-signers sign it no more. It pays nobody, so nothing can be paid twice
//! by what spends the change instead.

use super::{
    Progress, REWORD, authorize, dead, halted, left, prepare::keep, replace::begin_session, screen,
    sign::session_pause, variants,
};
use crate::{
    context::{ChainPorts, Context},
    engine::StepError,
    follower, places,
    preflight::{DraftError, Wish, redraft},
    transition::{advance, advance_in, still},
};
use bursar_domain::{
    chain::Liveness,
    ids::TransactionId,
    lifecycle::{Fact, State, SubStatus, Transfer},
    package::{Purpose, SigningPackage},
    ports::{BroadcastOutcome, SentTransaction, SignError, SpentBy},
    signing::SignatureBytes,
};
use bursar_store::{
    chain,
    transactions::{self, TransactionRecord},
};
use std::time::Duration;

/// How many children of one parent are drafted, those included that the co-signers refused.
const MAX_CHILDREN: usize = 3;

/// Why there is no replacement.
pub(super) struct Obstacle<'a> {
    pub sub_status: SubStatus,
    pub reason: &'a str,
}

/// What became of a child's signature.
pub(super) enum Signing {
    /// Something was written: look again.
    Moved,
    Later(Duration),
    /// There is none to be signed.
    Nothing,
}

fn is_of(record: &TransactionRecord, parent: &TransactionRecord) -> bool {
    matches!(&record.purpose, Purpose::Child { parent: own } if **own == parent.unsigned)
}

/// Drafts a child of the transaction under way, and stores it with its claim and with why there is no replacement. `false`: there
/// is none, and nothing was written.
pub(super) async fn begin(
    context: &Context,
    ports: &ChainPorts,
    transfer: &Transfer,
    parent: &TransactionRecord,
    variants: &[TransactionRecord],
    raise_percent: u32,
    obstacle: Obstacle<'_>,
) -> Result<bool, StepError> {
    let under_way =
        matches!(transfer.state, State::Broadcasting { transaction, .. } if transaction == parent.id);
    let expired = context.now() >= transfer.intent.intent.expires_at;
    if !ports.replacement.child_pays || !under_way || expired || parent.purpose != Purpose::Pay {
        return Ok(false);
    }
    let before = || variants.iter().filter(|record| is_of(record, parent));
    if before().count() >= MAX_CHILDREN || before().any(|record| record.ended.is_none()) {
        return Ok(false);
    }
    let intent = transfer.remaining()?;
    let purpose = Purpose::Child { parent: Box::new(parent.unsigned.clone()) };
    let wish = Wish {
        intent: &intent,
        purpose: &purpose,
        earlier: vec![parent.unsigned.clone()],
        raise_percent,
        price_cap: ports.replacement.price_cap,
    };
    let draft = match redraft(context, wish).await {
        Ok(draft) => draft,
        Err(DraftError::Step(StepError::Store(error))) => return Err(error.into()),
        Err(error) => {
            tracing::info!(parent = %parent.id, %error, "no child either");
            return Ok(false);
        }
    };
    let now = context.now();
    let id = TransactionId::new(context.ids.uuid());
    let mut tx = context.store.write().await?;
    still(&mut tx, transfer).await?;
    if keep(&mut tx, context, transfer, id, purpose, draft, now).await?.is_none() {
        return Ok(false);
    }
    let Obstacle { sub_status, reason } = obstacle;
    let reason = format!("{reason}; a child is to pay for it instead");
    let fact = Fact::ReplacementHindered { sub_status, reason, lasting: true };
    advance_in(&mut tx, transfer.clone(), fact, now).await?;
    tx.commit().await?;
    Ok(true)
}

/// Has the child of `parent` signed, if there is one that is not.
pub(super) async fn sign(
    context: &Context,
    ports: &ChainPorts,
    transfer: &mut Transfer,
    parent: &TransactionRecord,
    variants: &[TransactionRecord],
) -> Result<Signing, StepError> {
    let unsigned = |record: &&TransactionRecord| {
        is_of(record, parent) && record.ended.is_none() && record.signed.is_none()
    };
    let Some(child) = variants.iter().find(unsigned) else { return Ok(Signing::Nothing) };
    let old = context.now().since(child.created_at) > context.settings.package_lifetime;
    if child.signing_started_at.is_none() && old {
        release(context, child, None).await?;
        return Ok(Signing::Moved);
    }
    // No co-signer signs it any more.
    if context.now() >= transfer.intent.intent.expires_at {
        return Ok(Signing::Nothing);
    }
    let scheme = transfer.intent.intent.wallet.scheme();
    let key = context.group_key(scheme).await?.ok_or(StepError::NoKey(scheme))?;
    let offline = context.signer.online(scheme) < key.threshold;
    if offline || halted::by(context, transfer, &child.purpose).await?.is_some() {
        return Ok(Signing::Later(context.settings.retry));
    }
    if let Some(screen::Kept { says, pause }) = screen::again(context, transfer).await? {
        if let Some((sub_status, reason)) = says {
            hinder(context, transfer, sub_status, reason).await?;
        }
        return Ok(Signing::Later(pause));
    }
    let authorization = match authorize::again(context, transfer, &child.purpose).await? {
        Ok(basis) => basis.evidence,
        Err(waits) => {
            hinder(context, transfer, waits.sub_status, waits.reason).await?;
            return Ok(Signing::Later(context.settings.retry));
        }
    };
    let Ok(place) = places::to_sign() else { return Ok(Signing::Later(context.settings.retry)) };
    let payloads = ports.adapter.signing_payloads(&child.unsigned, &key)?;
    let attempt = begin_session(context, transfer, child).await?;
    tracing::info!(transaction = %child.id, parent = %parent.id, attempt, "asking the co-signers for a child");
    let package = SigningPackage {
        transfer: transfer.id,
        transaction: child.id,
        intent: transfer.intent.clone(),
        recalls: transfer.recalls.clone(),
        purpose: child.purpose.clone(),
        unsigned: child.unsigned.clone(),
        authorization,
    };
    let signatures: Vec<SignatureBytes> = match place.wait(context.signer.sign(&package, &payloads)).await {
        Ok(signatures) => signatures,
        Err(error) => {
            tracing::info!(transaction = %child.id, %error, "the child was not signed");
            not_signed(context, child, &error).await?;
            let told = match &error {
                SignError::Refused { .. } => Some(SubStatus::SignerRejected),
                SignError::NotNow { .. } => Some(SubStatus::SignerNotYet),
                _ => None,
            };
            if let Some(sub_status) = told {
                hinder(context, transfer, sub_status, error.to_string()).await?;
            }
            return Ok(Signing::Later(session_pause(context, attempt)));
        }
    };
    let signed = ports.adapter.assemble(&child.unsigned, &key, &signatures)?;
    let mut tx = context.store.write().await?;
    if transactions::get_in(&mut tx, child.id).await?.is_none_or(|known| known.ended.is_some()) {
        return Ok(Signing::Moved);
    }
    transactions::store_signed(&mut tx, child.id, &signed, context.now()).await?;
    tx.commit().await?;
    metrics::counter!("bursar_replacements_total", "purpose" => child.purpose.name()).increment(1);
    Ok(Signing::Moved)
}

/// Says why the child is not signed now, beside what is said of a replacement: that rests on as it did. Nothing is said of a transfer that
/// has ended.
async fn hinder(
    context: &Context,
    transfer: &mut Transfer,
    sub_status: SubStatus,
    reason: String,
) -> Result<(), StepError> {
    let known = transfer.replacing.obstacle.as_ref();
    let said = known.is_some_and(|known| {
        known.sub_status == sub_status
            && (known.reason == reason || left(context.now(), known.at, REWORD).is_some())
    });
    if said || !transfer.state.is_replaceable() {
        return Ok(());
    }
    let lasting = known.is_some_and(|known| known.lasting);
    let fact = Fact::ReplacementHindered { sub_status, reason, lasting };
    *transfer = advance(context, transfer.clone(), fact).await?;
    Ok(())
}

/// Where nobody took part the session is taken back, and what was refused is given back.
async fn not_signed(
    context: &Context,
    child: &TransactionRecord,
    error: &SignError,
) -> Result<(), StepError> {
    if child.signing_started_at.is_some() || error.started() {
        return Ok(());
    }
    let mut tx = context.store.write().await?;
    transactions::take_back_session(&mut tx, child.id).await?;
    if matches!(error, SignError::Refused { .. }) {
        transactions::release(&mut tx, child.id).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Gives back one that nobody began to sign, or (`proof`) one that co-signers no longer sign.
async fn release(context: &Context, child: &TransactionRecord, proof: Option<&str>) -> Result<(), StepError> {
    let mut tx = context.store.write().await?;
    match proof {
        None => transactions::release(&mut tx, child.id).await?,
        Some(proof) => transactions::give_up_child(&mut tx, child.id, proof).await?,
    }
    tx.commit().await?;
    Ok(())
}

/// Hands the signed child of `parent`, which is in a node's mempool or in a block, to the network.
pub(super) async fn send(
    context: &Context,
    ports: &ChainPorts,
    parent: &TransactionRecord,
    variants: &[TransactionRecord],
) -> Result<(), StepError> {
    let open = |record: &&TransactionRecord| {
        is_of(record, parent) && record.ended.is_none() && record.inclusion.is_none()
    };
    for child in variants.iter().filter(open) {
        let Some(signed) = &child.signed else { continue };
        if child
            .broadcast_at
            .is_some_and(|at| left(context.now(), at, context.settings.rebroadcast).is_some())
        {
            continue;
        }
        match ports.node.broadcast(signed).await {
            BroadcastOutcome::Accepted | BroadcastOutcome::AlreadyKnown if child.broadcast_at.is_none() => {
                let mut tx = context.store.write().await?;
                transactions::mark_broadcast(&mut tx, child.id, context.now()).await?;
                tx.commit().await?;
            }
            BroadcastOutcome::Accepted | BroadcastOutcome::AlreadyKnown => {}
            BroadcastOutcome::MaybeSent { reason } | BroadcastOutcome::Rejected { reason } => {
                tracing::info!(transaction = %child.id, reason, "no node has clearly taken the child");
            }
        }
    }
    Ok(())
}

/// Looks after children whose parent's transfer has ended, until none is open.
pub async fn settle(context: &Context, transfer: &Transfer) -> Result<Progress, StepError> {
    let network = transfer.intent.intent.network();
    let Some(ports) = context.chain(network) else { return Ok(Progress::Rest) };
    let variants = variants(context, transfer).await?;
    let mut open = variants
        .iter()
        .filter(|record| record.is_child() && record.ended.is_none() && record.finalized_at.is_none());
    let Some(child) = open.next() else { return Ok(Progress::Rest) };
    let Some(parent) = variants.iter().find(|record| is_of(child, record)) else { return Ok(Progress::Rest) };
    if let Some(inclusion) = &child.inclusion {
        let walked = chain::cursor(&context.store, network).await?.map_or(0, |block| block.height);
        let tips = ports.fresh_tips(context.now()).await?;
        if inclusion.block.height > follower::final_height(&tips, walked) {
            return Ok(Progress::Wait(context.settings.retry));
        }
        let mut tx = context.store.write().await?;
        // The follower may have gone back since we looked.
        let now_in = transactions::get_in(&mut tx, child.id).await?.and_then(|current| current.inclusion);
        if now_in.as_ref() == Some(inclusion) {
            transactions::mark_finalized(&mut tx, child.id, context.now()).await?;
            tx.commit().await?;
        }
        return Ok(Progress::Moved);
    }
    let spent_by = chain::foreign_spends(&context.store, child.network, &child.effects.resources).await?;
    if dead::published(context, ports, std::iter::once(child), &spent_by).await? {
        return Ok(Progress::Moved);
    }
    if let Some(proof) = proof_of_death(ports, child, parent, spent_by).await? {
        let mut tx = context.store.write().await?;
        transactions::release_dead(&mut tx, child.id, &proof).await?;
        tx.commit().await?;
        return Ok(Progress::Moved);
    }
    if child.signed.is_some() {
        send(context, ports, parent, &variants).await?;
        return Ok(Progress::Wait(context.settings.rebroadcast));
    }
    if child.signing_started_at.is_none() {
        release(context, child, None).await?;
        return Ok(Progress::Moved);
    }
    // Some time after, for clocks differ, and a session takes its time.
    let over = transfer.intent.intent.expires_at.plus(context.settings.package_lifetime);
    if parent.finalized_at.is_some() && context.now() >= over {
        let proof = "its parent is final without it, the intent has expired, so that co-signers sign it no more, and no signature of it \
                     has reached us: what it would spend is given back";
        tracing::warn!(transaction = %child.id, "a child's signing session gave nothing before the intent expired");
        release(context, child, Some(proof)).await?;
        return Ok(Progress::Moved);
    }
    Ok(match sign(context, ports, &mut transfer.clone(), parent, &variants).await? {
        Signing::Moved => Progress::Moved,
        Signing::Later(pause) => Progress::Wait(pause),
        Signing::Nothing => Progress::Wait(context.settings.package_lifetime),
    })
}

/// The proof, if a final transaction that is not ours has spent the change.
async fn proof_of_death(
    ports: &ChainPorts,
    child: &TransactionRecord,
    parent: &TransactionRecord,
    spent_by: Vec<SpentBy>,
) -> Result<Option<String>, StepError> {
    if spent_by.is_empty() {
        return Ok(None);
    }
    let sent = SentTransaction {
        transaction: child.id,
        tx_id: child.signed.as_ref().map(|signed| signed.tx_id.clone()),
        unsigned: child.unsigned.clone(),
        siblings: parent.signed.iter().map(|signed| signed.tx_id.clone()).collect(),
        spent_by,
        resources: child.effects.resources.clone(),
        validity: child.effects.validity,
    };
    Ok(match ports.node.liveness(&sent).await? {
        Liveness::Dead { proof } => Some(proof),
        Liveness::MayConfirm | Liveness::Unexplained { .. } => None,
    })
}
