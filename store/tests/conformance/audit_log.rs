use crate::fixtures::*;
use bursar_domain::{
    audit::{
        ChainHash, Place,
        act::{Act, Actor, Origin},
        checkpoint::{Checkpoint, CheckpointSignature},
    },
    governance::log::EntryDigest,
    signing::PartyIndex,
};
use bursar_store::{
    Store,
    act::{self, ASKED, Doer},
    audit_log::{self, StoredCheckpoint},
    events,
};
use serde_json::json;
use std::sync::Arc;

fn command() -> Act {
    let actor = Actor::Command { login: Some("carl".into()) };
    Act { actor, origin: Origin { request: Some("bursar test".into()), ..Origin::default() } }
}

fn engine() -> Arc<Doer> {
    Doer::quiet(Act { actor: Actor::Engine, origin: Origin::default() })
}

async fn append(store: &Store, kind: &str) {
    let mut tx = store.write().await.unwrap();
    events::append(&mut tx, kind, None, at(0), &json!({})).await.unwrap();
    tx.commit().await.unwrap();
}

/// Who each entry says did it.
async fn acts(store: &Store) -> Vec<(String, Option<Actor>)> {
    let entries = audit_log::entries(store, 0, 100).await.unwrap();
    let actor = |act: String| serde_json::from_str::<Act>(&act).unwrap().actor;
    entries.into_iter().map(|entry| (entry.kind, entry.act.map(actor))).collect()
}

#[tokio::test]
async fn entries__should_say_who_did_them() {
    let Database { store, .. } = &Database::open().await;
    append(store, "nobody").await;
    let ours = store.clone().acting(engine());
    append(&ours, "engine").await;
    let doer = Doer::asked(command(), at(1));
    act::by(doer.clone(), append(&ours, "asked")).await;
    assert!(doer.told());
    append(&ours, "engine").await;
    let carl = Actor::Command { login: Some("carl".into()) };
    let expected = [
        ("nobody", None),
        ("engine", Some(Actor::Engine)),
        ("asked", Some(carl)),
        ("engine", Some(Actor::Engine)),
    ];
    assert_eq!(acts(store).await, expected.map(|(kind, actor)| (kind.to_owned(), actor)));
}

#[tokio::test]
async fn what_says_nothing__should_be_told_if_somebody_asked_for_it() {
    let Database { store, .. } = &Database::open().await;
    let ours = store.clone().acting(engine());
    let silent = async || {
        let mut tx = ours.write().await.unwrap();
        bursar_store::jobs::nudge(&mut tx, transfer_id(1), at(0)).await.unwrap();
        tx
    };
    silent().await.commit().await.unwrap();
    let doer = Doer::asked(command(), at(1));
    act::by(doer.clone(), async {
        // What is rolled back did not happen.
        drop(silent().await);
        assert!(!doer.told());
        silent().await.commit().await.unwrap();
    })
    .await;
    assert!(doer.told());
    let told = events::after(store, 0, 10).await.unwrap();
    assert_eq!((told.len(), told[0].kind.as_str(), told[0].at), (1, ASKED, at(1)));
    assert_eq!(told[0].payload, json!({ "request": "bursar test" }));
}

#[tokio::test]
async fn seals__should_follow_one_another_and_never_change() {
    let Database { store, .. } = &Database::open().await;
    assert_eq!(audit_log::last_seal(store).await.unwrap(), Place::START);
    // More than one statement takes.
    let places: Vec<Place> = (1..=1_000_u64)
        .map(|sequence| Place { sequence, hash: ChainHash([u8::try_from(sequence % 251).unwrap(); 32]) })
        .collect();
    let mut tx = store.write().await.unwrap();
    assert!(audit_log::seal(&mut tx, Place::START, &places[..990]).await.unwrap());
    tx.commit().await.unwrap();
    for last in [Place::START, places[988], Place { sequence: 990, hash: ChainHash::START }] {
        let mut tx = store.write().await.unwrap();
        assert!(!audit_log::seal(&mut tx, last, &places[990..]).await.unwrap(), "{last}");
    }
    let mut tx = store.write().await.unwrap();
    assert!(audit_log::seal(&mut tx, places[989], &places[990..]).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(audit_log::last_seal(store).await.unwrap(), places[999]);
    assert_eq!(audit_log::seals(store, 0, 2_000).await.unwrap(), places);
    assert_eq!(audit_log::seal_of(store, 700).await.unwrap(), Some(places[699]));
    assert_eq!(audit_log::seal_of(store, 0).await.unwrap(), Some(Place::START));
    assert_eq!(audit_log::seal_of(store, 1_001).await.unwrap(), None);
}

#[tokio::test]
async fn checkpoints__should_be_kept_in_order_with_their_signatures() {
    let Database { store, .. } = &Database::open().await;
    let checkpoint = |sequence: u64| Checkpoint {
        desk: EntryDigest([3; 32]),
        sequence,
        hash: ChainHash([u8::try_from(sequence).unwrap(); 32]),
        at: at(1),
    };
    let signature = |party: u16| CheckpointSignature {
        party: PartyIndex(party),
        public_key: [u8::try_from(party).unwrap(); 32],
        signature: [9; 64],
    };
    let mut tx = store.write().await.unwrap();
    for sequence in [10, 20, 30] {
        assert!(audit_log::insert_checkpoint(&mut tx, &checkpoint(sequence)).await.unwrap());
    }
    for sequence in [5, 20, 30] {
        let older = Checkpoint { hash: ChainHash::START, ..checkpoint(sequence) };
        assert!(!audit_log::insert_checkpoint(&mut tx, &older).await.unwrap(), "{sequence}");
    }
    for (sequence, party) in [(10, 0), (10, 1), (30, 1), (30, 1)] {
        audit_log::insert_signature(&mut tx, sequence, &signature(party), at(2)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let stored = |sequence, parties: &[u16]| StoredCheckpoint {
        checkpoint: checkpoint(sequence),
        signatures: parties.iter().map(|party| signature(*party)).collect(),
    };
    let all = [stored(10, &[0, 1]), stored(20, &[]), stored(30, &[1])];
    assert_eq!(audit_log::checkpoints(store, 0, 10).await.unwrap(), all);
    assert_eq!(audit_log::checkpoints(store, 10, 1).await.unwrap(), all[1..2]);
    let up_to = async |sequence| audit_log::checkpoint_up_to(store, sequence).await.unwrap();
    assert_eq!(up_to(9).await, None);
    assert_eq!(up_to(29).await, Some(checkpoint(20)));
    assert_eq!(up_to(u64::MAX).await, Some(checkpoint(30)));
    let by = async |party| audit_log::signed_by(store, PartyIndex(party)).await.unwrap();
    assert_eq!((by(0).await, by(1).await, by(2).await), (Some(checkpoint(10)), Some(checkpoint(30)), None));
}
