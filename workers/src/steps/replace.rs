//! Beside PENDING_SIGNATURE (once a session began), SIGNED and BROADCASTING: a transaction in place of the one under way.
//!
//! A replacement is a transaction of its own, with its own package, sessions and bytes. It is drafted so that it shares a resource
//! with every transaction of the transfer that may still be in a block ([`exclusivity`]; the store asks again, and so does each
//! co-signer), stored with its claims, then signed. Only when its signed bytes are stored does the transfer go over to it, in the
//! same commit. Until then, and whenever it comes to nothing, the one under way goes on being sent. None of them is forgotten: any
//! may be the one that a block holds.
//!
//! Loss-of-funds hazards: a second session is begun for the same bytes only; a replacement whose session may have left a signature
//! is never released, and whatever follows must share a resource with it as well.

use super::{
    REWORD, authorize, child,
    child::{Obstacle, Signing},
    find, halted, left, live, ports,
    prepare::keep,
    screen,
    sign::{nudge_next, session_pause},
};
use crate::{
    context::{ChainPorts, Context, Replacement},
    engine::StepError,
    places,
    preflight::{DraftError, Wish, redraft},
    transition::{MoveError, advance, advance_anew, advance_in, still},
};
use bursar_domain::{
    ids::TransactionId,
    lifecycle::{Fact, State, SubStatus, Transfer, Verb, exclusivity},
    network::Chain,
    package::{Purpose, SigningPackage},
    ports::{BuildError, SignError},
    signing::{GroupKey, SignatureBytes},
};
use bursar_store::{
    reservations,
    transactions::{self, Ended, TransactionRecord},
    transfers,
};
use std::time::Duration;

/// How many transactions a transfer may have at most, whoever asks for more.
const MAX_VARIANTS: usize = 30;

/// How often the rest behind what lasts is doubled: a day of five minutes.
const MAX_DOUBLINGS: usize = 8;

/// The refusal of a co-signer whose rules cap the fee lower.
const FEE_ABOVE_CAP: &str = "FEE_ABOVE_CAP";

/// What the step that called does next.
pub enum Side {
    /// Something was written: look at the transfer again.
    Moved,
    /// Nothing more is to be sent meanwhile; look again then.
    Hold(Duration),
    /// Go on with the transaction under way. Look again then at the latest, if there is a time.
    Beside(Box<Transfer>, Option<Duration>),
}

/// Which transaction there should be instead.
struct Goal {
    purpose: Purpose,
    raise_percent: u32,
    /// Someone asked for it through the API.
    asked: bool,
}

impl Goal {
    const fn cancels(&self) -> bool {
        matches!(self.purpose, Purpose::Cancel)
    }
}

pub async fn run(
    context: &Context,
    mut transfer: Transfer,
    variants: &[TransactionRecord],
) -> Result<Side, StepError> {
    let (_, ports) = ports(context, &transfer)?;
    let Some(current) = transfer.state.transaction() else {
        return Ok(Side::Beside(Box::new(transfer), None));
    };
    let current = find(variants, current)?;
    let policy = &ports.replacement;
    let until_stuck = match until_stuck(context, &transfer, current, policy) {
        Some(Duration::ZERO) if !transfer.flags.stuck => {
            tracing::warn!(transaction = %current.id, "no block takes it");
            metrics::counter!("bursar_stuck_total", "network" => current.network.to_string()).increment(1);
            advance(context, transfer, Fact::Stuck).await?;
            return Ok(Side::Moved);
        }
        Some(left) if !left.is_zero() => Some(left),
        _ => None,
    };
    let goal = goal(context, &transfer, current, variants, policy);
    let mut pause = until_stuck;
    // A payment that is to be taken back is not hurried on.
    if !goal.as_ref().is_some_and(Goal::cancels) {
        match child::sign(context, ports, &mut transfer, current, variants).await? {
            Signing::Moved => return Ok(Side::Moved),
            Signing::Later(left) => pause = Some(pause.map_or(left, |pause| pause.min(left))),
            Signing::Nothing => {}
        }
    }
    let Some(goal) = goal else {
        return Ok(Side::Beside(Box::new(transfer), pause));
    };
    // A payment that is to be taken back is not sent on the way.
    let hold = goal.cancels() && !matches!(current.purpose, Purpose::Cancel) && goal.asked;
    match pursue(context, ports, transfer, current, variants, goal).await? {
        Pursued::Moved => Ok(Side::Moved),
        Pursued::Later(_, later) if hold => Ok(Side::Hold(later)),
        Pursued::Later(transfer, later) => {
            Ok(Side::Beside(transfer, Some(pause.map_or(later, |pause| pause.min(later)))))
        }
    }
}

