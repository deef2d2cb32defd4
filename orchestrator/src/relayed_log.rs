//! The governance log on its way to the co-signers, and what they say of theirs.
//!
//! A co-signer counts delays from when it first sees an entry, so it is told as soon as there is one. What it says of its own log is
//! believed as far as it proves it: an entry that its people signed for a place of ours shows that there are two logs.

use bursar_domain::{
    governance::{
        log::{Entry, EntryDigest},
        state::State,
    },
    intent::SignedIntent,
    time::Timestamp,
};
use bursar_signer_client::{Contradiction, Coordinator, GovernanceEntries, PartyStatus};
use bursar_store::{Store, StoreError, events, governance as kept};
use bursar_workers::{
    Context,
    governance::{Objections, Witnesses},
    orders::{self, ShowOrders},
};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long an entry that another process wrote may take to be announced, where this one is not told of it (on SQLite).
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks, however much happens.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the logs of all co-signers are compared with ours although nothing was said.
const LEVEL: Duration = Duration::from_secs(30);
/// Between two proofs that are looked at: each means to replay the log.
const PROOF: Duration = Duration::from_secs(1);
/// Entries that are read at once.
const PAGE: u32 = 256;
/// Proofs that are told of; there is nothing new in more.
const MAX_TOLD: usize = 100;

struct StoredLog(Store);

#[async_trait::async_trait]
impl GovernanceEntries for StoredLog {
    async fn entries(&self, from: u64) -> Result<Vec<Entry>, String> {
        let stored = kept::entries(&self.0, from, PAGE).await.map_err(|error| error.to_string())?;
        Ok(stored.into_iter().map(|stored| stored.entry).collect())
    }
}

struct Cosigners(Coordinator);

impl ShowOrders for Cosigners {
    fn show(&self, order: &SignedIntent) {
        self.0.show(order);
    }
}

impl Witnesses for Cosigners {
    fn objections(&self) -> Objections {
        let linked = self.0.status().into_iter().filter(|one| one.online);
        let says = |one: PartyStatus| Some((one.name, one.log?.standing?));
        let said: Vec<_> = linked.filter_map(says).collect();
        let asked = said.len();
        let objects = said.into_iter().filter(|(_, standing)| standing.objects());
        Objections { parties: objects.map(|(name, _)| name).collect(), asked }
    }
}

/// Gives co-signers the log, tells them of what is new and of the orders that wait, and hears what they say, until `stop`.
pub async fn run(coordinator: Coordinator, context: Context, stop: CancellationToken) {
    if let Some(governance) = &context.governance {
        governance.witnessed_by(Arc::new(Cosigners(coordinator.clone())));
    }
    tokio::join!(
        announce(&coordinator, &context.store, &stop),
        hear(&coordinator, &context, &stop),
        orders::run(context.clone(), Cosigners(coordinator.clone()), stop.clone()),
    );
}

async fn announce(coordinator: &Coordinator, store: &Store, stop: &CancellationToken) {
    let log = Arc::new(StoredLog(store.clone()));
    coordinator.serve_governance(log.clone());
    let mut next: Option<u64> = None;
    let mut level = tokio::time::interval(LEVEL);
    while !stop.is_cancelled() {
        let notified = store.events_notified();
        let looked = match next {
            Some(next) => log.entries(next).await,
            // What is there at the start they are sent with their links.
            None => kept::head(store).await.map_err(|error| error.to_string()).map(|head| {
                next = Some(head.map_or(0, |head| head.seq.saturating_add(1)));
                Vec::new()
            }),
        };
        match looked {
            Ok(entries) if entries.is_empty() => {}
            Ok(entries) => {
                next = next.map(|next| next.saturating_add(entries.len() as u64));
                coordinator.announce(entries);
                continue;
            }
            Err(error) => tracing::warn!(error, "the governance log cannot be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = notified => {}
            () = tokio::time::sleep(LOOK) => {}
            _ = level.tick() => coordinator.level(),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Raises the alarm for two logs, if a co-signer proves it.
async fn hear(coordinator: &Coordinator, context: &Context, stop: &CancellationToken) {
    let mut heard = coordinator.contradictions();
    let mut told: BTreeSet<EntryDigest> = BTreeSet::new();
    loop {
        let contradiction = tokio::select! {
            () = stop.cancelled() => return,
            heard = heard.recv() => match heard { Some(heard) => heard, None => return },
        };
        let theirs = contradiction.entry.digest();
        if told.len() >= MAX_TOLD || told.contains(&theirs) {
            continue;
        }
        match tell(context, &contradiction).await {
            Ok(true) => drop(told.insert(theirs)),
            Ok(false) => {
                tracing::warn!(party = %contradiction.party, "what a co-signer says contradicts the governance log proves nothing");
            }
            Err(error) => tracing::warn!(%error, "what a co-signer says of its log could not be looked at"),
        }
        tokio::time::sleep(PROOF).await;
    }
}

/// Writes the event, if the entry was signed for a place of ours by people who could at that time.
async fn tell(context: &Context, Contradiction { party, entry }: &Contradiction) -> Result<bool, StoreError> {
    let Some(governance) = &context.governance else { return Ok(false) };
    let now = context.now();
    let Some(ours) = proven(&context.store, governance.genesis(), entry, now).await? else {
        return Ok(false);
    };
    let (theirs, seq) = (entry.digest(), ours.0);
    tracing::error!(
        %party, seq, ours = %ours.1, %theirs,
        "ALARM: there are two governance logs, both signed by the desk's people; see docs/governance.md, \"Two logs\""
    );
    metrics::counter!("bursar_governance_forks_total", "party" => party.to_string()).increment(1);
    let payload = json!({ "party": party, "seq": seq, "digest": ours.1, "theirs": theirs });
    let mut tx = context.store.write().await?;
    events::append(&mut tx, "governance.forked", None, now, &payload).await?;
    tx.commit().await?;
    Ok(true)
}

/// Place and digest of our entry, if the other one was signed for it as properly.
async fn proven(
    store: &Store,
    genesis: EntryDigest,
    other: &Entry,
    now: Timestamp,
) -> Result<Option<(u64, EntryDigest)>, StoreError> {
    let Some(seq) = other.read().ok().map(|document| document.seq).filter(|seq| *seq > 0) else {
        return Ok(None);
    };
    let Some(ours) = kept::entries(store, seq, 1).await?.into_iter().next() else { return Ok(None) };
    if ours.seq != seq || ours.digest == other.digest() {
        return Ok(None);
    }
    let mut before = Vec::new();
    while (before.len() as u64) < seq {
        let page = kept::entries(store, before.len() as u64, PAGE).await?;
        if page.is_empty() {
            return Ok(None);
        }
        before.extend(page.into_iter().filter(|stored| stored.seq < seq));
    }
    let state = State::replay(genesis, before.iter().map(|stored| (&stored.entry, stored.seen_at)));
    let signed = state.is_ok_and(|state| state.check(other, now).is_ok());
    Ok(signed.then_some((seq, ours.digest)))
}

#[cfg(test)]
mod tests;
