//! What compliance does about what is held: releases it, ends it, or has it screened again. Each is one commit.
//!
//! What is held: a transfer in PENDING_REVIEW, one that an alert froze, and one that waits for a screening after its signing session began.

use super::{asking, standing};
use crate::{
    authorization,
    context::Context,
    deposits::dispose::bar,
    engine::StepError,
    frozen::give_back,
    governance::{Governance, GovernanceError},
    transition::{MoveError, advance_in},
    travel_rule,
};
use bursar_domain::{
    audit::act::Signed,
    governance::{
        role::Permission,
        signature::{InvalidSignature, Signature},
        state::State as LogState,
        verdict::{Bar, InvalidRejection, InvalidRelease, SignedRejection, SignedRelease},
    },
    ids::TransferId,
    lifecycle::{Fact, State, SubStatus, Transfer},
};
use bursar_store::{
    StoreError, WriteTx, cases,
    cases::{CaseSubject, Cause},
    deposits::{
        self,
        holds::{self, HoldState},
    },
    events, jobs,
    reviews::{self, Kept, StoredRelease},
    transactions, transfers,
};
use serde_json::json;

/// What keeps a transfer for compliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// PENDING_REVIEW.
    Review,
    /// An alert froze it, wherever it is.
    Alert,
    /// Its signing session has begun, so it stays where it is; or it is sent, and its replacement waits.
    Session,
    /// No service is configured, and the policy asks for one.
    NoService,
    /// PENDING_REVIEW, and it is not the screening that keeps it there.
    TravelRule,
}

/// Whether a transfer is held, and by what.
pub fn held(transfer: &Transfer) -> Option<Held> {
    if transfer.flags.frozen {
        return Some(Held::Alert);
    }
    match (&transfer.state, transfer.sub_status) {
        _ if travel_rule::holds(transfer) => Some(Held::TravelRule),
        (State::PendingReview, _) => Some(Held::Review),
        (
            State::PendingSignature { signing_started: true, .. },
            Some(SubStatus::ScreeningReview | SubStatus::ScreeningUnavailable | SubStatus::ScreeningBlocked),
        ) => Some(Held::Session),
        (State::PendingAuthorization, Some(SubStatus::AwaitingScreening)) => Some(Held::NoService),
        (state, _) if state.is_replaceable() && keeps_replacement(transfer) => Some(Held::Session),
        _ => None,
    }
}

/// Whether what would take the place of its transaction, or pay for it, waits for a screening.
fn keeps_replacement(transfer: &Transfer) -> bool {
    let obstacle = transfer.replacing.obstacle.as_ref().map(|obstacle| obstacle.sub_status);
    matches!(
        obstacle,
        Some(SubStatus::ScreeningReview | SubStatus::ScreeningUnavailable | SubStatus::ScreeningBlocked)
    )
}

