//! The chain over the event log, and co-signers who sign it: what was edited in the database, put back, or told differently.

use bursar_domain::{
    audit::{
        ContentDigest, Entry, Place,
        checkpoint::{
            Checkpoint, CheckpointAnswer, CheckpointRequest, CheckpointSignature, MAX_STEP, NotSigned,
            SignCheckpoints, follows,
        },
        record::{CheckpointRecord, EntryRecord, FORMAT, Record},
        verify::{Broken, Fault, Keys, Report, Verifier, Where},
    },
    governance::log::EntryDigest,
    signing::PartyIndex,
    time::{Clock, Timestamp},
};
use bursar_store::{Store, audit_log, events};
use bursar_workers::{
    checkpoints::{CheckpointError, Checkpoints, Settings},
    sealer,
};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

struct TestClock(AtomicI64);
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Two co-signers, each with its memory, which decide as real ones do.
#[derive(Default)]
struct Parties {
    last: Mutex<BTreeMap<PartyIndex, Checkpoint>>,
    /// Whose answers are lost after they have signed.
    deaf: Mutex<Option<PartyIndex>>,
    asked: Mutex<Vec<CheckpointRequest>>,
}

fn key(party: PartyIndex) -> SigningKey {
    SigningKey::from_bytes(&[u8::try_from(party.0).unwrap() + 1; 32])
}

const ZERO: PartyIndex = PartyIndex(0);
const ONE: PartyIndex = PartyIndex(1);

#[async_trait::async_trait]
impl SignCheckpoints for Parties {
    fn online(&self) -> Vec<PartyIndex> {
        vec![ZERO, ONE]
    }
    async fn ask(&self, party: PartyIndex, request: CheckpointRequest) -> Result<CheckpointAnswer, String> {
        self.asked.lock().unwrap().push(request.clone());
        let mut last = self.last.lock().unwrap();
        let checkpoint = request.checkpoint;
        match follows(&request, last.get(&party), None, checkpoint.at) {
            Ok(()) => {}
            Err(NotSigned::From(place)) => return Ok(CheckpointAnswer::From(Some(place))),
            Err(refused) => return Ok(CheckpointAnswer::Refused(refused.to_string())),
        }
        last.insert(party, checkpoint);
        if *self.deaf.lock().unwrap() == Some(party) {
            return Err("lost".into());
        }
        Ok(CheckpointAnswer::Signed(CheckpointSignature {
            party,
            public_key: key(party).verifying_key().to_bytes(),
            signature: key(party).sign(&checkpoint.digest()).to_bytes(),
        }))
    }
}

struct Desk {
    store: Store,
    parties: Arc<Parties>,
    clock: Arc<TestClock>,
}

