//! What compliance decides about a deposit that is held: release, refund or isolate. Signed by an officer and a lead; one commit.

use crate::{
    context::Context,
    engine::StepError,
    governance::{Governance, GovernanceError},
};
use bursar_domain::{
    audit::act::Signed,
    governance::verdict::{Bar, DispositionAction, DispositionCheck, InvalidDisposition, SignedDisposition},
    ids::DepositId,
};
use bursar_store::{
    StoreError, WriteTx, cases,
    cases::{CaseSubject, Cause},
    deposits::{
        self, Deposit,
        dispositions::{self, Kept, MAX_DISPOSITIONS, StoredDisposition},
        holds::{self, HoldState},
    },
    events,
    screenings::{self, Begun, Progress, Subject},
};
use serde_json::json;

/// Why signatures over a disposition were not taken. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum DisposeError {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("there is no such deposit")]
    Unknown,
    #[error("{0}")]
    NotHeld(&'static str),
    #[error("this disposition does not count: {0}")]
    Invalid(#[from] InvalidDisposition),
    #[error("the deposit has {MAX_DISPOSITIONS} dispositions already; sign one of them")]
    TooMany,
    #[error("no screening service is configured: add [screening]")]
    NoService,
}

impl From<StoreError> for DisposeError {
    fn from(error: StoreError) -> Self {
        Self::Step(error.into())
    }
}
impl From<GovernanceError> for DisposeError {
    fn from(error: GovernanceError) -> Self {
        Self::Step(error.into())
    }
}

/// What became of signatures over a disposition.
#[derive(Debug, Clone)]
pub struct Disposed {
    pub deposit: Deposit,
    pub disposition: StoredDisposition,
    /// `false`: it waits for another signature.
    pub complete: bool,
}

/// Takes signatures over a disposition, beside those that it has. Once an officer and a lead have signed, it is done.
///
/// # Errors
/// [`DisposeError`]; nothing was written then.
pub async fn dispose(
    context: &Context,
    governance: &Governance,
    id: DepositId,
    signed: &SignedDisposition,
) -> Result<Disposed, DisposeError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    let log = governance.state_in(&mut tx).await?;
    let deposit = deposits::get_in(&mut tx, id).await?.ok_or(DisposeError::Unknown)?;
    let hold = deposit.hold.as_ref().ok_or(DisposeError::NotHeld("the deposit is not held"))?;
    match hold.state {
        HoldState::New | HoldState::Asked | HoldState::Frozen => {}
        HoldState::Isolated => {
            return Err(DisposeError::NotHeld(ISOLATED));
        }
        HoldState::Cleared | HoldState::Released | HoldState::Refund => {
            return Err(DisposeError::NotHeld("the deposit is not held any more"));
        }
    }
    let check = DispositionCheck {
        directory: log.directory(),
        genesis: log.genesis_digest(),
        deposit: id,
        since: hold.since,
        bar: bar(&mut tx, id).await?,
        now,
    };
    if signed.signatures.is_empty() {
        return Err(InvalidDisposition::OfficerAndLead.into());
    }
    // Refused before it is kept, but for the signatures that it lacks.
    is_complete(signed.verify(&check))?;
    let (stored, new) = match dispositions::sign(&mut tx, signed, now).await? {
        Kept::New(stored) => (stored, true),
        Kept::Already(stored) => (stored, false),
        Kept::TooMany => return Err(DisposeError::TooMany),
    };
    // Dated ahead, it would seem to know of what came after it.
    if stored.received_at < hold.since {
        return Err(InvalidDisposition::Old.into());
    }
    let complete = is_complete(stored.signed.verify(&check))?;
    if !new && !complete {
        return Ok(Disposed { deposit, disposition: stored, complete });
    }
    let disposition = &stored.signed.disposition;
    let payload = json!({
        "depositId": id,
        "walletId": deposit.wallet,
        "network": deposit.network,
        "txId": deposit.tx_id,
        "digest": hex::encode(disposition.digest()),
        "disposition": disposition,
        "signatures": signed.signatures,
        "complete": complete,
    });
    let signatures = Signed::disposition(signed, log.head().seq);
    events::append_signed(&mut tx, "deposit.disposition_signed", None, now, &payload, &signatures).await?;
    if complete {
        // Everybody who reads deposits reads this; who, and why, is for compliance: in the case, and in the event above.
        let (to, told) = match disposition.action {
            DispositionAction::Release => (HoldState::Released, "released by compliance"),
            DispositionAction::Refund => (HoldState::Refund, "to be refunded, by compliance"),
            DispositionAction::Isolate => (HoldState::Isolated, "isolated by compliance"),
        };
        holds::advance(&mut tx, &deposit, hold.state, to, Some(told), now).await?;
        let by: Vec<_> =
            stored.signed.signatures.iter().map(|signature| signature.user.to_string()).collect();
        let causes = [Cause::Review, Cause::Outage, Cause::Alert];
        let subject = CaseSubject::Deposit(id);
        cases::close_about(&mut tx, &subject, &causes, &by.join(", "), &disposition.reason, now).await?;
    }
    let deposit = deposits::get_in(&mut tx, id).await?.ok_or(DisposeError::Unknown)?;
    tx.commit().await?;
    Ok(Disposed { deposit, disposition: stored, complete })
}