#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("there is no such transfer")]
    Unknown,
    #[error("{0}")]
    NotHeld(String),
    #[error("this release does not count: {0}")]
    Release(#[from] InvalidRelease),
    #[error("{0} may not release what is under review: it takes a compliance officer or a compliance lead")]
    NotCompliance(bursar_domain::governance::directory::UserId),
    #[error("the transfer has {} releases already; sign one of them", reviews::MAX_RELEASES)]
    TooMany,
    #[error("this rejection does not count: {0}")]
    Rejection(#[from] InvalidRejection),
    #[error("no screening service is configured: add [screening]")]
    NoService,
}

impl From<StoreError> for ReviewError {
    fn from(error: StoreError) -> Self {
        Self::Step(error.into())
    }
}
impl From<MoveError> for ReviewError {
    fn from(error: MoveError) -> Self {
        Self::Step(error.into())
    }
}
impl From<GovernanceError> for ReviewError {
    fn from(error: GovernanceError) -> Self {
        Self::Step(error.into())
    }
}

/// What became of signatures over a release.
#[derive(Debug, Clone)]
pub struct Taken {
    pub release: StoredRelease,
    /// What it lacks still.
    pub missing: Option<InvalidRelease>,
    /// `false`: all of these signatures were there.
    pub new: bool,
}

/// Takes signatures over a release, beside those that it has. Once it has what it needs, an alert's freeze ends here, and whatever else
/// holds the transfer at its next look.
///
/// # Errors
/// [`ReviewError`]; nothing was written then.
pub async fn release(
    context: &Context,
    governance: &Governance,
    id: TransferId,
    signed: &SignedRelease,
) -> Result<Taken, ReviewError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    let log = governance.state_in(&mut tx).await?;
    let transfer = transfers::get_in(&mut tx, id).await?.ok_or(ReviewError::Unknown)?;
    let what = held(&transfer).ok_or_else(|| not_held(&transfer))?;
    if what == Held::TravelRule {
        return Err(ReviewError::NotHeld(BY_TRAVEL_RULE.into()));
    }
    check_signers(&log, &transfer, signed)?;
    let evidence = standing::evidence_in(&mut tx, context, &transfer).await?;
    let examine = |release: &SignedRelease| {
        let examined = evidence.examine(&transfer, release, now);
        examined.ok_or_else(|| ReviewError::NotHeld("nobody of the log initiated this transfer".into()))
    };
    // Refused before it is kept, but for the signatures that it lacks.
    lacks(examine(signed)?)?;
    let (release, new) = match reviews::sign(&mut tx, id, signed, now).await? {
        Kept::New(release) => (release, true),
        Kept::Already(release) => (release, false),
        Kept::TooMany => return Err(ReviewError::TooMany),
    };
    let missing = lacks(examine(&release.signed)?)?;
    if new {
        tell(&mut tx, &transfer, signed, missing.as_ref(), log.head().seq, now).await?;
    }
    let mut moved = new;
    if missing.is_none() {
        if what == Held::Alert && settles_alert(&mut tx, &transfer, &release).await? {
            let by = signers(&release.signed);
            let subject = CaseSubject::Transfer(id);
            let because = &release.signed.release.reason;
            cases::close_about(&mut tx, &subject, &[Cause::Alert], &by, because, now).await?;
            advance_in(&mut tx, transfer, Fact::AlertSettled, now).await?;
            moved = true;
        } else if new {
            jobs::nudge(&mut tx, id, now).await?;
        }
    }
    if moved {
        tx.commit().await?;
    }
    Ok(Taken { release, missing, new })
}

/// That only signatures are missing, or nothing is; everything else that is wrong with it is an error.
fn lacks(examined: Result<(), InvalidRelease>) -> Result<Option<InvalidRelease>, InvalidRelease> {
    match examined {
        Ok(()) => Ok(None),
        Err(missing @ (InvalidRelease::OfficerAndLead | InvalidRelease::TwoLeads)) => Ok(Some(missing)),
        Err(wrong) => Err(wrong),
    }
}

/// Each signature is of somebody who may release.
fn check_signers(log: &LogState, transfer: &Transfer, signed: &SignedRelease) -> Result<(), ReviewError> {
    if signed.signatures.is_empty() {
        return Err(InvalidRelease::OfficerAndLead.into());
    }
    let digest = signed.release.digest();
    let initiator = authorization::initiator(log, transfer).map(|user| &user.id);
    for signature in &signed.signatures {
        let user = verify(log, signature, &digest)?;
        if Some(&user.id) == initiator {
            return Err(InvalidRelease::Initiator(user.id.clone()).into());
        }
        if !user.may(Permission::ReleaseAsOfficer) {
            return Err(ReviewError::NotCompliance(user.id.clone()));
        }
    }
    Ok(())
}

fn verify<'l>(
    log: &'l LogState,
    signature: &Signature,
    digest: &[u8; 32],
) -> Result<&'l bursar_domain::governance::directory::User, InvalidRelease> {
    let verified: Result<_, InvalidSignature> = signature.verify(log.directory(), digest);
    Ok(verified?.user)
}

