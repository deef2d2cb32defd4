//! The task that delivers: one process at a time leads it, and two that both believe to lead send a message twice and lose none.
//!
//! A round writes down what ended, moves endpoints on in the log, and begins what is due. Between sending and the commit of what ended a
//! process may die: then the message is due still, and goes out again under the same id.

use super::{
    Webhooks, governed,
    message::Message,
    schedule,
    send::{Answer, Outcome},
};
use crate::{context::Context, governance::GovernanceError};
use bursar_domain::time::Timestamp;
use bursar_store::{
    StoreError, WriteTx, events,
    webhooks::{
        self, Endpoint, EndpointId, Keep, Target,
        deliveries::{self, Attempt, Due, MAX_PENDING, Next},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Who delivers, among the processes that share a database.
const TASK: &str = "deliver webhooks";
/// Events that are looked at for one endpoint in one round.
const BATCH: usize = 200;
/// Tries at once, over all endpoints.
const MAX_RUNNING: usize = 64;
/// Rounds that something wakes are at least so far apart.
const PACE: Duration = Duration::from_millis(50);
const BETWEEN_SHOWS: Duration = Duration::from_secs(3);
const BETWEEN_PRUNES: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(10);
/// What cannot be signed for now is left alone for so long.
const HELD_FOR: Duration = Duration::from_secs(60);
/// An endpoint is disabled after so many failures in a row at least, however long it took.
const MIN_FAILURES: u32 = 10;

#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Governance(#[from] GovernanceError),
}

/// A try that ended.
struct Done {
    endpoint: EndpointId,
    sequence: i64,
    /// This one included.
    attempts: u32,
    tries: u32,
    began: Timestamp,
    answer: Answer,
    /// Where it went. What came of it says nothing of an endpoint that is elsewhere since.
    target: Target,
}

/// Delivers until it is told to stop; then writes down what ends soon.
pub async fn run(context: Context, webhooks: Arc<Webhooks>, stop: CancellationToken) {
    let mut deliverer = Deliverer::new(context, webhooks);
    while !stop.is_cancelled() {
        let notified = deliverer.context.store.events_notified();
        tokio::pin!(notified);
        let more = match deliverer.round().await {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot deliver webhooks; trying again"
                );
                false
            }
        };
        let (wanted, poll) = (deliverer.wanted, deliverer.webhooks.settings.poll);
        let rest = async {
            tokio::time::sleep(PACE).await;
            if !more {
                tokio::select! {
                    () = &mut notified, if wanted => {}
                    () = deliverer.one_ends() => {}
                    () = tokio::time::sleep(poll) => {}
                }
            }
        };
        tokio::select! { () = stop.cancelled() => {}, () = rest => {} }
    }
    if tokio::time::timeout(DRAINED_WITHIN, deliverer.settle()).await.is_err() {
        tracing::warn!("webhooks are still under way; they will be sent again");
    }
}

/// What one process knows of its deliveries. All of it is in the database, too, or found there again.
pub struct Deliverer {
    context: Context,
    webhooks: Arc<Webhooks>,
    running: JoinSet<Done>,
    /// What is under way, or ended and is not written down.
    begun: BTreeSet<(EndpointId, i64)>,
    ended: Vec<Done>,
    /// Up to where the log holds nothing for an endpoint that stands at the first number.
    scanned: BTreeMap<EndpointId, (i64, i64)>,
    pruned: Option<Timestamp>,
    shown: Option<Timestamp>,
    governed: governed::Followed,
    /// Whether anybody is to be told anything.
    wanted: bool,
}

impl Deliverer {
    pub fn new(context: Context, webhooks: Arc<Webhooks>) -> Self {
        Self {
            context,
            webhooks,
            running: JoinSet::new(),
            begun: BTreeSet::new(),
            ended: Vec::new(),
            scanned: BTreeMap::new(),
            pruned: None,
            shown: None,
            governed: governed::Followed::default(),
            wanted: false,
        }
    }

