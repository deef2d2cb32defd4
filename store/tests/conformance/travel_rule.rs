//! How far the travel rule is with a transfer, and its rounds.

use crate::fixtures::*;
use bursar_domain::{ids::TransferId, travel_rule::NoExchange};
use bursar_store::{
    Store,
    travel_rule::{self, Progress, Sealed},
};

fn sealed(text: &str) -> Sealed {
    Sealed { ciphertext: text.into(), key_name: "age1x".into() }
}

async fn submit(store: &Store, id: TransferId, text: &str, now: i64) -> u32 {
    let mut tx = store.write().await.unwrap();
    let round = travel_rule::submit(&mut tx, id, &sealed(text), at(now)).await.unwrap();
    tx.commit().await.unwrap();
    round
}

async fn put(store: &Store, id: TransferId, round: u32, progress: &Progress, now: i64) -> bool {
    let mut tx = store.write().await.unwrap();
    let put = travel_rule::put(&mut tx, id, round, 7, progress, at(now)).await.unwrap();
    tx.commit().await.unwrap();
    put
}

#[tokio::test]
async fn every_progress__should_come_back_as_it_was() {
    let database = Database::open().await;
    let (store, id) = (&database.store, database.transfer(10, BTC).await.id);
    assert_eq!(travel_rule::get(store, id).await.unwrap(), None);
    let reason = || "because".to_owned();
    let all = [
        Progress::Submitted,
        Progress::NotRequired { reason: reason() },
        Progress::DataMissing { reason: reason() },
        Progress::Pending { reference: None, failure: None, next_try: at(5) },
        Progress::Pending {
            reference: Some("r".into()),
            failure: Some(NoExchange::Unavailable("x".into())),
            next_try: at(6),
        },
        Progress::Accepted { reference: "r".into() },
        Progress::Rejected { reason: reason() },
        Progress::Unavailable { reason: reason() },
    ];
    for (now, progress) in (20..).zip(all) {
        assert!(put(store, id, 0, &progress, now).await);
        let there = travel_rule::get(store, id).await.unwrap().unwrap();
        assert_eq!((&there.progress, there.round, there.attempts), (&progress, 0, 7));
        assert_eq!((there.transfer, there.created_at, there.updated_at), (id, at(20), at(now)));
        assert_eq!(there.sealed, None);
    }
}

#[tokio::test]
async fn what_was_said_of_older_data__should_not_be_kept() {
    let database = Database::open().await;
    let (store, id) = (&database.store, database.transfer(10, BTC).await.id);
    let missing = Progress::DataMissing { reason: "all".into() };
    assert!(put(store, id, 0, &missing, 10).await);
    assert_eq!(submit(store, id, "one", 20).await, 1);
    assert!(!put(store, id, 0, &missing, 21).await, "data has come since");
    let accepted = Progress::Accepted { reference: "r".into() };
    assert_eq!(submit(store, id, "two", 30).await, 2);
    assert!(!put(store, id, 1, &accepted, 31).await, "other data has come since");
    let there = travel_rule::get(store, id).await.unwrap().unwrap();
    assert_eq!((&there.progress, there.round, there.attempts), (&Progress::Submitted, 2, 0));
    assert!(put(store, id, 2, &accepted, 40).await);
    let there = travel_rule::get(store, id).await.unwrap().unwrap();
    assert_eq!((there.progress, there.sealed), (accepted, Some(sealed("two"))));
}