/// A signed transaction of the transfer that pays nobody and may still be final.
pub fn cancellation(variants: &[TransactionRecord]) -> Option<&TransactionRecord> {
    live(variants).filter(|record| record.signed.is_some()).find(|record| record.purpose == Purpose::Cancel)
}

/// How long until the transaction counts as stuck; zero from then on. `None` before it was sent.
fn until_stuck(
    context: &Context,
    transfer: &Transfer,
    current: &TransactionRecord,
    policy: &Replacement,
) -> Option<Duration> {
    let State::Broadcasting { .. } = transfer.state else { return None };
    let sent = current.broadcast_at.or(current.signed_at)?;
    let since = transfer.replacing.since.map_or(sent, |since| since.max(sent));
    Some(policy.stuck_after.saturating_sub(context.now().since(since)))
}

fn goal(
    context: &Context,
    transfer: &Transfer,
    current: &TransactionRecord,
    variants: &[TransactionRecord],
    policy: &Replacement,
) -> Option<Goal> {
    // What was given up to pay nobody is not hurried on to pay again.
    let same = if cancellation(variants).is_some() { Purpose::Cancel } else { Purpose::Pay };
    let by_policy = policy.raise_percent;
    match transfer.replacing.wanted.as_ref().map(|wanted| wanted.verb) {
        Some(Verb::Cancel) if same != Purpose::Cancel => {
            return Some(Goal { purpose: Purpose::Cancel, raise_percent: by_policy, asked: true });
        }
        Some(Verb::SpeedUp { raise_percent }) => {
            let raise_percent = raise_percent.unwrap_or(by_policy);
            return Some(Goal { purpose: same, raise_percent, asked: true });
        }
        _ => {}
    }
    if !policy.automatic {
        return None;
    }
    let expired = context.now() >= transfer.intent.intent.expires_at;
    let inconclusive = expired && current.signed.is_none() && current.network.chain() != Chain::Xrp;
    match (inconclusive, transfer.flags.stuck) {
        (true, _) => Some(Goal { purpose: Purpose::Cancel, raise_percent: by_policy, asked: false }),
        (false, true) => Some(Goal { purpose: same, raise_percent: by_policy, asked: false }),
        (false, false) => None,
    }
}

enum Pursued {
    Moved,
    Later(Box<Transfer>, Duration),
}

