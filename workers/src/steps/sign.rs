//! PENDING_SIGNATURE → SIGNED: the frozen package goes to the co-signers.
//!
//! Loss-of-funds hazard: from the first message of a session on, a valid signature may exist somewhere even if we never see it.
//! `SigningStarted` is therefore committed before the co-signers are asked, and withdrawn only when the coordinator knows for
//! certain that no session began. While it stands, the same bytes are signed again (with a fresh session), never others.

use super::{
    Progress,
    authorize::{self, Basis, Standing},
    cooling,
    dead::{self, Needs},
    find, halted, in_block, ports, replace,
    replace::Side,
    say, screen, variants, wait,
};
use crate::{
    context::{ChainPorts, Context},
    engine::StepError,
    frozen::{give_back, rebuild_later},
    places::{self, ToSign},
    screening::standing,
    transition::{MoveError, advance, advance_in, still},
};
use bursar_domain::{
    effects::Validity,
    governance::authorization::Authorization,
    lifecycle::{Fact, Replacing, State, SubStatus, Transfer},
    package::{Purpose, SigningPackage, UnsignedTransaction},
    ports::{EVIDENCE_REFUSALS, SignError},
    signing::{GroupKey, SignatureBytes, SigningPayload},
    time::Timestamp,
};
use bursar_store::{
    WriteTx, chain, reservations,
    transactions::{self, TransactionRecord},
    transfers,
};
use std::time::Duration;

/// An XRP transaction with fewer ledgers than this left is not worth signing: it would expire on its way.
const MIN_LEDGERS_LEFT: u64 = 5;

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let State::PendingSignature { transaction, signing_started } = transfer.state else {
        return Ok(Progress::Moved);
    };
    let (network, ports) = ports(context, &transfer)?;
    let variants = variants(context, &transfer).await?;
    if let Some(included) = in_block(&variants) {
        advance(context, transfer, included).await?;
        return Ok(Progress::Moved);
    }
    let record = find(&variants, transaction)?.clone();
    if !signing_started && transfer.sub_status == Some(SubStatus::Unexplained) {
        // The co-signers signed this order before, outside of what we know: it may have been paid. Neither built again nor ended
        // by time; a person looks at the chain, and aborts it here.
        return Ok(Progress::Wait(context.settings.package_lifetime));
    }
    let ledgers_left = ledgers_left(context, &record).await?;
    let expired = context.now() >= transfer.intent.intent.expires_at;

    let mut transfer = transfer;
    if signing_started {
        if let Some(progress) = dead::check(context, &transfer, &variants).await? {
            return Ok(progress);
        }
        if is_lost_filler(context, &transfer, &variants) {
            return give_up_filler(context, transfer).await;
        }
        transfer = match replace::run(context, transfer, &variants).await? {
            Side::Moved => return Ok(Progress::Moved),
            Side::Hold(pause) => return Ok(Progress::Wait(pause)),
            Side::Beside(transfer, _) => *transfer,
        };
        if expired || ledgers_left == 0 {
            let reason = "a signing session began and gave no signature, and the co-signers no longer sign this intent; \
                          its resources stay reserved because a signature may exist";
            return wait(context, transfer, SubStatus::SigningInconclusive, reason).await;
        }
    } else {
        let needs = Needs::of(context, ports, &record).await?;
        if let Needs::UsedByItself { tx_id } = &needs {
            return recognise(context, transfer, &record, tx_id).await;
        }
        if expired {
            let fact = Fact::Expired { sub_status: SubStatus::IntentExpired };
            return give_up(context, transfer, &record, fact).await;
        }
        if ledgers_left < MIN_LEDGERS_LEFT
            || context.now().since(record.created_at) > context.settings.package_lifetime
        {
            let reason = "the package waited too long to be signed; built again with current fees".to_owned();
            return give_up(context, transfer, &record, Fact::Thawed { reason }).await;
        }
        if let Needs::Gone { why } = needs {
            return build_of_others(context, transfer, &record, &why).await;
        }
    }

    if let Some(hold) = halted::by(context, &transfer, &record.purpose).await? {
        return wait(context, transfer, hold.sub_status(), hold).await;
    }
    if !signing_started && let Some(lapsed) = standing::lapsed(context, &transfer).await? {
        return give_up(context, transfer, &record, lapsed).await;
    }
    let basis = match signing_started {
        // Judged just before co-signers are asked again.
        true => None,
        false => match authorize::standing(context, &transfer).await? {
            Standing::Holds(basis) => Some(*basis),
            Standing::Lapsed { reason } => {
                return give_up(context, transfer, &record, Fact::AuthorizationLapsed { reason }).await;
            }
            // Nothing is reserved while nothing but the hour is in the way.
            Standing::Closed { reason, .. } => {
                return give_up(context, transfer, &record, Fact::Thawed { reason }).await;
            }
        },
    };
    if !signing_started
        && let Some(resource) = record.effects.resources.first()
        && let Some(ahead) = reservations::unsigned_ahead(&context.store, network, resource).await?
    {
        let reason = format!("{ahead} is not signed yet");
        return wait(context, transfer, SubStatus::WaitsItsTurn, reason).await;
    }
    // Its turn has come, or the halt is over, as soon as it is nudged; everything else that went wrong cools down first.
    let waited = transfer.sub_status == Some(SubStatus::WaitsItsTurn)
        || authorize::waited(transfer.sub_status)
        || halted::held(transfer.sub_status);
    if !waited
        && let Some(progress) = cooling(context, &transfer, session_pause(context, record.signing_attempts))
    {
        return Ok(progress);
    }

    ask(context, ports, transfer, record, basis).await
}