/// Whether the release was signed knowing the last alert: an older one, handed in once more, lifts nothing.
/// Its own date is the signers' word and may lie ahead, so that by this server's clock all of its signatures came after the alert too.
async fn settles_alert(
    tx: &mut WriteTx,
    transfer: &Transfer,
    release: &StoredRelease,
) -> Result<bool, StoreError> {
    let case = cases::open_about(tx, &CaseSubject::Transfer(transfer.id), Cause::Alert).await?;
    let alerted = case.and_then(|case| case.alerted_at);
    Ok(alerted.is_none_or(|alerted| {
        release.signed.release.released_at >= alerted && release.received_at >= alerted
    }))
}

async fn tell(
    tx: &mut WriteTx,
    transfer: &Transfer,
    signed: &SignedRelease,
    missing: Option<&InvalidRelease>,
    seq: u64,
    now: bursar_domain::time::Timestamp,
) -> Result<(), StoreError> {
    let payload = json!({
        "transferId": transfer.id,
        "digest": hex::encode(signed.release.digest()),
        "release": signed.release,
        "signatures": signed.signatures,
        "complete": missing.is_none(),
        "missing": missing.map(ToString::to_string),
    });
    let (id, signed) = (Some(transfer.id), Signed::release(signed, seq));
    events::append_signed(tx, "transfer.release_signed", id, now, &payload, &signed).await
}

fn signers(signed: &SignedRelease) -> String {
    let users: Vec<_> = signed.signatures.iter().map(|signature| signature.user.to_string()).collect();
    users.join(", ")
}

/// Ends a transfer that is held, by the word of one compliance officer or lead.
///
/// # Errors
/// [`ReviewError`]; nothing was written then.
pub async fn reject(
    context: &Context,
    governance: &Governance,
    id: TransferId,
    signed: &SignedRejection,
) -> Result<Transfer, ReviewError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    let log = governance.state_in(&mut tx).await?;
    let transfer = transfers::get_in(&mut tx, id).await?.ok_or(ReviewError::Unknown)?;
    let (directory, genesis) = (log.directory(), log.genesis_digest());
    let intent = transfer.intent.intent.digest();
    let user = signed.verify(directory, genesis, intent, now)?.id.clone();
    held(&transfer).ok_or_else(|| not_held(&transfer))?;
    let reason = format!("rejected by {user}: {}", signed.rejection.reason);
    // Everybody who reads transfers reads this; who, and why, is for compliance: in the case, and in the event below.
    let told = "rejected by compliance".to_owned();
    let fact = Fact::Rejected { sub_status: Some(SubStatus::ReviewRejected), reason: told };
    // Asked first, so that nothing is released of a transfer that cannot be ended.
    if transfer.clone().apply(fact.clone(), now).is_err() {
        let status = transfer.status();
        return Err(ReviewError::NotHeld(format!(
            "the transfer is {status}: a signature may exist; cancel it on chain"
        )));
    }
    if let State::PendingSignature { transaction, .. } = transfer.state
        && let Some(record) = transactions::get_in(&mut tx, transaction).await?
    {
        give_back(&mut tx, &record, now).await?;
    }
    reviews::reject(&mut tx, id, signed, now).await?;
    let payload = json!({
        "transferId": id,
        "rejection": signed.rejection,
        "signature": signed.signature,
    });
    let signature = Signed::rejection(signed, log.head().seq);
    events::append_signed(&mut tx, "transfer.review_rejected", Some(id), now, &payload, &signature).await?;
    let subject = CaseSubject::Transfer(id);
    let causes = [Cause::Review, Cause::Outage, Cause::Alert];
    cases::close_about(&mut tx, &subject, &causes, &user.to_string(), &reason, now).await?;
    let rejected = advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(rejected)
}

