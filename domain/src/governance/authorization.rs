//! The one function that says whether an intent may be signed. The orchestrator calls it, and every co-signer calls it again.
//!
//! All that it believes is in the governance log, in signatures by people of that log, or among the facts that the caller found out for
//! itself. What travels ([`Authorization`]) is evidence, never an answer.

mod denied;
mod ordered;

pub use denied::Denied;
pub use ordered::{may_order, verify_order};

use super::{
    approval::{Approval, Ballot, Progress},
    directory::{User, UserId},
    log::Head,
    policy::{Allowed, Decision, Facts, Gap, Operation, Outcome, Request, evaluate, evaluate_fill},
    quote::{QuoteCheck, SignedQuote},
    state::{PublishedPolicy, State},
    verdict::{ScreeningCheck, SignedRelease, SignedVerdict},
};
use crate::{
    amount::Amount,
    intent::{Intent, SignedIntent},
    signing::PartyRole,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

pub const MAX_APPROVALS: usize = 128;
pub const MAX_RELEASES: usize = 8;

/// The evidence that travels with an intent to each co-signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authorization {
    /// The last entry of the governance log by which the orchestrator decided.
    pub head: Head,
    #[serde(default)]
    pub approvals: Vec<Approval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<SignedVerdict>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<SignedRelease>,
    /// What the asset is worth, if the policy names who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<SignedQuote>,
}

/// It may be signed, now, by these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized {
    pub initiator: UserId,
    /// The version of the policy that permits it.
    pub policy: Head,
    pub decision: Decision,
    pub progress: Progress,
    /// Whose co-signers must take part: for the caller to hold against the session.
    pub signers: BTreeSet<PartyRole>,
}

/// A filler pays nobody: there is nobody to screen and nothing to approve or limit. What the policy says about initiator, fee and time
/// holds for it, too; how many there may be is up to each co-signer.
fn to_fill(
    initiator: &User,
    published: &PublishedPolicy,
    intent: &Intent,
    facts: &Facts,
) -> Result<Authorized, Denied> {
    let request = Request {
        operation: Operation::Transfer,
        wallet: intent.wallet,
        asset: intent.asset,
        initiator: initiator.id.clone(),
        initiator_roles: initiator.roles.clone(),
        payouts: Vec::new(),
        total: Amount::ZERO,
        max_fee: intent.max_fee,
    };
    let decision = evaluate_fill(&published.policy, &request, facts);
    let signers = match &decision.outcome {
        Outcome::Allowed(allowed) => allowed.signers.clone(),
        Outcome::Denied { .. } => return Err(Denied::Policy { decision: decision.into() }),
    };
    let (initiator, policy) = (initiator.id.clone(), published.version);
    Ok(Authorized { initiator, policy, decision, progress: Progress::default(), signers })
}

/// Whether `signed` may be signed now.
///
/// `knows` tells whether an entry is in the caller's log. `facts` are the caller's own; their risk is not looked at: it comes from the verdict. Nor
/// is their price, where the policy names who quotes prices.
/// `submitted_at` is when the caller first saw this intent: delays and deadlines are counted from there, by nobody's word but its own.
///
/// # Errors
/// The first thing that stands in the way.
pub fn authorize(
    state: &State,
    knows: impl Fn(&Head) -> bool,
    signed: &SignedIntent,
    authorization: &Authorization,
    facts: &Facts,
    submitted_at: Timestamp,
) -> Result<Authorized, Denied> {
    let intent = &signed.intent;
    within_bounds(authorization)?;
    intent.validate()?;
    if facts.now >= intent.expires_at {
        return Err(Denied::Expired);
    }
    if !knows(&authorization.head) {
        return Err(Denied::UnknownHead { head: authorization.head });
    }
    if let Some(freeze) = state.frozen(intent) {
        return Err(Denied::Frozen { seq: freeze.seq, scope: freeze.scope.to_string() });
    }
    let published @ PublishedPolicy { version, policy } = state.policy().ok_or(Denied::NoPolicy)?;
    verify_order(state, signed)?;
    let initiator = may_order(state, signed)?;
    if intent.fills.is_some() {
        return to_fill(initiator, published, intent, facts);
    }
    let risk = match &policy.screening {
        // Nobody is believed about it.
        None => Err(Gap::Missing),
        Some(screening) => {
            let check = ScreeningCheck {
                directory: state.directory(),
                genesis: state.genesis_digest(),
                intent: intent.digest(),
                initiator: &initiator.id,
                screening,
                now: facts.now,
            };
            Ok(check.pass(authorization.verdict.as_ref(), &authorization.releases)?)
        }
    };
    let quotes = QuoteCheck::of(state, policy, facts.now);
    let price = quotes.fact(intent.asset, authorization.quote.as_ref(), facts.price);
    let facts = Facts { risk, price, ..facts.clone() };
    let request = Request::new(intent, initiator, state.address_book())?;
    let decision = evaluate(policy, &request, &facts);
    let allowed = match &decision.outcome {
        Outcome::Allowed(allowed) => allowed,
        Outcome::Denied { .. } => return Err(Denied::Policy { decision: decision.into() }),
    };
    let ballot = Ballot {
        state,
        policy: *version,
        intent: intent.digest(),
        initiator: &initiator.id,
        submitted_at,
        now: facts.now,
    };
    let progress = approved(ballot, knows, allowed, authorization, &decision)?;
    let until = submitted_at.plus(Duration::from_secs(allowed.delay_seconds));
    if facts.now < until {
        return Err(Denied::Delayed { until, decision: decision.into() });
    }
    let (initiator, signers) = (initiator.id.clone(), allowed.signers.clone());
    Ok(Authorized { initiator, policy: *version, signers, decision, progress })
}

fn within_bounds(authorization: &Authorization) -> Result<(), Denied> {
    let Authorization { approvals, releases, .. } = authorization;
    let within = approvals.len() <= MAX_APPROVALS && releases.len() <= MAX_RELEASES;
    within.then_some(()).ok_or(Denied::TooMuch)
}

fn approved(
    ballot: Ballot,
    knows: impl Fn(&Head) -> bool,
    allowed: &Allowed,
    authorization: &Authorization,
    decision: &Decision,
) -> Result<Progress, Denied> {
    // An approver has seen more of the log than we have: it may say that somebody else no longer counts.
    let ahead = |approval: &&Approval| ballot.check(approval).is_ok() && !knows(&approval.payload.head);
    if let Some(approval) = authorization.approvals.iter().find(ahead) {
        return Err(Denied::UnknownHead { head: approval.payload.head });
    }
    let progress = ballot.count(&allowed.requirements, &authorization.approvals);
    if let Some(user) = progress.rejected_by.first() {
        return Err(Denied::Rejected { user: user.clone() });
    }
    if !progress.is_satisfied() {
        return Err(Denied::Approvals { decision: decision.clone().into(), progress: progress.into() });
    }
    Ok(progress)
}

impl Authorization {
    /// Nothing but the head: what a transfer begins with.
    pub const fn none(head: Head) -> Self {
        Self { head, approvals: Vec::new(), verdict: None, releases: Vec::new(), quote: None }
    }
}

#[cfg(test)]
mod tests;