    /// One look at everything. Whether there is more to do at once.
    ///
    /// # Errors
    /// The database, or the governance log in it. What had ended is written down in a later round.
    pub async fn round(&mut self) -> Result<bool, DeliverError> {
        while let Some(done) = self.running.try_join_next() {
            self.take(done);
        }
        let leads = self.context.store.leads(TASK).await?;
        if leads {
            // Who is named already is told on, whatever stands against another.
            if let Err(error) = self.governed.follow(&self.context, self.webhooks.keys.name()).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "webhooks do not follow the governance log; trying again"
                );
            }
        }
        let endpoints = webhooks::list(&self.context.store).await?;
        let enabled: Vec<&Endpoint> =
            endpoints.iter().filter(|endpoint| leads && endpoint.disabled.is_none()).collect();
        self.wanted = !enabled.is_empty();
        let more = self.write(&enabled).await?;
        // With what was just written.
        if !enabled.is_empty() {
            let endpoints = webhooks::list(&self.context.store).await?;
            for endpoint in endpoints.iter().filter(|endpoint| endpoint.disabled.is_none()) {
                self.begin(endpoint).await?;
            }
        }
        if leads {
            self.show(&endpoints).await?;
            self.prune(&endpoints).await?;
        }
        Ok(more)
    }

    /// Until everything that is under way has ended and is written down.
    pub async fn settle(&mut self) {
        while !self.running.is_empty() {
            self.one_ends().await;
        }
        if let Err(error) = self.write(&[]).await {
            tracing::warn!(%error, "cannot write down what was delivered; it will be sent again");
        }
    }

    /// How many tries are under way, or ended and not written down.
    pub fn under_way(&self) -> usize {
        self.running.len() + self.ended.len()
    }

    /// Until a try has ended; for ever if there is none.
    async fn one_ends(&mut self) {
        match self.running.join_next().await {
            Some(done) => self.take(done),
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(done) => self.ended.push(done),
            // What it was stays begun until the next start, which tries it again.
            Err(error) => tracing::error!(%error, "a delivery broke off"),
        }
    }

    /// Writes down what ended, in one commit, and moves each of these endpoints on in the log, in one of its own, so that others write
    /// in between. Whether the log has more for them.
    async fn write(&mut self, enabled: &[&Endpoint]) -> Result<bool, DeliverError> {
        self.write_ended().await?;
        let mut more = false;
        for endpoint in enabled {
            let Some(Plan { endpoint, from, to, sequences }) = self.plan(endpoint).await? else { continue };
            let now = self.context.now();
            let mut tx = self.context.store.write().await?;
            deliveries::schedule(&mut tx, &endpoint, from, to, &sequences, now).await?;
            tx.commit().await?;
            more = true;
        }
        Ok(more)
    }

    async fn write_ended(&mut self) -> Result<(), DeliverError> {
        if self.ended.is_empty() {
            return Ok(());
        }
        let now = self.context.now();
        let mut tx = self.context.store.write().await?;
        for done in &self.ended {
            record(&mut tx, done, self.webhooks.settings.disable_after, now).await?;
        }
        tx.commit().await?;
        for Done { endpoint, sequence, answer, .. } in self.ended.drain(..) {
            metrics::counter!("bursar_webhook_deliveries_total", "outcome" => answer.outcome.name())
                .increment(1);
            self.begun.remove(&(endpoint, sequence));
        }
        Ok(())
    }

    /// What comes next in the log for an endpoint. Events that it does not want are passed without a word until there are many.
    async fn plan(&mut self, endpoint: &Endpoint) -> Result<Option<Plan>, StoreError> {
        let store = &self.context.store;
        let room = MAX_PENDING.saturating_sub(deliveries::pending(store, &endpoint.id).await?).min(BATCH);
        if room == 0 {
            return Ok(None);
        }
        let scanned = self.scanned.get(&endpoint.id).filter(|(position, _)| *position == endpoint.position);
        let from = scanned.map_or(endpoint.position, |(_, upto)| *upto);
        let events = events::after(store, from, u32::try_from(room).unwrap_or(u32::MAX)).await?;
        let Some(last) = events.last() else { return Ok(None) };
        let wanted = events.iter().filter(|event| endpoint.target.wants(&event.kind));
        let sequences: Vec<i64> = wanted.map(|event| event.sequence).collect();
        let to = last.sequence;
        if sequences.is_empty() && to - endpoint.position < BATCH as i64 {
            self.scanned.insert(endpoint.id.clone(), (endpoint.position, to));
            return Ok(None);
        }
        Ok(Some(Plan { endpoint: endpoint.id.clone(), from: endpoint.position, to, sequences }))
    }

    /// Begins what is due, as far as the endpoint may be asked now.
    async fn begin(&mut self, endpoint: &Endpoint) -> Result<(), StoreError> {
        let now = self.context.now();
        // A rest that lies further ahead than any was set by another clock.
        let rests = endpoint.rests_until > now && endpoint.rests_until <= schedule::rest(u32::MAX, now);
        if rests {
            return Ok(());
        }
        let parallel = match endpoint.failures >= schedule::TROUBLED {
            true => 1,
            false => self.webhooks.settings.parallel,
        };
        let under_way = self.begun.iter().filter(|(id, _)| *id == endpoint.id).count();
        let free = parallel.saturating_sub(under_way).min(MAX_RUNNING.saturating_sub(self.running.len()));
        if free == 0 {
            return Ok(());
        }
        let due = deliveries::due(&self.context.store, &endpoint.id, now, free + under_way).await?;
        let fresh = due.into_iter().filter(|due| {
            let key = (endpoint.id.clone(), due.event.sequence);
            !self.begun.contains(&key)
        });
        for due in fresh.take(free).collect::<Vec<_>>() {
            self.begun.insert((endpoint.id.clone(), due.event.sequence));
            self.running.spawn(attempt(Arc::clone(&self.webhooks), endpoint.clone(), due, now));
        }
        Ok(())
    }

    /// What people watch.
    async fn show(&mut self, endpoints: &[Endpoint]) -> Result<(), StoreError> {
        let now = self.context.now();
        if self.shown.is_some_and(|at| now.since(at) < BETWEEN_SHOWS && at <= now) {
            return Ok(());
        }
        self.shown = Some(now);
        let mut oldest = Duration::ZERO;
        for endpoint in endpoints {
            let waits = deliveries::oldest(&self.context.store, &endpoint.id).await?;
            oldest = oldest.max(waits.map_or(Duration::ZERO, |at| now.since(at)));
        }
        let disabled = endpoints.iter().filter(|endpoint| endpoint.disabled.is_some()).count();
        metrics::gauge!("bursar_webhook_oldest_undelivered_seconds").set(oldest.as_secs_f64());
        metrics::gauge!("bursar_webhooks_disabled").set(disabled as f64);
        metrics::gauge!("bursar_webhooks").set(endpoints.len() as f64);
        Ok(())
    }

    /// Takes away a step of what is kept no longer.
    async fn prune(&mut self, endpoints: &[Endpoint]) -> Result<(), StoreError> {
        let now = self.context.now();
        let rested = self.pruned.is_none_or(|at| now.since(at) >= BETWEEN_PRUNES || at > now);
        if !rested || (endpoints.is_empty() && self.pruned.is_some()) {
            return Ok(());
        }
        let kept = i64::try_from(self.webhooks.settings.keep.as_micros()).unwrap_or(i64::MAX);
        let since = Timestamp(now.micros().saturating_sub(kept));
        let keep = Keep { since, events: self.webhooks.settings.keep_events };
        let mut tx = self.context.store.write().await?;
        let gone = webhooks::prune(&mut tx, keep).await?;
        tx.commit().await?;
        // There may be more.
        self.pruned = (gone == 0).then_some(now);
        Ok(())
    }
}