async fn pursue(
    context: &Context,
    ports: &ChainPorts,
    transfer: Transfer,
    current: &TransactionRecord,
    variants: &[TransactionRecord],
    goal: Goal,
) -> Result<Pursued, StepError> {
    // By what they are, not by their age: clocks of several machines differ.
    let unsigned = || live(variants).filter(|record| record.id != current.id && record.signed.is_none());
    // A lost session may have left one that what is under way has outbid since.
    let outbid = |record: &TransactionRecord| {
        current.signed.is_some()
            && record.purpose == current.purpose
            && record.effects.fee <= current.effects.fee
    };
    let pending = unsigned().find(|record| record.purpose == goal.purpose && !outbid(record));
    let given_back = variants.iter().filter(|record| record.ended == Some(Ended::Released)).count();
    if let Some(pause) = resting(context, ports, &transfer, pending, given_back) {
        return Ok(Pursued::Later(Box::new(transfer), pause));
    }
    if let Some(hold) = halted::by(context, &transfer, &goal.purpose).await? {
        return hinder(context, transfer, hold.sub_status(), hold, false).await;
    }
    let wanted = |record: &TransactionRecord| pending.is_some_and(|pending| pending.id == record.id);
    if let Some(stale) = unsigned().find(|record| is_stale(context, record, wanted(record))) {
        return release(context, &transfer, stale).await;
    }
    if goal.purpose == Purpose::Pay && context.now() >= transfer.intent.intent.expires_at {
        if let Some(draft) = pending.filter(|draft| draft.signing_started_at.is_none()) {
            return release(context, &transfer, draft).await;
        }
        let reason = "the intent has expired, and co-signers sign no payment of it any more; what no block holds can be cancelled";
        let transfer = advance(
            context,
            transfer,
            Fact::ReplacementHindered {
                sub_status: SubStatus::IntentExpired,
                reason: reason.to_owned(),
                lasting: true,
            },
        )
        .await?;
        return Ok(Pursued::Later(Box::new(transfer), ports.replacement.stuck_after));
    }
    match pending {
        Some(pending) => sign(context, ports, transfer, current, variants, pending).await,
        None => begin(context, ports, transfer, current, variants, goal).await,
    }
}

/// What came to nothing is left alone for a while: for long if only people or fees can change it.
fn resting(
    context: &Context,
    ports: &ChainPorts,
    transfer: &Transfer,
    pending: Option<&TransactionRecord>,
    given_back: usize,
) -> Option<Duration> {
    let obstacle = transfer.replacing.obstacle.as_ref()?;
    let pause = match (obstacle.lasting, pending) {
        // Twice as long after each, so that what is refused for ever costs a row now and then, and what lasts an event.
        (true, _) => {
            let first = ports.replacement.stuck_after;
            let longest = first.saturating_mul(1 << MAX_DOUBLINGS);
            let lasted = obstacle.at.since(obstacle.since.unwrap_or(obstacle.at));
            first.saturating_mul(1 << given_back.min(MAX_DOUBLINGS)).max(lasted.min(longest))
        }
        // People may have voted since, or the hour has come.
        (false, _) if authorize::waited(Some(obstacle.sub_status)) => return None,
        (false, Some(pending)) => session_pause(context, pending.signing_attempts),
        (false, None) => context.settings.retry,
    };
    left(context.now(), obstacle.at, pause)
}

/// Nobody began to sign it, and it is not what is wanted any more, or its fees are old.
fn is_stale(context: &Context, record: &TransactionRecord, wanted: bool) -> bool {
    let old = context.now().since(record.created_at) > context.settings.package_lifetime;
    record.signing_started_at.is_none() && (!wanted || old)
}

/// Gives back a replacement that nobody began to sign.
async fn release(
    context: &Context,
    transfer: &Transfer,
    record: &TransactionRecord,
) -> Result<Pursued, StepError> {
    let mut tx = context.store.write().await?;
    still(&mut tx, transfer).await?;
    transactions::release(&mut tx, record.id).await?;
    tx.commit().await?;
    Ok(Pursued::Moved)
}

