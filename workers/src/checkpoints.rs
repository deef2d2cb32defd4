//! Has co-signers sign the audit's chain from time to time.
//!
//! Each is shown the chain from the last checkpoint that it signed, so that all it signs is one history. Before that, what the log says
//! now is held against its seals: rows that were edited since are told here, and are not proposed.

use bursar_domain::{
    audit::{
        ContentDigest, Place,
        checkpoint::{
            Checkpoint, CheckpointAnswer, CheckpointRequest, CheckpointSignature, MAX_STEP, SignCheckpoints,
        },
    },
    governance::log::EntryDigest,
    signing::PartyIndex,
    time::{Clock, Timestamp},
};
use bursar_store::{Store, StoreError, audit_log};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// When there is a new checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// After so many entries, at most [`MAX_STEP`].
    pub entries: u64,
    /// After so long, if there is any new entry.
    pub interval: Duration,
}

pub struct Checkpoints {
    pub store: Store,
    pub cosigners: Arc<dyn SignCheckpoints>,
    pub clock: Arc<dyn Clock>,
    /// The governance log's first entry; [`EntryDigest::NONE`] where nothing is governed.
    pub desk: EntryDigest,
    pub settings: Settings,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the event log was changed: entry {sequence} is not what was sealed. Keep the database; `bursar audit export` and `bursar audit \
         verify` tell more"
    )]
    Changed { sequence: u64 },
    #[error("party {party} does not sign the checkpoint at entry {sequence}: {reason}")]
    Refused { party: PartyIndex, sequence: u64, reason: String },
    #[error("party {party}: {reason}")]
    NoAnswer { party: PartyIndex, reason: String },
    #[error(
        "party {party} has signed entry {} with the hash {}, which is not in this log: the database was put back to an older copy, or \
         changed", .place.sequence, .place.hash
    )]
    OtherHistory { party: PartyIndex, place: Place },
    #[error("party {party}: its signature is not good")]
    Forged { party: PartyIndex },
}

/// How often it is looked whether there is something to do.
const LOOK: Duration = Duration::from_secs(5);
/// A party that is behind catches up within one round, up to so many messages.
const MESSAGES: usize = 100;
const CHUNK: u32 = 1_000;