impl Desk {
    async fn new() -> Self {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(1_000_000_000)));
        Self { store, parties: Arc::default(), clock }
    }

    fn checkpoints(&self, entries: u64) -> Checkpoints {
        Checkpoints {
            store: self.store.clone(),
            cosigners: self.parties.clone(),
            clock: self.clock.clone(),
            desk: EntryDigest::NONE,
            settings: Settings { entries, interval: Duration::from_secs(600) },
        }
    }

    async fn happen(&self, count: u64) {
        self.happen_unsealed(count).await;
        sealer::seal(&self.store).await.unwrap();
    }

    async fn happen_unsealed(&self, count: u64) {
        let mut tx = self.store.write().await.unwrap();
        for number in 0..count {
            events::append(&mut tx, "test", None, Timestamp(1), &json!({ "number": number })).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// An entry whose seal is of other words, as if its row had been edited since.
    async fn happen_and_be_edited(&self) {
        let mut tx = self.store.write().await.unwrap();
        events::append(&mut tx, "test", None, Timestamp(1), &json!({ "edited": true })).await.unwrap();
        let last = audit_log::last_seal(&self.store).await.unwrap();
        let sequence = last.sequence + 1;
        let place = Place { sequence, hash: last.hash.then(sequence, ContentDigest([7; 32])) };
        assert!(audit_log::seal(&mut tx, last, &[place]).await.unwrap());
        tx.commit().await.unwrap();
    }

    async fn export(&self) -> Vec<Record> {
        let mut records = vec![Record::Header {
            format: FORMAT,
            desk: EntryDigest::NONE,
            after: Place::START,
            exported_at: Timestamp(1),
        }];
        let entries: Vec<Entry> = audit_log::entries(&self.store, 0, 100_000).await.unwrap();
        let places = audit_log::seals(&self.store, 0, 100_000).await.unwrap();
        let checkpoints = audit_log::checkpoints(&self.store, 0, 1_000).await.unwrap();
        for place in &places {
            if let Some(entry) = entries.iter().find(|entry| entry.sequence == place.sequence) {
                records.push(Record::Entry(EntryRecord::new(entry.clone(), place.hash, None)));
            }
            if let Some(one) = checkpoints.iter().find(|one| one.checkpoint.sequence == place.sequence) {
                let (checkpoint, signatures) = (one.checkpoint, one.signatures.clone());
                records.push(Record::Checkpoint(CheckpointRecord { checkpoint, signatures }));
            }
        }
        records.push(Record::End { last: places.last().copied().unwrap_or(Place::START) });
        records
    }

    async fn verify(&self) -> Result<Report, Broken> {
        let parties = [ZERO, ONE].map(|party| (party, key(party).verifying_key().to_bytes()));
        let keys = Keys { parties: parties.into(), threshold: 2, genesis: None };
        let mut verifier = Verifier::new(keys);
        for record in self.export().await {
            verifier.line(&serde_json::to_string(&record).unwrap())?;
        }
        verifier.finish()
    }
}

#[tokio::test]
async fn co_signers__should_sign_what_follows_and_the_file_should_say_so() {
    let desk = Desk::new().await;
    let checkpoints = desk.checkpoints(5);
    assert_eq!(checkpoints.plan().await.unwrap(), None);
    desk.happen(3).await;
    // The first at once.
    let first = checkpoints.plan().await.unwrap().unwrap();
    assert_eq!(first.sequence, 3);
    assert_eq!((checkpoints.ask(ZERO).await.unwrap(), checkpoints.ask(ONE).await.unwrap()), (1, 1));
    assert_eq!(checkpoints.ask(ZERO).await.unwrap(), 0);
    // The next after so many entries,
    desk.happen(4).await;
    assert_eq!(checkpoints.plan().await.unwrap(), None);
    desk.happen(1).await;
    assert_eq!(checkpoints.plan().await.unwrap().map(|one| one.sequence), Some(8));
    // or so long.
    desk.happen(1).await;
    assert_eq!(checkpoints.plan().await.unwrap(), None);
    desk.clock.0.fetch_add(600_000_000, Ordering::SeqCst);
    assert_eq!(checkpoints.plan().await.unwrap().map(|one| one.sequence), Some(9));
    assert_eq!(checkpoints.plan().await.unwrap(), None);
    // Who was away is shown all of it at once.
    assert_eq!(checkpoints.ask(ONE).await.unwrap(), 1);
    assert_eq!(desk.parties.asked.lock().unwrap().last().unwrap().digests.len(), 6);
    let report = desk.verify().await.unwrap();
    assert_eq!((report.confirmed.map(|one| one.sequence), report.unsigned), (Some(3), 6));
    assert_eq!(checkpoints.ask(ZERO).await.unwrap(), 1);
    let report = desk.verify().await.unwrap();
    assert_eq!((report.confirmed.map(|one| one.sequence), report.unsigned), (Some(9), 0));
}

#[tokio::test]
async fn answer_that_was_lost__should_be_given_again() {
    let desk = Desk::new().await;
    let checkpoints = desk.checkpoints(1);
    desk.happen(2).await;
    checkpoints.plan().await.unwrap();
    *desk.parties.deaf.lock().unwrap() = Some(ZERO);
    let lost = checkpoints.ask(ZERO).await.unwrap_err();
    assert!(matches!(lost, CheckpointError::NoAnswer { .. }), "{lost}");
    *desk.parties.deaf.lock().unwrap() = None;
    assert_eq!(checkpoints.ask(ZERO).await.unwrap(), 1);
    // Lost, and then there is a later one.
    desk.happen(1).await;
    checkpoints.plan().await.unwrap();
    *desk.parties.deaf.lock().unwrap() = Some(ZERO);
    checkpoints.ask(ZERO).await.unwrap_err();
    *desk.parties.deaf.lock().unwrap() = None;
    desk.happen(2).await;
    checkpoints.plan().await.unwrap();
    assert_eq!(checkpoints.ask(ZERO).await.unwrap(), 1);
    assert_eq!(audit_log::signed_by(&desk.store, ZERO).await.unwrap().unwrap().sequence, 5);
}

#[tokio::test]
async fn party_far_behind__should_catch_up_in_steps() {
    let desk = Desk::new().await;
    let checkpoints = desk.checkpoints(MAX_STEP);
    desk.happen(1).await;
    checkpoints.plan().await.unwrap();
    assert_eq!(checkpoints.ask(ZERO).await.unwrap(), 1);
    desk.happen(MAX_STEP + 10).await;
    let steps: Vec<u64> = [checkpoints.plan().await, checkpoints.plan().await]
        .map(|plan| plan.unwrap().map_or(0, |one| one.sequence))
        .into();
    // The rest is not due yet.
    assert_eq!(steps, [MAX_STEP + 1, 0]);
    desk.clock.0.fetch_add(600_000_000, Ordering::SeqCst);
    assert_eq!(checkpoints.plan().await.unwrap().map(|one| one.sequence), Some(MAX_STEP + 11));
    assert_eq!(checkpoints.ask(ZERO).await.unwrap(), 2);
    // Who has signed none takes the newest at its word.
    assert_eq!(checkpoints.ask(ONE).await.unwrap(), 1);
    let report = desk.verify().await.unwrap();
    assert_eq!(report.confirmed.map(|one| one.sequence), Some(MAX_STEP + 11));
}

#[tokio::test]
async fn row_that_was_edited__should_not_be_proposed_and_be_named() {
    let desk = Desk::new().await;
    let checkpoints = desk.checkpoints(1);
    desk.happen(3).await;
    checkpoints.plan().await.unwrap();
    assert_eq!((checkpoints.ask(ZERO).await.unwrap(), checkpoints.ask(ONE).await.unwrap()), (1, 1));
    desk.happen(2).await;
    desk.happen_and_be_edited().await;
    desk.happen(2).await;
    checkpoints.plan().await.unwrap();
    let asked = desk.parties.asked.lock().unwrap().len();
    let changed = checkpoints.ask(ZERO).await.unwrap_err();
    assert!(matches!(changed, CheckpointError::Changed { sequence: 6 }), "{changed}");
    assert_eq!(desk.parties.asked.lock().unwrap().len(), asked);
    let broken = desk.verify().await.unwrap_err();
    assert_eq!(broken, Broken { place: Where::Entry { sequence: 6 }, fault: Fault::Changed });
}

#[tokio::test]
async fn log_that_was_put_back__should_be_told_by_who_remembers() {
    let (first, second) = (Desk::new().await, Desk::new().await);
    first.happen(5).await;
    first.checkpoints(1).plan().await.unwrap();
    first.checkpoints(1).ask(ZERO).await.unwrap();
    // Another history under the same co-signers: as long, longer, and shorter than theirs.
    let last = *first.parties.last.lock().unwrap().get(&ZERO).unwrap();
    second.parties.last.lock().unwrap().insert(ZERO, last);
    let checkpoints = second.checkpoints(1);
    second.happen(2).await;
    checkpoints.plan().await.unwrap();
    let shorter = checkpoints.ask(ZERO).await.unwrap_err();
    assert!(
        matches!(&shorter, CheckpointError::Refused { reason, .. } if reason.contains("up to entry 5")),
        "{shorter}"
    );
    second.happen(3).await;
    // The first three were written together there: the same words.
    checkpoints.plan().await.unwrap();
    let other = checkpoints.ask(ZERO).await.unwrap_err();
    assert!(
        matches!(&other, CheckpointError::Refused { reason, .. } if reason.contains("another history")),
        "{other}"
    );
    second.happen(4).await;
    checkpoints.plan().await.unwrap();
    let longer = checkpoints.ask(ZERO).await.unwrap_err();
    assert!(
        matches!(longer, CheckpointError::OtherHistory { place, .. } if place == last.place()),
        "{longer}"
    );
}

#[tokio::test]
async fn events_of_several_writers__should_be_sealed_once_each() {
    let desk = Desk::new().await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = desk.store.clone();
        writers.spawn(async move {
            for _ in 0..10 {
                let mut tx = store.write().await.unwrap();
                events::append(&mut tx, "test", None, Timestamp(1), &json!({})).await.unwrap();
                tx.commit().await.unwrap();
                sealer::seal(&store).await.unwrap();
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    sealer::seal(&desk.store).await.unwrap();
    let report = desk.verify().await.unwrap();
    assert_eq!((report.entries, report.last.sequence, report.confirmed), (40, 40, None));
}

#[tokio::test]
async fn a_long_log_without_seals__should_not_hold_up_the_end_of_a_process() {
    let desk = Desk::new().await;
    desk.happen_unsealed(5_000).await;
    let stopped = CancellationToken::new();
    stopped.cancel();
    sealer::run(desk.store.clone(), stopped).await;
    let sealed = audit_log::last_seal(&desk.store).await.unwrap().sequence;
    assert!(sealed < 5_000, "all {sealed} were sealed after the order to stop");

    assert_eq!(sealer::seal(&desk.store).await.unwrap(), 5_000 - sealed);
}