struct Plan {
    endpoint: EndpointId,
    from: i64,
    to: i64,
    sequences: Vec<i64>,
}

async fn attempt(webhooks: Arc<Webhooks>, endpoint: Endpoint, due: Due, began: Timestamp) -> Done {
    let message = Message::of_event(&endpoint.id, &due.event);
    let answer = webhooks.send(&endpoint, &message, began).await;
    Done {
        endpoint: endpoint.id,
        target: endpoint.target,
        sequence: due.event.sequence,
        attempts: due.attempts.saturating_add(1),
        tries: due.tries.saturating_add(1),
        began,
        answer,
    }
}

/// What a try says of its message, and of its endpoint.
async fn record(
    tx: &mut WriteTx,
    done: &Done,
    disable_after: Duration,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Done { endpoint: id, sequence, attempts, tries, began, answer, target } = done;
    let next = match answer.outcome {
        Outcome::Delivered => Next::Delivered,
        // The fault is ours: no try of its schedule is used up, and the message waits until that is put right.
        Outcome::NotSigned => Next::Again(now.plus(HELD_FOR)),
        _ => schedule::after_failure(id, *sequence, *tries, now),
    };
    let attempt = Attempt {
        attempt: *attempts,
        at: *began,
        outcome: answer.outcome.name().into(),
        status: answer.status,
        answer: answer.text.clone(),
        took_ms: u32::try_from(answer.took.as_millis()).unwrap_or(u32::MAX),
    };
    if !deliveries::record(tx, id, *sequence, &attempt, next).await? {
        return Ok(());
    }
    let Some(endpoint) = webhooks::get_in(tx, id).await?.filter(|now| now.target == *target) else {
        return Ok(());
    };
    if answer.outcome == Outcome::Delivered {
        return deliveries::went_well(tx, id, now).await;
    }
    if answer.outcome == Outcome::NotSigned {
        tracing::error!(webhook = %id, why = answer.text, "nothing can be sent to this endpoint");
        return Ok(());
    }
    let failures = endpoint.failures.saturating_add(1);
    deliveries::failed(tx, id, schedule::rest(failures, now), now).await?;
    if next == Next::GivenUp {
        tracing::error!(webhook = %id, sequence, "given up: every try failed; it can be asked for again");
    }
    let failing = endpoint.failing_since.map_or(Duration::ZERO, |since| now.since(since));
    let reason = if answer.outcome == Outcome::Gone {
        "its receiver answered 410 Gone: it wants nothing more".to_owned()
    } else if failures >= MIN_FAILURES && failing >= disable_after {
        format!("{failures} tries in a row failed over {} hours", failing.as_secs() / 3600)
    } else {
        return Ok(());
    };
    if webhooks::disable(tx, id, &reason, now).await? {
        tracing::error!(webhook = %id, reason, "webhook disabled; `bursar webhooks enable` goes on where it stopped");
    }
    Ok(())
}