/// How many ledgers may still take it.
async fn ledgers_left(context: &Context, record: &TransactionRecord) -> Result<u64, StepError> {
    let Validity::UntilLedger(last) = record.effects.validity else { return Ok(u64::MAX) };
    let cursor = chain::cursor(&context.store, record.network).await?.map_or(0, |block| block.height);
    Ok(u64::from(last).saturating_sub(cursor))
}

/// Whether it is a filler whose sessions gave nothing, and whose time has been over for so long that none gives anything: clocks differ,
/// and a session takes its time.
fn is_lost_filler(context: &Context, transfer: &Transfer, variants: &[TransactionRecord]) -> bool {
    let intent = &transfer.intent.intent;
    let over = intent.expires_at.plus(context.settings.package_lifetime);
    intent.fills.is_some() && context.now() >= over && variants.iter().all(|record| record.signed.is_none())
}

/// Ends a lost filler, and frees its nonce, which would block the account for ever: another filler of it is refused while it is
/// claimed, and too few co-signers may have taken part to cancel this one.
///
/// Only of fillers. Whatever surfaces of one pays nobody, so that nothing that follows can be a second payment. What takes the
/// nonce next is a payment, which a party that took part in the filler refuses (NONCE_FILLED), so that it is either signed by a
/// quorum that knows of no filler (then no filler has a signature) or REJECTED. In the second case an initiator orders another filler
/// of the nonce, which is then the account's next ([`crate::preflight`]) or a gap. Should a signature of the filler surface all the same,
/// a block with it is a stranger's, which halts the account for a person.
async fn give_up_filler(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let proof = "a filler's signing session gave nothing, and the order has expired, so that co-signers sign it no more: it pays nobody, and \
                 its nonce is given back. If payments are refused with NONCE_FILLED, have it filled again";
    tracing::warn!(transfer = %transfer.id, "a filler's signing session gave nothing before the order expired");
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    let given_up = transactions::give_up_filler(&mut tx, transfer.id, proof).await?;
    for record in &given_up {
        rebuild_later(&mut tx, record, now).await?;
    }
    advance_in(&mut tx, transfer, Fact::FillerGivenUp { proof: proof.to_owned() }, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

/// The block is gone that had held it although its signature never reached us: the same bytes are signed once more, to be sent.
pub(super) async fn again(
    context: &Context,
    transfer: Transfer,
    record: TransactionRecord,
) -> Result<Progress, StepError> {
    let (_, ports) = ports(context, &transfer)?;
    if context.now() >= transfer.intent.intent.expires_at {
        let reason = "the block that held it is gone, its signature never reached us, and the co-signers no longer sign this intent; \
                      its resources stay reserved because whoever has it may send it again";
        return wait(context, transfer, SubStatus::SigningInconclusive, reason).await;
    }
    if let Some(hold) = halted::by(context, &transfer, &record.purpose).await? {
        return wait(context, transfer, hold.sub_status(), hold).await;
    }
    ask(context, ports, transfer, record, None).await
}

/// `basis`: by what it may be signed; absent where a session may have begun before, and it is judged here.
async fn ask(
    context: &Context,
    ports: &ChainPorts,
    transfer: Transfer,
    record: TransactionRecord,
    basis: Option<Basis>,
) -> Result<Progress, StepError> {
    let started_before = basis.is_none();
    // What pays nobody is asked about nowhere.
    if started_before
        && record.purpose != Purpose::Cancel
        && let Some(screen::Kept { says, pause }) = screen::again(context, &transfer).await?
    {
        if let Some((sub_status, reason)) = says {
            say(context, transfer, Fact::Waiting { sub_status, reason }).await?;
        }
        return Ok(Progress::Wait(pause));
    }
    let basis = match basis {
        Some(basis) => basis,
        None => match authorize::again(context, &transfer, &record.purpose).await? {
            Ok(basis) => basis,
            Err(waits) => {
                let longest = session_pause(context, record.signing_attempts);
                return Ok(match authorize::hold(context, transfer, waits).await? {
                    Progress::Wait(pause) => Progress::Wait(pause.min(longest)),
                    progress => progress,
                });
            }
        },
    };
    let scheme = transfer.intent.intent.wallet.scheme();
    let key = context.group_key(scheme).await?.ok_or(StepError::NoKey(scheme))?;
    let online = context.signer.online(scheme);
    if online < key.threshold {
        if context.settings.leave_signing {
            return Err(StepError::LeaveToSigner);
        }
        let reason = format!("{online} of {} co-signers are online", key.threshold);
        return wait(context, transfer, SubStatus::SignersOffline, reason).await;
    }
    let place = match places::to_sign() {
        Ok(place) => place,
        Err(full) => return wait(context, transfer, SubStatus::WaitsItsTurn, full).await,
    };
    let payloads = ports.adapter.signing_payloads(&record.unsigned, &key)?;
    let (transfer, attempt) = start(context, transfer, &record, &basis, started_before).await?;
    let session = Session { key, payloads, authorization: basis.evidence, place };
    propose(context, transfer, record, session, attempt, started_before).await
}

/// Between two sessions: one `retry` after the first, up to sixteen after many.
pub(super) fn session_pause(context: &Context, attempts: u32) -> Duration {
    context.settings.retry.saturating_mul(1 << attempts.saturating_sub(1).min(4))
}

/// What a session needs besides the package.
pub(super) struct Session {
    key: GroupKey,
    payloads: Vec<SigningPayload>,
    /// What shows the co-signers that the transfer is allowed, in a governed installation.
    authorization: Option<Authorization>,
    place: ToSign,
}

/// What the session over a package that is about to be frozen needs; `None` if its co-signers cannot be asked now.
pub(super) async fn session(
    context: &Context,
    transfer: &Transfer,
    unsigned: &UnsignedTransaction,
    basis: &Basis,
) -> Result<Option<Session>, StepError> {
    let (_, ports) = ports(context, transfer)?;
    let scheme = transfer.intent.intent.wallet.scheme();
    let Some(key) = context.group_key(scheme).await? else { return Ok(None) };
    if context.signer.online(scheme) < key.threshold {
        return Ok(None);
    }
    let Ok(place) = places::to_sign() else { return Ok(None) };
    let payloads = ports.adapter.signing_payloads(unsigned, &key)?;
    Ok(Some(Session { key, payloads, authorization: basis.evidence.clone(), place }))
}

/// Writes "a session may begin" into the transaction that freezes the package, if nothing else has to come first: one commit
/// then says both, before any co-signer is asked. Gives the session's number.
pub(super) async fn start_with_package(
    tx: &mut WriteTx,
    context: &Context,
    transfer: Transfer,
    record: &TransactionRecord,
    now: Timestamp,
) -> Result<(Transfer, Option<u32>), StepError> {
    if halted::by_in(tx, context, &transfer, &record.purpose).await?.is_some() {
        return Ok((transfer, None));
    }
    // Built on a reading that was kept for it, while the ledgers went on.
    if ledgers_left(context, record).await? < MIN_LEDGERS_LEFT {
        return Ok((transfer, None));
    }
    if let Some(resource) = record.effects.resources.first()
        // What was reserved below it was committed before this transaction had its turn.
        && reservations::unsigned_ahead(&context.store, record.network, resource).await?.is_some()
    {
        return Ok((transfer, None));
    }
    let attempt = transactions::start_signing(tx, record.id, now).await?;
    tracing::info!(transaction = %record.id, attempt, "asking the co-signers");
    let transfer = advance_in(tx, transfer, Fact::SigningStarted, now).await?;
    Ok((transfer, Some(attempt)))
}

/// Asks the co-signers. That a signature may exist is written down.
pub(super) async fn propose(
    context: &Context,
    transfer: Transfer,
    record: TransactionRecord,
    session: Session,
    attempt: u32,
    started_before: bool,
) -> Result<Progress, StepError> {
    let (_, ports) = ports(context, &transfer)?;
    let Session { key, payloads, authorization, place } = session;
    let package = SigningPackage {
        transfer: transfer.id,
        transaction: record.id,
        intent: transfer.intent.clone(),
        recalls: transfer.recalls.clone(),
        purpose: record.purpose.clone(),
        unsigned: record.unsigned.clone(),
        authorization,
    };
    match place.wait(context.signer.sign(&package, &payloads)).await {
        Ok(signatures) => store_signed(context, ports, transfer, &record, &key, &signatures).await,
        Err(error) => {
            let pause = session_pause(context, attempt);
            match failed(context, transfer, &record, error, started_before).await? {
                Progress::Wait(_) => Ok(Progress::Wait(pause)),
                progress => Ok(progress),
            }
        }
    }
}

/// Commits "a session may begin" before anyone is asked, and gives the session's number.
///
/// The version is checked even where nothing is saved: whoever moved the transfer since we read it may have taken the last
/// session back or released its resources.
async fn start(
    context: &Context,
    transfer: Transfer,
    record: &TransactionRecord,
    basis: &Basis,
    started_before: bool,
) -> Result<(Transfer, u32), StepError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    // A halt or an entry of the log that was written since we looked: look again.
    let held = halted::by_in(&mut tx, context, &transfer, &record.purpose).await?;
    if held.is_some() || !basis.stands(context, &mut tx).await? {
        return Err(MoveError::Stale.into());
    }
    let attempt = transactions::start_signing(&mut tx, record.id, now).await?;
    tracing::info!(transaction = %record.id, attempt, "asking the co-signers");
    let transfer = match started_before {
        true => transfer,
        false => advance_in(&mut tx, transfer, Fact::SigningStarted, now).await?,
    };
    tx.commit().await?;
    Ok((transfer, attempt))
}

/// The signed bytes and the transition are one commit; no node has seen the transaction before it.
///
/// Another worker may have said something about the transfer meanwhile, so it is read again: a signature that exists is not
/// thrown away for that.
async fn store_signed(
    context: &Context,
    ports: &ChainPorts,
    transfer: Transfer,
    record: &TransactionRecord,
    key: &GroupKey,
    signatures: &[SignatureBytes],
) -> Result<Progress, StepError> {
    let signed = match ports.adapter.assemble(&record.unsigned, key, signatures) {
        Ok(signed) => signed,
        Err(error) => {
            return wait(context, transfer, SubStatus::SigningFailed, StepError::from(error)).await;
        }
    };
    let now = context.now();
    let mut tx = context.store.write().await?;
    let current = transfers::get_in(&mut tx, transfer.id).await?;
    if transactions::get_in(&mut tx, record.id).await?.is_none_or(|known| known.ended.is_some()) {
        return Ok(Progress::Moved);
    }
    transactions::store_signed(&mut tx, record.id, &signed, now).await?;
    // Where another transaction has taken its place meanwhile, these bytes are kept all the same: they can be in a block.
    let still_signing = |current: &Transfer| matches!(current.state, State::PendingSignature { transaction, .. } if transaction == record.id);
    if let Some(current) = current.filter(still_signing) {
        let signed = advance_in(&mut tx, current, Fact::Signed, now).await?;
        // What is sent next may be said now, with the bytes: one commit instead of two. Not if somebody wants another one in its
        // place, which may keep it from being sent at all.
        if context.settings.together && signed.replacing == Replacing::default() {
            advance_in(&mut tx, signed, Fact::MaybeSent { reason: None }, now).await?;
        }
    }
    nudge_next(&mut tx, record, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

async fn failed(
    context: &Context,
    transfer: Transfer,
    record: &TransactionRecord,
    error: SignError,
    started_before: bool,
) -> Result<Progress, StepError> {
    let reason = error.to_string();
    if error.started() || started_before {
        let sub_status = match error {
            SignError::Refused { .. } if error.refused_for_the_past() => SubStatus::Unexplained,
            SignError::Refused { .. } => SubStatus::SignerRejected,
            SignError::NotNow { .. } => SubStatus::SignerNotYet,
            SignError::NotEnoughSigners { .. } | SignError::NoKey(_) => SubStatus::SignersOffline,
            SignError::Aborted { .. } => SubStatus::SigningFailed,
        };
        return wait(context, transfer, sub_status, reason).await;
    }
    match error {
        // What they remember, we do not: our database may be an old copy, and the payment may have been made. A person must look.
        SignError::Refused { .. } if error.refused_for_the_past() => {
            not_started(context, transfer, SubStatus::Unexplained, reason).await
        }
        SignError::Refused { .. } => {
            let fact =
                Fact::SigningNotStarted { sub_status: SubStatus::SignerRejected, reason: reason.clone() };
            let transfer = advance(context, transfer, fact).await?;
            let fact = Fact::Rejected { sub_status: Some(SubStatus::SignerRejected), reason };
            give_up(context, transfer, record, fact).await
        }
        SignError::NotNow { code, .. } => not_yet(context, transfer, record, &code, reason).await,
        SignError::NotEnoughSigners { .. } | SignError::NoKey(_) => {
            not_started(context, transfer, SubStatus::SignersOffline, reason).await
        }
        SignError::Aborted { .. } => not_started(context, transfer, SubStatus::SignerTimeout, reason).await,
    }
}

async fn not_started(
    context: &Context,
    transfer: Transfer,
    sub_status: SubStatus,
    reason: String,
) -> Result<Progress, StepError> {
    advance(context, transfer, Fact::SigningNotStarted { sub_status, reason }).await?;
    Ok(Progress::Wait(context.settings.retry))
}

/// Nobody took part, and what co-signers lack may come: what was reserved is given back at once, and the transfer waits where what is
/// missing can be supplied, saying what that is.
async fn not_yet(
    context: &Context,
    transfer: Transfer,
    record: &TransactionRecord,
    code: &str,
    reason: String,
) -> Result<Progress, StepError> {
    let sub_status = SubStatus::SignerNotYet;
    let evidence = context.governance.is_some() && EVIDENCE_REFUSALS.contains(&code);
    let back = match evidence {
        true => Fact::AuthorizationLapsed { reason: reason.clone() },
        false => Fact::Thawed { reason: reason.clone() },
    };
    let not_started = Fact::SigningNotStarted { sub_status, reason: reason.clone() };
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    let transfer = advance_in(&mut tx, transfer, not_started, now).await?;
    give_back(&mut tx, record, now).await?;
    let transfer = advance_in(&mut tx, transfer, back, now).await?;
    advance_in(&mut tx, transfer, Fact::Waiting { sub_status, reason }, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

/// Releases what was reserved, together with the transition. Only while no session began.
async fn give_up(
    context: &Context,
    transfer: Transfer,
    record: &TransactionRecord,
    fact: Fact,
) -> Result<Progress, StepError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    give_back(&mut tx, record, now).await?;
    advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

/// A block holds the draft, so that a session began of which we know nothing: from here on it goes as after one whose signature was lost.
async fn recognise(
    context: &Context,
    transfer: Transfer,
    record: &TransactionRecord,
    tx_id: &str,
) -> Result<Progress, StepError> {
    tracing::warn!(transfer = %transfer.id, tx_id, "a block holds what was never signed as far as this database knows: is it an old backup?");
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    transactions::start_signing(&mut tx, record.id, now).await?;
    advance_in(&mut tx, transfer, Fact::SigningStarted, now).await?;
    transactions::in_a_block(&mut tx, record.id, tx_id, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

/// What the draft needs is gone. Its number is not free again, if it has one, so that those above it stay as they are, and go on.
async fn build_of_others(
    context: &Context,
    transfer: Transfer,
    record: &TransactionRecord,
    why: &str,
) -> Result<Progress, StepError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    transactions::release(&mut tx, record.id).await?;
    nudge_next(&mut tx, record, now).await?;
    let reason = format!("{why}; built again from what is there");
    advance_in(&mut tx, transfer, Fact::Thawed { reason }, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

/// Whoever waited for this one's nonce or Sequence to be signed may go on.
pub(super) async fn nudge_next(
    tx: &mut WriteTx,
    record: &TransactionRecord,
    now: Timestamp,
) -> Result<(), StepError> {
    for resource in &record.effects.resources {
        reservations::nudge_next(tx, record.network, resource, now).await?;
    }
    Ok(())
}
