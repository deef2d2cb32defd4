//! The travel rule, as the engine uses it: after the screening and before anybody is asked to approve, in three steps.
//!
//! ASSESS says whether the institution at the other end must be told, and whether what it must be told is there. EXCHANGE tells it. VERDICT
//! is what it said. Each is an event, with field names and codes and without a person in it, in the transaction that moves the transfer. Fails
//! closed: what is missing, or has no answer, waits for people; what is refused ends. The exchange is asked under a transfer and a round which
//! were written down before, so a death in between asks the same again.
//!
//! The co-signers do not check any of this: it binds this installation only.
//!
//! | module | what it does |
//! |---|---|
//! | [`handed`] | takes the data, what people note of an outcome, and gives the data back to who may see it |
//! | [`vault`] | encrypts the data and opens it |

pub mod handed;
pub mod vault;

use crate::{
    authorization,
    context::Context,
    crash,
    engine::StepError,
    screening::standing::{self, Standing},
    steps::{Progress as Step, halted},
    transition::{MoveError, advance, advance_in, still},
};
use bursar_domain::{
    ids::{CaseId, TransferId},
    intent::Payment,
    lifecycle::{Fact, State, SubStatus, Transfer},
    time::Timestamp,
    travel_rule::{
        Assessment, Counterparty, Demand, ExchangeAnswer, NoExchange, Thresholds, TransferMessage,
        TravelRuleExchange, to_institutions,
    },
};
use bursar_store::{
    addresses, cases,
    cases::{CaseSubject, Cause},
    events,
    screenings::{self, Subject},
    travel_rule::{self as kept, Progress, Record},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use vault::Vault;

/// The longest that an exchange may ask to be left alone.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// What this installation does about the travel rule; clones share it.
#[derive(Clone)]
pub struct TravelRule {
    pub(crate) thresholds: Arc<Thresholds>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) exchange: Arc<dyn TravelRuleExchange>,
    pub settings: TravelRuleSettings,
}

#[derive(Debug, Clone)]
pub struct TravelRuleSettings {
    /// People hand the data over and note the outcome; nobody else is asked.
    pub manual: bool,
    /// An answer that takes longer is none.
    pub timeout: Duration,
    /// How often silence and outages are asked again before people have to look.
    pub retries: u32,
    /// The first pause before that; each further one is twice as long.
    pub retry: Duration,
}

impl TravelRule {
    pub fn new(
        thresholds: Thresholds,
        vault: Vault,
        exchange: Arc<dyn TravelRuleExchange>,
        settings: TravelRuleSettings,
    ) -> Self {
        let exchange = crash::exchange(exchange);
        Self { thresholds: Arc::new(thresholds), vault: Arc::new(vault), exchange, settings }
    }

    fn pause(&self, attempts: u32) -> Duration {
        self.settings.retry.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(MAX_PAUSE)
    }
}

/// Whether this installation does anything about the travel rule: it is configured, or the policy asks for it.
async fn applies(context: &Context) -> Result<bool, StepError> {
    if context.travel_rule.is_some() {
        return Ok(true);
    }
    let Some(governance) = &context.governance else { return Ok(false) };
    let log = governance.state(&context.store).await?;
    Ok(log.policy().is_some_and(|published| published.policy.travel_rule.is_some()))
}

/// Whether the step is to be taken now: somebody asks for it, and the screening lets the order go on. What a screening still has to say comes first.
pub(crate) async fn due(context: &Context, transfer: &Transfer) -> Result<bool, StepError> {
    if !applies(context).await? {
        return Ok(false);
    }
    if !standing::asks_about(context, transfer) {
        return Ok(true);
    }
    if !matches!(transfer.state, State::PendingScreening) {
        return Ok(false);
    }
    let newest = screenings::newest(&context.store, Subject::Transfer(transfer.id)).await?;
    let settled = newest.is_some_and(|newest| !newest.is_pending());
    Ok(settled && standing::of(context, transfer).await? == Standing::Passes)
}

/// What a passed screening is followed by, where the travel rule comes next.
pub(crate) async fn after_screening(context: &Context) -> Result<Option<SubStatus>, StepError> {
    Ok(applies(context).await?.then_some(SubStatus::TravelRulePending))
}

