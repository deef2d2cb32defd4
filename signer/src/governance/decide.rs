//! Whether the log, the evidence and this party's own past permit a package.
//!
//! Everything is judged by the newest state that this party has, whatever head the package names: what came meanwhile counts. The
//! past is this party's own, and is read in the transaction that adds to it.

use super::Log;
use crate::{
    store::{Past, Pins, Spent},
    verify::{Allowed, Part, Refusal, RefusalCode as Code},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::{
        authorization::{Authorization, Authorized, Denied, authorize, may_order, verify_order},
        directory::{User, UserId},
        log::Head,
        policy::{
            Currency, Decision, Fact, Facts, Gap, Measure, Policy, Price, Request, Unit, VelocityGroup,
            VelocityQuery,
        },
        quote::QuoteCheck,
        state::State,
    },
    intent::{InvalidInitiatorSignature, SignedIntent},
    package::{Purpose, SigningPackage},
    signing::PartyRole,
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What is held against the log.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    pub intent: &'a SignedIntent,
    pub authorization: Option<&'a Authorization>,
    pub part: Part,
}

/// What the log permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted {
    /// What a policy counts of it; what pays nobody is not counted.
    pub spent: Option<Spent>,
    /// Absent for what takes back a payment that this party took part in, which policy says nothing about.
    pub decision: Option<Decision>,
    /// Who ordered it; absent as the decision is.
    pub initiator: Option<UserId>,
    /// Whose co-signers must take part.
    pub signers: BTreeSet<PartyRole>,
}

impl<'a> Evidence<'a> {
    pub fn of(package: &'a SigningPackage, allowed: &Allowed) -> Self {
        Self { intent: &package.intent, authorization: package.authorization.as_ref(), part: allowed.part }
    }
}

impl Log {
    /// Whom this order names as its initiator, if they may initiate; nothing else about it is looked at.
    pub fn initiator(&self, order: &SignedIntent) -> Result<&User, Refusal> {
        may_order(&self.state, order).map_err(|denied| refusal(self, &denied))
    }

    /// Whether the order is one of this desk, and its initiator's.
    pub fn verify(&self, order: &SignedIntent) -> Result<(), Refusal> {
        verify_order(&self.state, order).map_err(|denied| refusal(self, &denied))
    }

    /// The same of a package, before anything in it is decoded. Not of a cancellation: what this party took part in paying, whose order it
    /// verified then, it helps to take back when the initiator has left, too. [`permit`](Self::permit) verifies the order of any other.
    pub fn ordered(&self, package: &SigningPackage) -> Result<(), Refusal> {
        if package.purpose == Purpose::Cancel {
            return Ok(());
        }
        // Who is unknown here may be known there.
        if let Some(Authorization { head, .. }) =
            package.authorization.as_ref().filter(|it| !self.knows(&it.head))
        {
            return Err(unknown(self, head, "that the package speaks of"));
        }
        self.verify(&package.intent)
    }

    /// How far back this party's past matters for this order.
    pub fn since(&self, order: &SignedIntent, now: Timestamp) -> Option<Timestamp> {
        let longest = queries(&self.state, order)?.iter().map(|query| query.window_seconds).max()?;
        Some(begins(now, longest))
    }

