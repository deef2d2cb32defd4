//! Taking an alert: what it is about and not signed yet is frozen, what is signed is flagged, and compliance gets a case. All of it is one
//! commit, and the same alert twice is one alert.

use crate::{context::Context, engine::StepError, governance::GovernanceError, transition::advance_in};
use bursar_domain::{
    audit::act::Signed,
    effects::Resource,
    governance::{signature::Signature, verdict::NotScreened},
    ids::{CaseId, TransferId},
    lifecycle::{Fact, Status},
    network::Network,
    screening::{Alert, AlertSubject, InvalidAlert, SignedAlert},
    time::Timestamp,
};
use bursar_store::{
    StoreError, WriteTx, cases,
    cases::{CaseSubject, Cause, KnownAlert},
    deposits::{self, Deposit, holds},
    events, reservations, screenings, transfers, utxos,
};
use serde_json::json;

/// The event that tells of one.
const ALERT: &str = "screening.alert";

/// How an alert came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This installation asked the service for it, over a connection on which the service proved itself.
    Poll,
    /// Somebody handed it in.
    Callback,
}

impl Origin {
    const fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Callback => "callback",
        }
    }
}

/// What became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub case: CaseId,
    /// `false`: it had come before, and nothing was done.
    pub new: bool,
}

/// Why an alert was not taken. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Invalid(#[from] InvalidAlert),
    #[error(transparent)]
    NotScreener(#[from] NotScreened),
    #[error(
        "nobody's alerts count here: alerts are handed in only under a policy that names a screening service"
    )]
    NoScreener,
    #[error("the service gave this id to another alert before; an alert's id names it for good")]
    IdReused,
}

impl From<StoreError> for AlertError {
    fn from(error: StoreError) -> Self {
        Self::Step(error.into())
    }
}
impl From<GovernanceError> for AlertError {
    fn from(error: GovernanceError) -> Self {
        Self::Step(error.into())
    }
}

impl AlertError {
    /// For counters.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Step(_) => "failed",
            Self::Invalid(_) => "malformed",
            Self::NotScreener(_) => "signature",
            Self::NoScreener => "no_screener",
            Self::IdReused => "id_reused",
        }
    }
}

/// Takes an alert, if it is signed by whom it may be.
///
/// # Errors
/// [`AlertError`].
pub async fn take(context: &Context, signed: &SignedAlert, origin: Origin) -> Result<Taken, AlertError> {
    let taken = take_verified(context, signed, origin).await;
    let outcome = match &taken {
        Ok(Taken { new: true, .. }) => "taken",
        Ok(Taken { new: false, .. }) => "known",
        Err(error) => error.code(),
    };
    metrics::counter!("bursar_screening_alerts_total", "origin" => origin.name(), "outcome" => outcome)
        .increment(1);
    taken
}

async fn take_verified(context: &Context, signed: &SignedAlert, origin: Origin) -> Result<Taken, AlertError> {
    signed.alert.check()?;
    let by_log = verify(context, signed, origin).await?;
    let SignedAlert { alert, signature } = signed;
    let store = &context.store;
    let named = match &alert.subject {
        AlertSubject::Transfer(order) => screenings::transfer_of(store, *order).await?,
        AlertSubject::Deposit(_) | AlertSubject::Address { .. } => None,
    };
    let subject = match (&alert.subject, named) {
        (AlertSubject::Transfer(_), Some(transfer)) => CaseSubject::Transfer(transfer),
        (AlertSubject::Transfer(order), None) => CaseSubject::Order(order.to_string()),
        (AlertSubject::Deposit(deposit), _) => CaseSubject::Deposit(*deposit),
        (AlertSubject::Address { network, address }, _) => {
            CaseSubject::Address { network: *network, address: address.clone() }
        }
    };
    let reason = words(alert);
    let now = context.now();
    let mut tx = store.write().await?;
    match cases::known_alert(&mut tx, signed).await? {
        Some(KnownAlert::Same(case)) => return Ok(Taken { case, new: false }),
        Some(KnownAlert::Other) => return Err(AlertError::IdReused),
        None => {}
    }
    let mut concerned: Vec<TransferId> = match &alert.subject {
        AlertSubject::Transfer(_) => named.into_iter().collect(),
        AlertSubject::Address { network, address } => payers(&mut tx, *network, address).await?,
        AlertSubject::Deposit(_) => Vec::new(),
    };
    let fresh = || CaseId::new(context.ids.uuid());
    let case = cases::open(&mut tx, fresh(), Cause::Alert, &subject, &reason, now).await?.id();
    cases::keep_alert(&mut tx, signed, case, now).await?;
    let mut deposit = None;
    if let AlertSubject::Deposit(id) = &alert.subject
        && let Some(there) = deposits::get_in(&mut tx, *id).await?
    {
        let (held, spender) = freeze(&mut tx, &there, &reason, now).await?;
        concerned.extend(spender);
        deposit = Some(held);
    }
    let (mut frozen, mut flagged) = (Vec::new(), Vec::new());
    for id in concerned {
        let Some(transfer) = transfers::get_in(&mut tx, id).await? else { continue };
        // It ended without paying, which an alert does not change.
        let Ok(after) = transfer.clone().apply(Fact::AlertRaised, now) else { continue };
        let of_transfer = CaseSubject::Transfer(id);
        if of_transfer != subject {
            cases::open(&mut tx, fresh(), Cause::Alert, &of_transfer, &reason, now).await?;
        }
        match after.transfer.flags.frozen {
            true => frozen.push(id),
            false => flagged.push(id),
        }
        if !transfer.already_says(&Fact::AlertRaised) {
            advance_in(&mut tx, transfer, Fact::AlertRaised, now).await.map_err(StepError::from)?;
        }
    }
    let mut payload = told(alert, signature, origin, case, &frozen, &flagged);
    payload["depositFrozen"] = json!(deposit);
    match by_log {
        Some(seq) => {
            let signed = Signed::alert(signed, seq);
            events::append_signed(&mut tx, ALERT, named, now, &payload, &signed).await?;
        }
        None => events::append(&mut tx, ALERT, named, now, &payload).await?,
    }
    tx.commit().await?;
    tracing::warn!(alert = alert.id, %subject, %case, frozen = frozen.len(), flagged = flagged.len(), "screening alert: {reason}");
    Ok(Taken { case, new: true })
}