/// What is said of a transfer whose screening passed just now.
pub(crate) const NEXT: &str = "screened; the travel rule is looked at next";

/// Whether the travel rule holds the transfer in PENDING_REVIEW: then a release of its screening does not let it go.
pub const fn holds(transfer: &Transfer) -> bool {
    matches!(transfer.state, State::PendingReview)
        && matches!(
            transfer.sub_status,
            Some(
                SubStatus::TravelRulePending
                    | SubStatus::TravelRuleDataMissing
                    | SubStatus::TravelRuleUnavailable
            )
        )
}

/// Whether there is something to do about a transfer that it holds. Where it is not configured any more, what was held stays held.
pub(crate) async fn resumes(context: &Context, transfer: &Transfer) -> Result<bool, StepError> {
    let Some(rule) = &context.travel_rule else { return Ok(false) };
    let Some(record) = kept::get(&context.store, transfer.id).await? else { return Ok(true) };
    let waits = match &record.progress {
        Progress::DataMissing { .. } => true,
        Progress::Unavailable { .. } => !was_not_configured(&record),
        // People have been told, and say what came of it.
        Progress::Pending { reference, .. } => rule.settings.manual && reference.is_some(),
        Progress::Submitted
        | Progress::NotRequired { .. }
        | Progress::Accepted { .. }
        | Progress::Rejected { .. } => false,
    };
    // A price has come, say, or another policy.
    Ok(!waits || matches!(judge(context, transfer).await?.0, Assessment::NotRequired { .. }))
}

/// Nobody was asked: it was the configuration that was missing.
fn was_not_configured(record: &Record) -> bool {
    matches!(&record.progress, Progress::Unavailable { reason } if reason == NOT_CONFIGURED)
}

const NOT_CONFIGURED: &str =
    "the policy asks for the travel rule, and this installation has none: add [travel_rule]";

