//! What compliance decides about a deposit that is held: release, refund or isolate. Signed by an officer and a lead; one commit.

use crate::{
    context::Context,
    engine::StepError,
    governance::{Governance, GovernanceError},
};
use bursar_domain::{
    governance::verdict::{DispositionAction, DispositionCheck, InvalidDisposition, SignedDisposition},
    ids::DepositId,
};
use bursar_store::{
    StoreError, cases,
    cases::{CaseSubject, Cause},
    deposits::{
        self, Deposit,
        dispositions::{self, Kept, MAX_DISPOSITIONS, StoredDisposition},
        holds::{self, HoldState},
    },
    events,
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
            return Err(DisposeError::NotHeld("the deposit is isolated, which is for good"));
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
    events::append(&mut tx, "deposit.disposition_signed", None, now, &payload).await?;
    if complete {
        let to = match disposition.action {
            DispositionAction::Release => HoldState::Released,
            DispositionAction::Refund => HoldState::Refund,
            DispositionAction::Isolate => HoldState::Isolated,
        };
        holds::advance(&mut tx, &deposit, hold.state, to, Some(&disposition.reason), now).await?;
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

/// `false`: only signatures are missing.
fn is_complete(verified: Result<(), InvalidDisposition>) -> Result<bool, InvalidDisposition> {
    match verified {
        Ok(()) => Ok(true),
        Err(InvalidDisposition::OfficerAndLead) => Ok(false),
        Err(wrong) => Err(wrong),
    }
}