    /// Decides. `pins` is what this party holds against any log.
    ///
    /// A cancellation of what this party took part in paying ([`Past::undone_by`]) needs the initiator's order only: it pays nobody, stays possible
    /// when approvals have expired or the initiator has left, and is the safer end of a payment that may be on its way. Any other is held to
    /// all that the payment would be: it takes back nothing that this party knows of, and costs a fee.
    pub fn permit(
        &self,
        evidence: &Evidence<'_>,
        past: &Past,
        pins: &Pins,
        now: Timestamp,
    ) -> Result<Permitted, Refusal> {
        if let Some(head) = pins.trusted.filter(|head| !self.knows(head)) {
            return Err(unknown(self, &head, "that this party's people have put on record"));
        }
        if past.undone_by(evidence.part) {
            return Ok(Permitted::to_undo());
        }
        if let Some(floor) = pins.policy_floor
            && self.state.policy().is_none_or(|policy| policy.version.seq < floor)
        {
            let reason = format!(
                "the policy in force is older than entry {floor}, which this party had seen before its log was begun again"
            );
            return Err(Refusal::new(Code::GovernanceBehind, reason));
        }
        let Some(authorization) = evidence.authorization else {
            let reason = "this party keeps a governance log, and the package has no authorization by it";
            return Err(Refusal::new(Code::AuthorizationMissing, reason));
        };
        let facts = Facts { velocity: velocity(self, evidence.intent, past, now), ..Facts::unknowable(now) };
        // Remembered at the first package, so before this one.
        let submitted_at = past.seen_at.unwrap_or(now);
        let knows = |head: &Head| self.knows(head);
        let authorized = authorize(&self.state, knows, evidence.intent, authorization, &facts, submitted_at)
            .map_err(|denied| refusal(self, &denied))?;
        let Authorized { initiator, decision, signers, .. } = authorized;
        let intent = &evidence.intent.intent;
        let pays = evidence.part != Part::Cancels && intent.fills.is_none();
        let spent = pays.then(|| Spent {
            wallet: intent.wallet,
            asset: intent.asset,
            initiator: initiator.clone(),
            // `authorize` has added it up.
            total: intent.total().unwrap_or(Amount::ZERO),
            payments: intent.payments.clone(),
            price: self.price(intent.asset, authorization, now),
        });
        Ok(Permitted { spent, decision: Some(decision), initiator: Some(initiator), signers })
    }

    fn price(&self, asset: Asset, authorization: &Authorization, now: Timestamp) -> Option<Price> {
        let policy = &self.state.policy()?.policy;
        let check = QuoteCheck::of(&self.state, policy, now);
        check.fact(asset, authorization.quote.as_ref(), Err(Gap::Unknowable)).ok()
    }
}

impl Permitted {
    const fn to_undo() -> Self {
        Self { spent: None, decision: None, initiator: None, signers: BTreeSet::new() }
    }
}

fn queries(state: &State, order: &SignedIntent) -> Option<BTreeSet<VelocityQuery>> {
    let (policy, request) = request(state, order)?;
    Some(policy.velocity_queries(&request))
}

/// What the policy is asked. `None` where authorization is refused for a better reason.
fn request<'s>(state: &'s State, order: &SignedIntent) -> Option<(&'s Policy, Request)> {
    let user = order.user(state.directory())?;
    let request = Request::new(&order.intent, user, state.address_book()).ok()?;
    Some((&state.policy()?.policy, request))
}

/// What this party signed in each window, without this order.
fn velocity(
    log: &Log,
    order: &SignedIntent,
    past: &Past,
    now: Timestamp,
) -> BTreeMap<VelocityQuery, Fact<Amount>> {
    let Some((policy, request)) = request(&log.state, order) else { return BTreeMap::new() };
    let queries = policy.velocity_queries(&request).into_iter();
    queries.map(|query| (query.clone(), sum(&query, policy.currency, past, now))).collect()
}

fn sum(query: &VelocityQuery, currency: Currency, past: &Past, now: Timestamp) -> Fact<Amount> {
    let since = begins(now, query.window_seconds);
    let here = past.spent.iter().filter(|(at, _)| *at >= since).map(|(_, spent)| spent);
    match query.of {
        // By the prices of then. Without one an amount is above every limit.
        Measure::Sum(Unit::Fiat) => {
            let worth = |spent: &Spent, amount| {
                spent.price.filter(|price| price.currency == currency).and_then(|price| price.of(amount))
            };
            let mut worths = here.filter_map(|spent| Some(worth(spent, paid(spent, query)?)));
            worths.try_fold(Amount::ZERO, |sum, worth| sum.checked_add(worth?)).ok_or(Gap::Unpriceable)
        }
        Measure::Count => {
            Ok(Amount::from_u64(here.filter(|spent| paid(spent, query).is_some()).count() as u64))
        }
        Measure::Sum(Unit::Asset(asset)) => {
            let amounts = here.filter(|spent| spent.asset == asset).filter_map(|spent| paid(spent, query));
            // No number is above every limit.
            Amount::sum(amounts).ok_or(Gap::Unpriceable)
        }
    }
}