/// What was found out in one look, before anything is written.
struct Found {
    round: u32,
    attempts: u32,
    progress: Progress,
    /// Kind and payload.
    events: Vec<(&'static str, Value)>,
}

pub(crate) async fn run(context: &Context, transfer: Transfer) -> Result<Step, StepError> {
    if matches!(transfer.state, State::Submitted) {
        advance(context, transfer, Fact::ScreeningStarted).await?;
        return Ok(Step::Moved);
    }
    let record = kept::get(&context.store, transfer.id).await?;
    let as_it_is = |record: &Record| Found {
        round: record.round,
        attempts: record.attempts,
        progress: record.progress.clone(),
        events: Vec::new(),
    };
    let found = match record.as_ref().map(|record| (record, &record.progress)) {
        Some((record, Progress::Pending { next_try, .. })) => {
            let wait = next_try.since(context.now());
            // Nobody waits for a clock that was set back.
            if !wait.is_zero() && wait <= MAX_PAUSE {
                return Ok(Step::Wait(wait));
            }
            match (judge(context, &transfer).await?, &context.travel_rule) {
                ((Assessment::Required { payment, .. }, _), Some(rule)) => {
                    // Nobody outside is told of a payment that may not be made.
                    if let Some(hold) = halted::frozen(&transfer, context.log().await?.as_deref()) {
                        let waits = Fact::Waiting { sub_status: hold.sub_status(), reason: hold.to_string() };
                        if !transfer.already_says(&waits) {
                            advance(context, transfer, waits).await?;
                        }
                        return Ok(Step::Wait(MAX_PAUSE));
                    }
                    exchange(context, rule, &transfer, record, &payment).await?
                }
                // Payouts were recalled, the policy is another, or nothing is configured any more.
                (judged, _) => assess(context, &transfer, Some(record), judged),
            }
        }
        Some((record, Progress::Accepted { .. } | Progress::Rejected { .. })) => as_it_is(record),
        Some((record, Progress::Unavailable { .. })) if !was_not_configured(record) => {
            match judge(context, &transfer).await? {
                (free @ Assessment::NotRequired { .. }, to) => {
                    assess(context, &transfer, Some(record), (free, to))
                }
                _ => as_it_is(record),
            }
        }
        _ => {
            let judged = judge(context, &transfer).await?;
            assess(context, &transfer, record.as_ref(), judged)
        }
    };
    settle(context, transfer, record, found).await
}

/// Whether it is needed, by policy, address book and payouts as they are now; and to whom each payout goes.
async fn judge(context: &Context, transfer: &Transfer) -> Result<(Assessment, Vec<Counterparty>), StepError> {
    let order = transfer.remaining()?;
    let log = match &context.governance {
        Some(governance) => Some(governance.state(&context.store).await?),
        None => None,
    };
    let policy = log.as_ref().and_then(|log| log.policy()?.policy.travel_rule.as_deref());
    let thresholds = context.travel_rule.as_ref().map(|rule| &*rule.thresholds);
    let nobody = Default::default();
    let self_hosted = match (policy, thresholds) {
        (Some(policy), _) => &policy.self_hosted,
        (None, Some(thresholds)) => &thresholds.self_hosted,
        (None, None) => &nobody,
    };
    let network = order.network();
    let mut kinds = Vec::with_capacity(order.payments.len());
    for Payment { destination, .. } in &order.payments {
        let own = addresses::find(&context.store, network, &destination.address).await?.is_some();
        let listed = log.as_ref().and_then(|log| log.address_book().find(network, destination));
        kinds.push(Counterparty::of(own, listed, self_hosted));
    }
    let told = to_institutions(&order, &kinds);
    let demand = match &log {
        Some(log) if policy.is_some() => authorization::must_tell(context, log, transfer, &told).await?,
        _ => thresholds.map(|thresholds| thresholds.demand(&told)),
    };
    let nothing = Demand { asked: false, why: "neither policy nor configuration asks for it".into() };
    Ok((Assessment::of(&told, demand.unwrap_or(nothing)), kinds))
}

/// ASSESS.
fn assess(
    context: &Context,
    transfer: &Transfer,
    record: Option<&Record>,
    (assessment, counterparties): (Assessment, Vec<Counterparty>),
) -> Found {
    let round = record.map_or(0, |record| record.round);
    let (obligation, why, progress) = match assessment {
        Assessment::NotRequired { why } => ("NONE", why.clone(), Progress::NotRequired { reason: why }),
        Assessment::Unsupported { why } => ("EXCHANGE", why.clone(), Progress::Rejected { reason: why }),
        Assessment::Required { why, .. } => {
            let progress = ready(context, transfer, record, &why);
            ("EXCHANGE", why, progress)
        }
    };
    let same = record.is_some_and(|record| record.progress == progress);
    let payload = json!({
        "transferId": transfer.id,
        "obligation": obligation,
        "counterparties": counterparties,
        "why": why,
        "state": progress.state(),
        "round": round,
    });
    let mut told = vec![("travel_rule.assessed", payload)];
    if let Progress::Rejected { reason } = &progress {
        told.push(("travel_rule.verdict", verdict(transfer.id, round, "REJECTED", reason)));
    }
    let events = if same { Vec::new() } else { told };
    Found { round, attempts: 0, progress, events }
}

/// Whether what must be told is there.
fn ready(context: &Context, transfer: &Transfer, record: Option<&Record>, why: &str) -> Progress {
    let missing = |what: &str| Progress::DataMissing { reason: format!("{why}; missing: {what}") };
    let Some(rule) = &context.travel_rule else {
        return Progress::Unavailable { reason: NOT_CONFIGURED.into() };
    };
    match record.and_then(|record| record.sealed.as_ref()) {
        None => missing("originator, beneficiary (bursar travel-rule put)"),
        Some(sealed) => match rule.vault.open(transfer.id, sealed).map(|data| data.lacks()) {
            Err(error) => Progress::Unavailable { reason: error.to_string() },
            Ok(lacks) if lacks.is_empty() => {
                Progress::Pending { reference: None, failure: None, next_try: context.now() }
            }
            Ok(lacks) => missing(&lacks.join("; ")),
        },
    }
}

/// EXCHANGE. Writes nothing.
async fn exchange(
    context: &Context,
    rule: &TravelRule,
    transfer: &Transfer,
    record: &Record,
    payment: &Payment,
) -> Result<Found, StepError> {
    let Progress::Pending { reference, .. } = &record.progress else {
        // Only called for what is pending.
        return Err(MoveError::Stale.into());
    };
    let answer = ask(rule, transfer, record, payment).await?;
    let now = context.now();
    let (id, round) = (transfer.id, record.round);
    let outcome = outcome(&answer);
    metrics::counter!("bursar_travel_rule_exchanges_total", "outcome" => outcome).increment(1);
    let asked = ("travel_rule.exchanged", json!({ "transferId": id, "round": round, "outcome": outcome }));
    let ended = |progress: Progress, outcome, detail: &str| {
        let events = vec![asked.clone(), ("travel_rule.verdict", verdict(id, round, outcome, detail))];
        Found { round, attempts: record.attempts, progress, events }
    };
    Ok(match answer {
        Ok(ExchangeAnswer::Pending { reference: new, retry_after }) => {
            let new = Some(new);
            // Told once: polls of the same exchange would fill the log.
            let events = if *reference == new { Vec::new() } else { vec![asked] };
            let next_try = now.plus(retry_after.clamp(rule.settings.retry, MAX_PAUSE));
            let progress = Progress::Pending { reference: new, failure: None, next_try };
            Found { round, attempts: 0, progress, events }
        }
        Ok(ExchangeAnswer::Accepted { reference }) => {
            ended(Progress::Accepted { reference: reference.clone() }, "ACCEPTED", &reference)
        }
        Ok(ExchangeAnswer::Rejected { reference }) => {
            ended(Progress::Rejected { reason: refused(&reference) }, "REJECTED", &reference)
        }
        Err(failure) => {
            let attempts = record.attempts.saturating_add(1);
            if failure.is_transient() && attempts <= rule.settings.retries {
                let next_try = now.plus(rule.pause(attempts));
                let reference = reference.clone();
                let progress = Progress::Pending { reference, failure: Some(failure), next_try };
                return Ok(Found { round, attempts, progress, events: Vec::new() });
            }
            let reason = failure.to_string();
            let found = ended(Progress::Unavailable { reason: reason.clone() }, "UNAVAILABLE", &reason);
            Found { attempts, ..found }
        }
    })
}

async fn ask(
    rule: &TravelRule,
    transfer: &Transfer,
    record: &Record,
    payment: &Payment,
) -> Result<Result<ExchangeAnswer, NoExchange>, StepError> {
    let order = transfer.remaining()?;
    let refused = |why: &str| Ok(Err(NoExchange::Refused(why.into())));
    let Some(sealed) = &record.sealed else { return refused("there is no data") };
    let data = match rule.vault.open(transfer.id, sealed) {
        Ok(data) => data,
        Err(error) => return refused(&error.to_string()),
    };
    let message = TransferMessage {
        transfer: transfer.id,
        round: record.round,
        intent: transfer.intent.intent.digest(),
        network: order.network(),
        asset: order.asset,
        amount: payment.amount,
        destination: &payment.destination,
        ivms101: &data,
    };
    let answer = tokio::time::timeout(rule.settings.timeout, rule.exchange.exchange(&message)).await;
    Ok(answer.unwrap_or(Err(NoExchange::Timeout)).and_then(ExchangeAnswer::check))
}

const fn outcome(answer: &Result<ExchangeAnswer, NoExchange>) -> &'static str {
    match answer {
        Ok(ExchangeAnswer::Pending { .. }) => "PENDING",
        Ok(ExchangeAnswer::Accepted { .. }) => "ACCEPTED",
        Ok(ExchangeAnswer::Rejected { .. }) => "REJECTED",
        Err(NoExchange::Timeout) => "TIMEOUT",
        Err(NoExchange::Unavailable(_)) => "UNAVAILABLE",
        Err(NoExchange::Malformed(_)) => "MALFORMED",
        Err(NoExchange::Refused(_)) => "REFUSED",
    }
}

