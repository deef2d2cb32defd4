//! PENDING_REVIEW: what a screening held waits for people. Releases are kept as they come and nudge it; here is looked whether they suffice.

use super::Progress;
use crate::{
    context::Context,
    engine::StepError,
    screening::standing::{self, Standing},
    transition::{advance, advance_in, still},
    travel_rule,
};
use bursar_domain::lifecycle::{Fact, SubStatus, Transfer};
use bursar_store::{
    cases,
    cases::{CaseSubject, Cause},
};
use std::time::Duration;

/// How often it is looked at although nothing nudged it.
const LOOK: Duration = Duration::from_secs(600);

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let now = context.now();
    let expires_at = transfer.intent.intent.expires_at;
    if now >= expires_at {
        let fact = Fact::Expired { sub_status: SubStatus::IntentExpired };
        return end(context, transfer, fact, "the order expired").await;
    }
    if travel_rule::holds(&transfer) {
        if travel_rule::resumes(context, &transfer).await? {
            let reason = "the travel rule is looked at again";
            return end(context, transfer, Fact::TravelRuleNext { reason: reason.into() }, reason).await;
        }
        return Ok(Progress::Wait(LOOK.min(expires_at.since(now) + Duration::from_millis(1))));
    }
    let passes = match travel_rule::after_screening(context).await? {
        Some(_) => Fact::TravelRuleNext { reason: "released; the travel rule is looked at next".into() },
        None => Fact::ReviewPassed,
    };
    // Also where the service is no longer configured: what was held stays held.
    match standing::evidence(context, &transfer).await?.standing(&transfer, now) {
        Standing::Passes => end(context, transfer, passes, "released").await,
        Standing::Lapsed { reason } | Standing::Unusable { reason } if context.screening.is_some() => {
            advance(context, transfer, Fact::ScreeningLapsed { reason }).await?;
            Ok(Progress::Moved)
        }
        _ => Ok(Progress::Wait(LOOK.min(expires_at.since(now) + Duration::from_millis(1)))),
    }
}

/// Leaves the review, and closes its cases.
async fn end(
    context: &Context,
    transfer: Transfer,
    fact: Fact,
    because: &str,
) -> Result<Progress, StepError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    let subject = CaseSubject::Transfer(transfer.id);
    let causes = [Cause::Review, Cause::Outage];
    cases::close_about(&mut tx, &subject, &causes, cases::BURSAR, because, now).await?;
    advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}