/// What it paid that belongs to the query's group.
fn paid(spent: &Spent, query: &VelocityQuery) -> Option<Amount> {
    match &query.group {
        VelocityGroup::All => Some(spent.total),
        VelocityGroup::Wallet(wallet) => (spent.wallet == *wallet).then_some(spent.total),
        VelocityGroup::Initiator(user) => (spent.initiator == *user).then_some(spent.total),
        VelocityGroup::Destination(network, to) => {
            let here = spent.payments.iter().filter(|payment| payment.destination.address == *to);
            let mut amounts = here.map(|payment| payment.amount).peekable();
            let any = spent.wallet.network == *network && amounts.peek().is_some();
            // Part of the total, which has been added up before.
            any.then(|| Amount::sum(amounts).unwrap_or(spent.total))
        }
    }
}

fn begins(now: Timestamp, window_seconds: u64) -> Timestamp {
    let micros = Duration::from_secs(window_seconds).as_micros();
    Timestamp(i64::try_from(micros).map_or(i64::MIN, |micros| now.0.saturating_sub(micros)))
}

fn unknown(log: &Log, head: &Head, whose: &str) -> Refusal {
    let have = log.state.head();
    if head.seq > have.seq {
        let reason =
            format!("this party's governance log ends with entry {}, before {head} {whose}", have.seq);
        Refusal::new(Code::GovernanceBehind, reason)
    } else {
        let reason = format!("{head} {whose} is not in this party's governance log: there are two logs");
        Refusal::new(Code::GovernanceForked, reason)
    }
}

/// The same codes as the orchestrator's, where this party has no older one of its own.
fn refusal(log: &Log, denied: &Denied) -> Refusal {
    let code = match denied {
        Denied::UnknownHead { head } => return unknown(log, head, "that the package speaks of"),
        Denied::Intent(_) => Code::InvalidIntent,
        Denied::Signature(InvalidInitiatorSignature::NoTerms) => Code::OrderTerms,
        Denied::Signature(_) => Code::InitiatorSignature,
        Denied::OtherDesk { .. } => Code::OrderDesk,
        Denied::OtherPolicy { .. } => Code::OrderPolicy,
        Denied::Recall(_) => Code::Recall,
        Denied::Expired => Code::IntentExpired,
        Denied::TooMuch => Code::AuthorizationTooLarge,
        Denied::Frozen { .. } => Code::Frozen,
        Denied::UnknownInitiator => Code::UnknownInitiator,
        Denied::MayNotInitiate { .. } => Code::InitiatorNotPermitted,
        Denied::NoPolicy => Code::NoPolicy,
        Denied::Screening(_) => match denied.code() {
            "SCREENING_MISSING" => Code::ScreeningMissing,
            "SCREENING_STALE" => Code::ScreeningStale,
            "SCREENING_BLOCKED" => Code::ScreeningBlocked,
            "SCREENING_REVIEW" => Code::ScreeningReview,
            _ => Code::ScreeningInvalid,
        },
        Denied::Policy { .. } => Code::PolicyDenied,
        Denied::Rejected { .. } => Code::ApprovalRejected,
        Denied::Approvals { progress, .. } => {
            let mut reason = denied.to_string();
            for ignored in progress.ignored.iter().take(5) {
                reason.push_str(&format!("; that of {} does not count: it {}", ignored.user, ignored.why));
            }
            return Refusal::new(Code::ApprovalsMissing, reason);
        }
        Denied::Delayed { .. } => Code::PolicyDelay,
    };
    Refusal::new(code, denied.to_string())
}