/// Has what is held screened again, in a new round.
///
/// # Errors
/// [`ReviewError`]; nothing was written then.
pub async fn rescreen(context: &Context, id: TransferId) -> Result<Transfer, ReviewError> {
    if context.screening.is_none() {
        return Err(ReviewError::NoService);
    }
    let now = context.now();
    let mut tx = context.store.write().await?;
    let transfer = transfers::get_in(&mut tx, id).await?.ok_or(ReviewError::Unknown)?;
    let transfer = match held(&transfer) {
        Some(Held::Review | Held::NoService) => {
            let fact = Fact::ScreeningLapsed { reason: "to be screened again, as was asked for".into() };
            advance_in(&mut tx, transfer, fact, now).await?
        }
        Some(Held::Session) => {
            if !asking::begin_in(&mut tx, &transfer, now).await? {
                return Ok(transfer);
            }
            jobs::nudge(&mut tx, id, now).await?;
            transfer
        }
        Some(Held::TravelRule) => return Err(ReviewError::NotHeld(BY_TRAVEL_RULE.into())),
        // What an alert is about is for people, whatever another screening says.
        Some(Held::Alert) | None => return Err(not_held(&transfer)),
    };
    tx.commit().await?;
    Ok(transfer)
}

const BY_TRAVEL_RULE: &str =
    "the travel rule holds it, not its screening: hand in the data, or note the outcome";

fn not_held(transfer: &Transfer) -> ReviewError {
    let status = transfer.status();
    ReviewError::NotHeld(format!("the transfer is {status}, and no screening holds it for people"))
}

/// Closes a case. One of a transfer that is still held stays open: release the transfer or reject it. Where nothing is governed nobody can
/// sign a release, so that closing the case of an alert lifts its freeze, and closing that of a deposit lets it go.
///
/// # Errors
/// [`ReviewError`]; nothing was written then. [`ReviewError::Unknown`]: there is no such case.
pub async fn close(
    context: &Context,
    id: bursar_domain::ids::CaseId,
    by: &str,
    because: &str,
) -> Result<cases::Case, ReviewError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    let case = cases::get_in(&mut tx, id).await?.ok_or(ReviewError::Unknown)?;
    if case.closed.is_some() {
        return Ok(case);
    }
    if let Some(transfer) = case.subject.transfer()
        && let Some(transfer) = transfers::get_in(&mut tx, transfer).await?
        && let Some(what) = held(&transfer)
    {
        let of_alert = (what == Held::Alert) == (case.cause == Cause::Alert);
        match of_alert {
            true if what == Held::Alert && context.governance.is_none() => {
                advance_in(&mut tx, transfer, Fact::AlertSettled, now).await?;
            }
            true => {
                let reason = "the transfer is still held: release it or reject it, which closes the case";
                return Err(ReviewError::NotHeld(reason.into()));
            }
            false => {}
        }
    }
    if let CaseSubject::Deposit(deposit) = case.subject
        && let Some(deposit) = deposits::get_in(&mut tx, deposit).await?
        && let Some(hold) = deposit.hold.as_ref().filter(|hold| hold.state.holds())
        && hold.state != HoldState::Isolated
    {
        if context.governance.is_some() {
            let reason = "the deposit is still held: sign a disposition, which closes the case";
            return Err(ReviewError::NotHeld(reason.into()));
        }
        if bar(&mut tx, deposit.id).await? == Bar::Sanctions {
            let reason = "there is a sanctions hit: the deposit stays frozen and the case open, until a later screening finds none";
            return Err(ReviewError::NotHeld(reason.into()));
        }
        holds::advance(&mut tx, &deposit, hold.state, HoldState::Released, Some(because), now).await?;
    }
    let closed = cases::close(&mut tx, id, by, because, now).await?.ok_or(ReviewError::Unknown)?;
    tx.commit().await?;
    Ok(closed)
}