/// What nobody's signatures get around: what the last answer of the screening says, and the alerts that came since it was asked for. So a
/// sanctions hit stands until a screening that was begun after it finds none.
///
/// # Errors
/// Of the store.
pub(crate) async fn bar(tx: &mut WriteTx, deposit: DepositId) -> Result<Bar, StoreError> {
    let answered = screenings::answered_in(tx, Subject::Deposit(deposit)).await?;
    let (mut bar, since) = match answered.map(|round| (round.progress, round.begun_at)) {
        Some((Progress::Complete { assessment, .. }, begun_at)) => {
            (Bar::of(assessment.outcome, assessment.sanctions), Some(begun_at))
        }
        _ => (Bar::None, None),
    };
    for (signed, received_at) in cases::alerts_about(tx, &CaseSubject::Deposit(deposit)).await? {
        if signed.alert.sanctions && since.is_none_or(|since| received_at >= since) {
            bar = Bar::Sanctions;
        }
    }
    Ok(bar)
}

/// Has a deposit that is held screened again, in a new round: what it says is for those who decide, and lets nothing go by itself. One that is
/// under way is let be. What waits for its first answer is asked about anyway, unless the service could not answer.
///
/// # Errors
/// [`DisposeError`]; nothing was written then.
pub async fn rescreen(context: &Context, id: DepositId) -> Result<Deposit, DisposeError> {
    if context.screening.is_none() {
        return Err(DisposeError::NoService);
    }
    let now = context.now();
    let mut tx = context.store.write().await?;
    let deposit = deposits::get_in(&mut tx, id).await?.ok_or(DisposeError::Unknown)?;
    match deposit.hold.as_ref().map(|hold| hold.state) {
        Some(HoldState::Asked | HoldState::Frozen) => {}
        Some(HoldState::New) => {
            return Err(DisposeError::NotHeld(
                "the deposit has not been screened yet, and will be once it is final",
            ));
        }
        Some(HoldState::Isolated) => return Err(DisposeError::NotHeld(ISOLATED)),
        Some(HoldState::Cleared | HoldState::Released | HoldState::Refund) | None => {
            return Err(DisposeError::NotHeld("the deposit is not held"));
        }
    }
    let subject = Subject::Deposit(id);
    let round = match screenings::newest_in(&mut tx, subject).await? {
        Some(newest) if newest.is_pending() => return Ok(deposit),
        Some(newest) => newest.round.saturating_add(1),
        None => 0,
    };
    if round >= MAX_ROUNDS {
        return Err(DisposeError::NotHeld("the deposit was screened as often as it can be"));
    }
    screenings::begin(&mut tx, Begun { subject, round, order: None }, now).await?;
    // Who asked is in the event, as with every act.
    let payload = json!({ "depositId": id, "walletId": deposit.wallet, "round": round });
    events::append(&mut tx, "deposit.screening_asked", None, now, &payload).await?;
    tx.commit().await?;
    Ok(deposit)
}

/// How often one deposit is screened.
const MAX_ROUNDS: u32 = 100;
const ISOLATED: &str = "the deposit is isolated, which is for good";

/// `false`: only signatures are missing.
fn is_complete(verified: Result<(), InvalidDisposition>) -> Result<bool, InvalidDisposition> {
    match verified {
        Ok(()) => Ok(true),
        Err(InvalidDisposition::OfficerAndLead) => Ok(false),
        Err(wrong) => Err(wrong),
    }
}