/// Drafts the replacement and stores it with its claims.
async fn begin(
    context: &Context,
    ports: &ChainPorts,
    transfer: Transfer,
    current: &TransactionRecord,
    variants: &[TransactionRecord],
    goal: Goal,
) -> Result<Pursued, StepError> {
    let made =
        variants.iter().filter(|record| record.ended != Some(Ended::Released) && !record.is_child()).count();
    if made > MAX_VARIANTS || (!goal.asked && made > ports.replacement.max_replacements) {
        let reason = format!("replaced {} times already", made - 1);
        let sub_status = SubStatus::TooManyReplacements;
        let obstacle = Obstacle { sub_status, reason: &reason };
        let raise = goal.raise_percent;
        let by_child = goal.purpose == Purpose::Pay
            && child::begin(context, ports, &transfer, current, variants, raise, obstacle).await?;
        return match by_child {
            true => Ok(Pursued::Moved),
            false => hinder(context, transfer, sub_status, reason, true).await,
        };
    }
    if !goal.asked
        && let Some(resource) = current.effects.resources.first()
        && let Some(ahead) = reservations::live_ahead(&context.store, current.network, resource).await?
    {
        let reason = format!("waits behind {ahead}, which is in no block either");
        return hinder(context, transfer, SubStatus::WaitsItsTurn, reason, false).await;
    }
    let intent = transfer.remaining()?;
    let wish = Wish {
        intent: &intent,
        purpose: &goal.purpose,
        earlier: with_children(variants).map(|record| record.unsigned.clone()).collect(),
        raise_percent: goal.raise_percent,
        // A first offer may lie at the installation's cap, and has to be outbid to be taken back. The intent and the co-signers'
        // rules bound what that costs.
        price_cap: ports.replacement.price_cap.filter(|_| !goal.cancels()),
    };
    let draft = match redraft(context, wish).await {
        Ok(draft) => draft,
        Err(error) => return not_drafted(context, ports, transfer, current, variants, &goal, error).await,
    };
    let id = TransactionId::new(context.ids.uuid());
    let claim =
        exclusivity::Claim { transaction: id, purpose: &goal.purpose, resources: &draft.effects.resources };
    let earlier: Vec<_> = live(variants).map(TransactionRecord::claim).collect();
    if let Err(error) = exclusivity::may_follow(&claim, &earlier) {
        return hinder(context, transfer, SubStatus::InvalidTransaction, error, true).await;
    }
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    if keep(&mut tx, context, &transfer, id, goal.purpose, draft, now).await?.is_none() {
        drop(tx);
        let reason = "an output, nonce or Sequence that it needs is taken by another transaction";
        return hinder(context, transfer, SubStatus::SpentElsewhere, reason, false).await;
    }
    advance_in(&mut tx, transfer, Fact::ReplacementBegun, now).await?;
    tx.commit().await?;
    Ok(Pursued::Moved)
}

/// As [`live`], with the children that may be in a mempool: their fees leave it, too.
fn with_children(variants: &[TransactionRecord]) -> impl Iterator<Item = &TransactionRecord> {
    let may_be_sent = |record: &TransactionRecord| !record.is_child() || record.signing_started_at.is_some();
    variants.iter().filter(move |record| record.ended.is_none() && may_be_sent(record))
}

async fn not_drafted(
    context: &Context,
    ports: &ChainPorts,
    transfer: Transfer,
    current: &TransactionRecord,
    variants: &[TransactionRecord],
    goal: &Goal,
    error: DraftError,
) -> Result<Pursued, StepError> {
    let reason = error.to_string();
    let (sub_status, lasting) = match error {
        DraftError::Build(BuildError::FeeAboveCap { .. } | BuildError::PriceAboveCap { .. }) => {
            (SubStatus::FeeCapReached, true)
        }
        DraftError::Build(BuildError::InsufficientFunds { .. }) => (SubStatus::InsufficientFunds, false),
        DraftError::Build(_) => (SubStatus::InvalidTransaction, true),
        DraftError::WouldFail { .. } => (SubStatus::WouldFail, true),
        DraftError::Node(_) => (SubStatus::NodeUnavailable, false),
        DraftError::Step(StepError::NoKey(_)) => (SubStatus::SignersOffline, false),
        DraftError::Step(StepError::Decode(_) | StepError::Mismatch(_)) => {
            (SubStatus::InvalidTransaction, true)
        }
        DraftError::Step(error) => return Err(error),
    };
    // A child alone costs less than all over again, and needs nothing but the change.
    let obstacle = Obstacle { sub_status, reason: &reason };
    let may = goal.purpose == Purpose::Pay && (lasting || sub_status == SubStatus::InsufficientFunds);
    if may && child::begin(context, ports, &transfer, current, variants, goal.raise_percent, obstacle).await?
    {
        return Ok(Pursued::Moved);
    }
    hinder(context, transfer, sub_status, reason, lasting).await
}