/// Of a refusal, for people. The other side's own words may name somebody, and are not kept.
fn refused(reference: &str) -> String {
    format!("the institution at the other end refuses it ({reference})")
}

fn verdict(transfer: TransferId, round: u32, outcome: &str, detail: &str) -> Value {
    json!({ "transferId": transfer, "round": round, "outcome": outcome, "detail": detail })
}

/// VERDICT: what was found, its events, and where it leaves the transfer, in one commit.
async fn settle(
    context: &Context,
    transfer: Transfer,
    before: Option<Record>,
    found: Found,
) -> Result<Step, StepError> {
    let now = context.now();
    let Found { round, attempts, progress, events } = found;
    let (fact, pause) = follows(context, &transfer, &progress, attempts, now);
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    let current = kept::get_in(&mut tx, transfer.id).await?;
    // Somebody handed in data, or noted an outcome, while the exchange was asked.
    if current != before {
        return Err(MoveError::Stale.into());
    }
    let unchanged = before.as_ref().is_some_and(|before| before.progress == progress);
    if !unchanged && !kept::put(&mut tx, transfer.id, round, attempts, &progress, now).await? {
        return Err(MoveError::Stale.into());
    }
    for (kind, payload) in &events {
        events::append(&mut tx, kind, Some(transfer.id), now, payload).await?;
    }
    let subject = CaseSubject::Transfer(transfer.id);
    match &fact {
        Fact::HeldForReview { sub_status, reason } => {
            let outage = *sub_status == SubStatus::TravelRuleUnavailable;
            let cause = if outage { Cause::Outage } else { Cause::Review };
            cases::open(&mut tx, CaseId::new(context.ids.uuid()), cause, &subject, reason, now).await?;
        }
        Fact::Waiting { .. } => {}
        _ => {
            let because = "the travel rule is done with";
            let causes = [Cause::Review, Cause::Outage];
            cases::close_about(&mut tx, &subject, &causes, cases::BURSAR, because, now).await?;
        }
    }
    if !transfer.already_says(&fact) {
        advance_in(&mut tx, transfer, fact, now).await?;
    }
    tx.commit().await?;
    Ok(pause.map_or(Step::Moved, Step::Wait))
}

