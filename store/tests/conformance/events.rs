use crate::fixtures::*;
use bursar_store::events;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers__should_see_every_event_in_order_and_miss_none() {
    const WRITERS: i64 = 6;
    const EACH: i64 = 15;
    let Database { store, .. } = &Database::open().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0..EACH {
                let mut tx = store.write().await.unwrap();
                let payload = json!({ "writer": writer, "n": n });
                events::append(&mut tx, "test", None, at(n), &payload).await.unwrap();
                if n % 5 == 4 {
                    drop(tx); // Rolled back: its number goes to the next one.
                } else {
                    tx.commit().await.unwrap();
                }
            }
        });
    }
    let expected = WRITERS * EACH * 4 / 5;
    let mut seen = Vec::new();
    loop {
        while let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
        let finished = writers.is_empty();
        let from = seen.last().copied().unwrap_or(0);
        let page = events::after(store, from, 7).await.unwrap();
        if page.is_empty() && finished {
            break;
        }
        seen.extend(page.iter().map(|event| event.sequence));
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, (1..=expected).collect::<Vec<_>>());
    assert_eq!(events::last(store).await.unwrap(), expected);
}

#[tokio::test]
async fn events__should_come_back_as_they_were() {
    let Database { store, .. } = &Database::open().await;
    let payload = json!({ "amount": "115792089237316195423570985008687907853269984665640564039457584007913129639935", "ß": [null, 1] });
    let mut tx = store.write().await.unwrap();
    events::append(&mut tx, "a", Some(transfer_id(1)), at(1), &payload).await.unwrap();
    events::append(&mut tx, "b", None, at(2), &json!(null)).await.unwrap();
    tx.commit().await.unwrap();
    let first =
        events::Event { sequence: 1, kind: "a".into(), transfer: Some(transfer_id(1)), at: at(1), payload };
    assert_eq!(events::of_transfer(store, transfer_id(1)).await.unwrap(), std::slice::from_ref(&first));
    let all = events::after(store, 0, 10).await.unwrap();
    assert_eq!((all.len(), &all[0]), (2, &first));
    assert_eq!(events::after(store, 2, 10).await.unwrap(), []);
}