/// Freezes a deposit unless its output is spent; gives whether it did, and the transfer that spends it, or is about to.
async fn freeze(
    tx: &mut WriteTx,
    deposit: &Deposit,
    reason: &str,
    now: Timestamp,
) -> Result<(bool, Option<TransferId>), StoreError> {
    let network = deposit.network;
    let (spent, spender) = match &deposit.outpoint {
        Some(outpoint) => {
            let spender = reservations::owner(tx, network, &Resource::Utxo(*outpoint)).await?;
            (utxos::is_spent(tx, network, outpoint).await?, spender)
        }
        None => (false, None),
    };
    if spent || !holds::freeze(tx, deposit, reason, now).await? {
        return Ok((false, spender));
    }
    events::append(tx, "deposit.frozen", None, now, &crate::deposits::told(deposit, reason)).await?;
    Ok((true, spender))
}

/// Gives the governance log's last entry, by whose directory the signature was verified.
async fn verify(context: &Context, signed: &SignedAlert, origin: Origin) -> Result<Option<u64>, AlertError> {
    let Some(governance) = &context.governance else {
        // Without a log nobody's signature can be verified; what this installation fetched itself is believed as answers are.
        return match origin {
            Origin::Poll => Ok(None),
            Origin::Callback => Err(AlertError::NoScreener),
        };
    };
    let log = governance.state(&context.store).await?;
    let screening = log.policy().and_then(|published| published.policy.screening.as_ref());
    match (screening, origin) {
        (Some(screening), _) => signed.verify(log.directory(), Some(&screening.by))?,
        (None, Origin::Poll) => signed.verify(log.directory(), None)?,
        (None, Origin::Callback) => return Err(AlertError::NoScreener),
    }
    Ok(Some(log.head().seq))
}

/// Transfers that pay this address and have not ended: alerts are rare, and those are few.
async fn payers(tx: &mut WriteTx, network: Network, address: &str) -> Result<Vec<TransferId>, StoreError> {
    let mut found = Vec::new();
    for status in Status::all().filter(|status| !status.is_terminal()) {
        for id in transfers::in_status_in(tx, network, status).await? {
            let Some(transfer) = transfers::get_in(tx, id).await? else { continue };
            let payments = &transfer.intent.intent.payments;
            if payments.iter().any(|payment| same_address(&payment.destination.address, address)) {
                found.push(id);
            }
        }
    }
    Ok(found)
}

/// Hexadecimal and bech32 addresses mean the same in either case (EIP-55, BIP-173); base58 ones do not.
fn same_address(one: &str, other: &str) -> bool {
    let folds = ["0x", "bc1", "tb1", "bcrt1"]
        .into_iter()
        .any(|start| one.get(..start.len()).is_some_and(|given| given.eq_ignore_ascii_case(start)));
    one == other || folds && one.eq_ignore_ascii_case(other)
}

fn words(alert: &Alert) -> String {
    let sanctions = if alert.sanctions { ", sanctions hit" } else { "" };
    format!("alert {}: risk {}{sanctions}: {}", alert.id, alert.risk, alert.description)
}

fn told(
    alert: &Alert,
    signature: &Signature,
    origin: Origin,
    case: CaseId,
    frozen: &[TransferId],
    flagged: &[TransferId],
) -> serde_json::Value {
    json!({
        "alert": alert,
        "signature": signature,
        "origin": origin.name(),
        "caseId": case,
        "frozen": frozen,
        "flagged": flagged,
    })
}

#[cfg(test)]
mod tests {
    use super::same_address;

    #[test]
    fn an_address_is_the_same_in_the_other_case_where_its_form_says_so() {
        for (one, other) in [
            ("0xAb5801a7D398351b8bE11C439e05C5B3259aeC9B", "0xab5801a7d398351b8be11c439e05c5b3259aec9b"),
            ("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "BCRT1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KYGT080"),
        ] {
            assert!(same_address(one, other) && same_address(other, one), "{one}");
        }
        let base58 = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh";
        assert!(same_address(base58, base58));
        assert!(!same_address(base58, &base58.to_ascii_lowercase()));
        assert!(!same_address("tb1qa", "tb1qb"));
    }
}
