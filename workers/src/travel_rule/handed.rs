//! What comes in from people: the data, and what they note of an outcome. And the data for those who may see it. Each is one commit.

use super::{TravelRule, refused, vault::VaultError, verdict, was_not_configured};
use crate::context::Context;
use bursar_domain::{
    ids::TransferId,
    lifecycle::{State, Transfer},
    travel_rule::{InvalidIvms101, Ivms101},
};
use bursar_store::{
    StoreError, events, jobs, transfers,
    travel_rule::{self as kept, Progress, Record},
};
use serde_json::json;

/// Why data, or an outcome, was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TravelRuleError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no such transfer")]
    Unknown,
    #[error("no travel rule is configured: add [travel_rule]")]
    NotConfigured,
    #[error(transparent)]
    Invalid(#[from] InvalidIvms101),
    #[error("{0}")]
    NotNow(String),
    #[error("nothing was handed in for this transfer")]
    NoData,
    #[error(transparent)]
    Vault(#[from] VaultError),
}

fn configured(context: &Context) -> Result<&TravelRule, TravelRuleError> {
    context.travel_rule.as_ref().ok_or(TravelRuleError::NotConfigured)
}

/// Whether it can still matter: nothing was decided, and the transfer has not passed.
fn still_open(transfer: &Transfer, record: Option<&Record>) -> Result<(), TravelRuleError> {
    let early = matches!(transfer.state, State::Submitted | State::PendingScreening | State::PendingReview);
    let decided = record.is_some_and(|record| {
        matches!(record.progress, Progress::Accepted { .. } | Progress::Rejected { .. })
    });
    if early && !decided {
        return Ok(());
    }
    let status = transfer.status();
    Err(TravelRuleError::NotNow(format!("the transfer is {status}, and its travel rule is done with")))
}

/// Takes what the institution at the other end is to be told, in place of what was handed in before. It is encrypted here, and nowhere written
/// otherwise. What waited for it goes on. Other data is the next round; the same data again is asked about again in its round.
///
/// # Errors
/// [`TravelRuleError`]; nothing was written then.
pub async fn submit(context: &Context, id: TransferId, data: &Ivms101) -> Result<Record, TravelRuleError> {
    let rule = configured(context)?;
    data.validate()?;
    let sealed = rule.vault.seal(id, data)?;
    let now = context.now();
    let mut tx = context.store.write().await?;
    let transfer = transfers::get_in(&mut tx, id).await?.ok_or(TravelRuleError::Unknown)?;
    let record = kept::get_in(&mut tx, id).await?;
    still_open(&transfer, record.as_ref())?;
    let there = record.as_ref().and_then(|record| Some((record.round, record.sealed.as_ref()?)));
    let same = there.filter(|(_, sealed)| rule.vault.open(id, sealed).is_ok_and(|there| there == *data));
    // Assessed at the next look, in the light of what is there then.
    let round = match same {
        Some((round, _)) => {
            kept::put(&mut tx, id, round, 0, &Progress::Submitted, now).await?;
            round
        }
        None => kept::submit(&mut tx, id, &sealed, now).await?,
    };
    let payload = json!({ "transferId": id, "round": round, "complete": data.lacks().is_empty() });
    events::append(&mut tx, "travel_rule.data_submitted", Some(id), now, &payload).await?;
    jobs::nudge(&mut tx, id, now).await?;
    let record = kept::get_in(&mut tx, id).await?.ok_or(TravelRuleError::Unknown)?;
    tx.commit().await?;
    Ok(record)
}

/// Notes what the institution at the other end said to people: where they are the exchange, and where the configured one gave no answer.
/// `told`: the round of the data that was told. `reference`: theirs for what was said ([`is_reference`](bursar_domain::travel_rule::is_reference)). `by`: who notes it.
///
/// # Errors
/// [`TravelRuleError`]; nothing was written then.
pub async fn note_outcome(
    context: &Context,
    id: TransferId,
    accepted: bool,
    told: u32,
    reference: &str,
    by: &str,
) -> Result<Record, TravelRuleError> {
    let rule = configured(context)?;
    let now = context.now();
    let mut tx = context.store.write().await?;
    let transfer = transfers::get_in(&mut tx, id).await?.ok_or(TravelRuleError::Unknown)?;
    let record = kept::get_in(&mut tx, id).await?;
    still_open(&transfer, record.as_ref())?;
    let round = match &record {
        Some(Record { round, progress: Progress::Pending { .. }, .. }) if rule.settings.manual => *round,
        Some(record @ Record { round: round @ 1.., progress: Progress::Unavailable { .. }, .. })
            if !was_not_configured(record) =>
        {
            *round
        }
        Some(Record { progress: Progress::Pending { .. }, .. }) => {
            let why = "the configured exchange is under way: people decide once it has given no answer";
            return Err(TravelRuleError::NotNow(why.into()));
        }
        _ => {
            let why = "no outcome is waited for: the data is handed in first, and looked at";
            return Err(TravelRuleError::NotNow(why.into()));
        }
    };
    if told != round {
        let why = format!(
            "the data is of round {round} by now: tell the other side that, and note what it says of it"
        );
        return Err(TravelRuleError::NotNow(why));
    }
    let (progress, outcome) = match accepted {
        true => (Progress::Accepted { reference: reference.to_owned() }, "ACCEPTED"),
        false => (Progress::Rejected { reason: refused(reference) }, "REJECTED"),
    };
    kept::put(&mut tx, id, round, 0, &progress, now).await?;
    let mut payload = verdict(id, round, outcome, reference);
    payload["notedBy"] = by.into();
    events::append(&mut tx, "travel_rule.verdict", Some(id), now, &payload).await?;
    jobs::nudge(&mut tx, id, now).await?;
    let record = kept::get_in(&mut tx, id).await?.ok_or(TravelRuleError::Unknown)?;
    tx.commit().await?;
    Ok(record)
}

/// Opens what was handed in, for `by`. It is given out only once the log says so.
///
/// # Errors
/// [`TravelRuleError`].
pub async fn disclose(
    context: &Context,
    id: TransferId,
    by: &str,
) -> Result<(u32, Ivms101), TravelRuleError> {
    let rule = configured(context)?;
    let now = context.now();
    let mut tx = context.store.write().await?;
    let record = kept::get_in(&mut tx, id).await?.ok_or(TravelRuleError::NoData)?;
    let sealed = record.sealed.as_ref().ok_or(TravelRuleError::NoData)?;
    let data = rule.vault.open(id, sealed)?;
    let payload = json!({ "transferId": id, "round": record.round, "by": by });
    events::append(&mut tx, "travel_rule.disclosed", Some(id), now, &payload).await?;
    tx.commit().await?;
    Ok((record.round, data))
}