fn follows(
    context: &Context,
    transfer: &Transfer,
    progress: &Progress,
    attempts: u32,
    now: Timestamp,
) -> (Fact, Option<Duration>) {
    let held =
        |sub_status, reason: &str| (Fact::HeldForReview { sub_status, reason: reason.to_owned() }, None);
    let manual = context.travel_rule.as_ref().is_some_and(|rule| rule.settings.manual);
    match progress {
        Progress::NotRequired { .. } | Progress::Accepted { .. } => {
            let screened = standing::asks_about(context, transfer);
            let sub_status = (!screened).then_some(SubStatus::NotScreened);
            (Fact::ScreeningPassed { sub_status }, None)
        }
        Progress::Rejected { reason } => {
            (Fact::Rejected { sub_status: Some(SubStatus::TravelRuleRejected), reason: reason.clone() }, None)
        }
        Progress::DataMissing { reason } => held(SubStatus::TravelRuleDataMissing, reason),
        Progress::Unavailable { reason } => held(SubStatus::TravelRuleUnavailable, reason),
        // Only what was not assessed is like this, and it is assessed before anything follows.
        Progress::Submitted => held(SubStatus::TravelRuleDataMissing, "not assessed yet"),
        Progress::Pending { reference: Some(_), .. } if manual => {
            let reason = "the data is there: tell the institution at the other end, and note what it says (bursar travel-rule outcome)";
            held(SubStatus::TravelRulePending, reason)
        }
        Progress::Pending { reference, failure, next_try } => {
            let reason = match (failure, reference) {
                (Some(failure), _) => format!("{failure}; asked again (attempt {attempts})"),
                (None, Some(reference)) => format!("the travel-rule exchange is under way ({reference})"),
                (None, None) => "the travel-rule exchange is asked next".to_owned(),
            };
            let wait = next_try.since(now);
            let pause = (!wait.is_zero()).then_some(wait);
            (Fact::Waiting { sub_status: SubStatus::TravelRulePending, reason }, pause)
        }
    }
}