impl Checkpoints {
    pub async fn run(self, stop: CancellationToken) {
        loop {
            match self.plan().await {
                Ok(_) => {
                    for party in self.cosigners.online() {
                        let asked = self.ask(party).await;
                        let broken = matches!(
                            asked,
                            Err(CheckpointError::Changed { .. } | CheckpointError::OtherHistory { .. })
                        );
                        metrics::gauge!("bursar_audit_broken", "party" => party.to_string())
                            .set(f64::from(u8::from(broken)));
                        match asked {
                            Ok(_) => {}
                            Err(error) if broken => tracing::error!(%error, "ALARM: audit"),
                            Err(error) => tracing::warn!(%error, "an audit checkpoint was not signed"),
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "no audit checkpoint can be made; trying again"),
            }
            tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(LOOK) => {} }
        }
    }

    /// Makes a checkpoint if one is due.
    pub async fn plan(&self) -> Result<Option<Checkpoint>, StoreError> {
        let (sealed, now) = (audit_log::last_seal(&self.store).await?, self.clock.now());
        let before = audit_log::checkpoint_up_to(&self.store, u64::MAX).await?;
        let due = before.map_or(sealed.sequence > 0, |before| {
            let new = sealed.sequence.saturating_sub(before.sequence);
            new >= self.entries() || (new > 0 && now.since(before.at) >= self.settings.interval)
        });
        if !due {
            return Ok(None);
        }
        // No two are further apart than a co-signer takes; the rest follows in the next round.
        let furthest = before.map_or(u64::MAX, |before| before.sequence.saturating_add(MAX_STEP));
        let place = match sealed.sequence <= furthest {
            true => Some(sealed),
            false => audit_log::seal_of(&self.store, furthest).await?,
        };
        let Some(Place { sequence, hash }) = place else { return Ok(None) };
        let at = before.map_or(now, |before| now.max(before.at));
        let checkpoint = Checkpoint { desk: self.desk, sequence, hash, at };
        let mut tx = self.store.write().await?;
        let new = audit_log::insert_checkpoint(&mut tx, &checkpoint).await?;
        tx.commit().await?;
        Ok(new.then_some(checkpoint))
    }

    fn entries(&self) -> u64 {
        self.settings.entries.clamp(1, MAX_STEP)
    }

    /// Has one party sign up to the newest checkpoint. Gives how many it signed.
    pub async fn ask(&self, party: PartyIndex) -> Result<u64, CheckpointError> {
        let signed = audit_log::signed_by(&self.store, party).await?;
        let mut last = signed.map(|checkpoint| checkpoint.place());
        let mut count = 0;
        for _ in 0..MESSAGES {
            let Some(checkpoint) = self.next(last).await? else { break };
            let digests = match last {
                Some(last) => self.digests(last, checkpoint.place()).await?,
                None => Vec::new(),
            };
            let sequence = checkpoint.sequence;
            let answer = self.cosigners.ask(party, CheckpointRequest { checkpoint, digests }).await;
            match answer.map_err(|reason| CheckpointError::NoAnswer { party, reason })? {
                CheckpointAnswer::Signed(signature) => {
                    if signature.party != party || !signature.verifies(&checkpoint) {
                        return Err(CheckpointError::Forged { party });
                    }
                    self.keep(sequence, &signature, self.clock.now()).await?;
                    last = Some(checkpoint.place());
                    count += 1;
                }
                // It remembers another place than we do: an answer was lost, or it was made anew.
                CheckpointAnswer::From(from) if from != last => {
                    if let Some(place) = from
                        && audit_log::seal_of(&self.store, place.sequence).await? != Some(place)
                    {
                        return Err(CheckpointError::OtherHistory { party, place });
                    }
                    last = from;
                }
                CheckpointAnswer::From(_) => {
                    let reason = "it wants what it was shown".to_owned();
                    return Err(CheckpointError::Refused { party, sequence, reason });
                }
                CheckpointAnswer::Refused(reason) => {
                    return Err(CheckpointError::Refused { party, sequence, reason });
                }
            }
        }
        Ok(count)
    }

    /// The furthest checkpoint that can be shown to follow `last`; for who has signed none, the newest.
    async fn next(&self, last: Option<Place>) -> Result<Option<Checkpoint>, StoreError> {
        let from = last.map_or(0, |last| last.sequence);
        let furthest = last.map_or(u64::MAX, |last| last.sequence.saturating_add(MAX_STEP));
        let next = audit_log::checkpoint_up_to(&self.store, furthest).await?;
        Ok(next.filter(|next| next.sequence > from))
    }

    /// What the entries between two places say now.
    async fn digests(&self, from: Place, to: Place) -> Result<Vec<ContentDigest>, CheckpointError> {
        let mut digests = Vec::new();
        let mut place = from;
        while place.sequence < to.sequence {
            let entries = audit_log::entries(&self.store, place.sequence, CHUNK).await?;
            let seals = audit_log::seals(&self.store, place.sequence, CHUNK).await?;
            if entries.is_empty() {
                return Err(CheckpointError::Changed { sequence: place.sequence.saturating_add(1) });
            }
            for (index, entry) in entries.iter().enumerate() {
                let digest = entry.digest();
                place = place.next(digest);
                if entry.sequence != place.sequence || seals.get(index) != Some(&place) {
                    return Err(CheckpointError::Changed { sequence: place.sequence });
                }
                digests.push(digest);
                if place.sequence == to.sequence {
                    break;
                }
            }
        }
        if place == to { Ok(digests) } else { Err(CheckpointError::Changed { sequence: to.sequence }) }
    }

    async fn keep(
        &self,
        sequence: u64,
        signature: &CheckpointSignature,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        audit_log::insert_signature(&mut tx, sequence, signature, now).await?;
        tx.commit().await
    }
}