/// Has the replacement signed, and goes over to it.
async fn sign(
    context: &Context,
    ports: &ChainPorts,
    transfer: Transfer,
    current: &TransactionRecord,
    variants: &[TransactionRecord],
    pending: &TransactionRecord,
) -> Result<Pursued, StepError> {
    let scheme = transfer.intent.intent.wallet.scheme();
    let key = context.group_key(scheme).await?.ok_or(StepError::NoKey(scheme))?;
    let online = context.signer.online(scheme);
    if online < key.threshold {
        if context.settings.leave_signing {
            return Err(StepError::LeaveToSigner);
        }
        let reason = format!("{online} of {} co-signers are online", key.threshold);
        return hinder(context, transfer, SubStatus::SignersOffline, reason, false).await;
    }
    if pending.purpose != Purpose::Cancel
        && let Some(screen::Kept { says, pause }) = screen::again(context, &transfer).await?
    {
        let Some((sub_status, reason)) = says else {
            return Ok(Pursued::Later(Box::new(transfer), pause));
        };
        return Ok(match hinder(context, transfer, sub_status, reason, false).await? {
            Pursued::Later(transfer, _) => Pursued::Later(transfer, pause),
            Pursued::Moved => Pursued::Moved,
        });
    }
    let authorization = match authorize::again(context, &transfer, &pending.purpose).await? {
        Ok(basis) => basis.evidence,
        Err(waits) => return hinder(context, transfer, waits.sub_status, waits.reason, false).await,
    };
    let place = match places::to_sign() {
        Ok(place) => place,
        Err(full) => return hinder(context, transfer, SubStatus::WaitsItsTurn, full, false).await,
    };
    let payloads = ports.adapter.signing_payloads(&pending.unsigned, &key)?;
    let started_before = pending.signing_started_at.is_some();
    let attempt = begin_session(context, &transfer, pending).await?;
    tracing::info!(transaction = %pending.id, purpose = pending.purpose.name(), attempt, "asking the co-signers for a replacement");
    let package = SigningPackage {
        transfer: transfer.id,
        transaction: pending.id,
        intent: transfer.intent.clone(),
        recalls: transfer.recalls.clone(),
        purpose: pending.purpose.clone(),
        unsigned: pending.unsigned.clone(),
        authorization,
    };
    match place.wait(context.signer.sign(&package, &payloads)).await {
        Ok(signatures) => supersede(context, ports, transfer, pending, &key, &signatures).await,
        Err(error) => {
            let (transfer, sub_status, reason) =
                match not_signed(context, transfer, pending, error, started_before).await? {
                    NotSigned::Pursued(pursued) => return Ok(pursued),
                    NotSigned::Refused(transfer, sub_status, reason) => (transfer, sub_status, reason),
                };
            let obstacle = Obstacle { sub_status, reason: &reason };
            let raise = ports.replacement.raise_percent;
            if pending.purpose == Purpose::Pay {
                child::begin(context, ports, &transfer, current, variants, raise, obstacle).await?;
            }
            Ok(Pursued::Moved)
        }
    }
}

/// Commits "a session may begin" for a transaction beside the one under way, before anyone is asked, and gives its number.
pub(super) async fn begin_session(
    context: &Context,
    transfer: &Transfer,
    record: &TransactionRecord,
) -> Result<u32, StepError> {
    let mut tx = context.store.write().await?;
    still(&mut tx, transfer).await?;
    if halted::by_in(&mut tx, context, transfer, &record.purpose).await?.is_some() {
        return Err(MoveError::Stale.into());
    }
    let attempt = transactions::start_signing(&mut tx, record.id, context.now()).await?;
    tx.commit().await?;
    Ok(attempt)
}

/// The signed bytes and the transition are one commit. Whatever happened to the transfer meanwhile, bytes that exist are kept.
async fn supersede(
    context: &Context,
    ports: &ChainPorts,
    transfer: Transfer,
    pending: &TransactionRecord,
    key: &GroupKey,
    signatures: &[SignatureBytes],
) -> Result<Pursued, StepError> {
    let signed = match ports.adapter.assemble(&pending.unsigned, key, signatures) {
        Ok(signed) => signed,
        Err(error) => {
            let error = StepError::from(error);
            return hinder(context, transfer, SubStatus::SigningFailed, error, false).await;
        }
    };
    let now = context.now();
    let mut tx = context.store.write().await?;
    if transactions::get_in(&mut tx, pending.id).await?.is_none_or(|known| known.ended.is_some()) {
        return Ok(Pursued::Moved);
    }
    transactions::store_signed(&mut tx, pending.id, &signed, now).await?;
    let current = transfers::get_in(&mut tx, transfer.id).await?;
    if let Some(current) = current.filter(|current| current.state.is_replaceable()) {
        let fact = Fact::Superseded { by: pending.id, cancels: pending.purpose == Purpose::Cancel };
        advance_in(&mut tx, current, fact, now).await?;
        metrics::counter!("bursar_replacements_total", "purpose" => pending.purpose.name()).increment(1);
    }
    nudge_next(&mut tx, pending, now).await?;
    tx.commit().await?;
    Ok(Pursued::Moved)
}

enum NotSigned {
    Pursued(Pursued),
    /// It was given back, and the transfer says why.
    Refused(Box<Transfer>, SubStatus, String),
}

async fn not_signed(
    context: &Context,
    transfer: Transfer,
    pending: &TransactionRecord,
    error: SignError,
    started_before: bool,
) -> Result<NotSigned, StepError> {
    let reason = error.to_string();
    let (sub_status, lasting) = match &error {
        SignError::Refused { .. } if error.refused_for_the_past() => (SubStatus::Unexplained, true),
        // Of a cancellation only: a payment has a child that may pay for it instead.
        SignError::Refused { code, .. } if code == FEE_ABOVE_CAP && pending.purpose == Purpose::Cancel => {
            (SubStatus::FeeCapReached, true)
        }
        SignError::Refused { .. } => (SubStatus::SignerRejected, true),
        SignError::NotNow { .. } => (SubStatus::SignerNotYet, false),
        SignError::NotEnoughSigners { .. } | SignError::NoKey(_) => (SubStatus::SignersOffline, false),
        SignError::Aborted { started: true, .. } => (SubStatus::SigningFailed, false),
        SignError::Aborted { .. } => (SubStatus::SignerTimeout, false),
    };
    if started_before || error.started() {
        return hinder(context, transfer, sub_status, reason, lasting).await.map(NotSigned::Pursued);
    }
    // Nobody took part: the session is taken back, and what was refused is given back.
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    transactions::take_back_session(&mut tx, pending.id).await?;
    if lasting {
        transactions::release(&mut tx, pending.id).await?;
    }
    let fact = Fact::ReplacementHindered { sub_status, reason: reason.clone(), lasting };
    let transfer = advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(match lasting && sub_status == SubStatus::SignerRejected {
        true => NotSigned::Refused(Box::new(transfer), sub_status, reason),
        false => NotSigned::Pursued(Pursued::Moved),
    })
}

/// Says why there is no replacement now. Words that move all the time are not written each time.
async fn hinder(
    context: &Context,
    transfer: Transfer,
    sub_status: SubStatus,
    reason: impl ToString,
    lasting: bool,
) -> Result<Pursued, StepError> {
    let reason = reason.to_string();
    if !lasting
        && let Some(known) = &transfer.replacing.obstacle
        && known.sub_status == sub_status
        && !known.lasting
        && (known.reason == reason || left(context.now(), known.at, REWORD).is_some())
    {
        return Ok(Pursued::Later(Box::new(transfer), context.settings.retry));
    }
    tracing::info!(?sub_status, reason, lasting, "no replacement now");
    let fact = Fact::ReplacementHindered { sub_status, reason, lasting };
    let transfer = match lasting {
        // From now on it rests anew.
        true => advance_anew(context, transfer, fact).await?,
        false => advance(context, transfer, fact).await?,
    };
    Ok(Pursued::Later(Box::new(transfer), context.settings.retry))
}
