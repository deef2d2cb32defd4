use crate::fixtures::*;
use bursar_domain::{
    ids::WalletId,
    lifecycle::{Fact, Status, SubStatus, Transition},
};
use bursar_store::{
    StoreError, events, jobs, page,
    transfers::{self, Filter, Saved, Submitted},
};
use std::time::Duration;

#[tokio::test]
async fn submit__should_accept_an_external_id_once() {
    let database = Database::open().await;
    let first = database.transfer(10, BTC).await;
    let mut second = transfer(11, BTC);
    second.intent.intent.external_id = first.intent.intent.external_id.clone();
    assert_eq!(database.submit(&second).await, Submitted::Existing(Box::new(first.clone())));
    assert_eq!(transfers::get(&database.store, second.id).await.unwrap(), None);
    let events = events::after(&database.store, 0, 100).await.unwrap();
    assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["transfer.submitted"]);
    assert_eq!(jobs::depth(&database.store, at(1000)).await.unwrap(), (1, 1));
    let by_external_id = transfers::by_external_id(&database.store, &first.intent.intent.external_id).await;
    assert_eq!(by_external_id.unwrap(), Some(first));
}

#[tokio::test]
async fn submit__should_refuse_an_unknown_wallet() {
    let database = Database::open().await;
    let mut transfer = transfer(10, BTC);
    transfer.wallet = WalletId::new(uuid(99));
    let mut tx = database.store.write().await.unwrap();
    let refused = transfers::submit(&mut tx, &transfer).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
}

#[tokio::test]
async fn save__should_move_a_version_once() {
    let database = Database::open().await;
    let transfer = database.transfer(10, BTC).await;
    let transition = transfer.clone().apply(Fact::ScreeningStarted, at(20)).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, transition) = (database.store.clone(), transition.clone());
        tasks.spawn(async move {
            let mut tx = store.write().await.unwrap();
            let saved = transfers::save(&mut tx, &transition).await.unwrap();
            tx.commit().await.unwrap();
            saved
        });
    }
    let saved = tasks.join_all().await;
    assert_eq!(saved.iter().filter(|saved| **saved == Saved::Applied).count(), 1);
    assert_eq!(transfers::get(&database.store, transfer.id).await.unwrap(), Some(transition.transfer));
    let events = events::of_transfer(&database.store, transfer.id).await.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].kind, "transfer.status_changed");
    assert_eq!(
        events[1].payload,
        serde_json::json!({
            "transferId": transfer.id, "version": 2, "from": "SUBMITTED", "to": "PENDING_SCREENING",
            "subStatus": null, "reason": null, "transactionId": null,
        })
    );
}

#[tokio::test]
async fn save__should_refuse_a_version_that_skips_one() {
    let database = Database::open().await;
    let transfer = database.transfer(10, BTC).await;
    let Transition { transfer: next, from, .. } = transfer.apply(Fact::ScreeningStarted, at(20)).unwrap();
    let skipping = next.apply(Fact::ScreeningPassed { sub_status: None }, at(21)).unwrap();
    let mut tx = database.store.write().await.unwrap();
    assert_eq!(transfers::save(&mut tx, &skipping).await.unwrap(), Saved::Stale);
    let wrong_from = Transition { from, ..skipping };
    assert_eq!(transfers::save(&mut tx, &wrong_from).await.unwrap(), Saved::Stale);
}

#[tokio::test]
async fn save__should_keep_reason_and_sub_status() {
    let database = Database::open().await;
    let transfer = database.transfer(10, BTC).await;
    let reason = "not enough — 不足 \u{0}?".replace('\u{0}', "'; DROP TABLE transfers; --");
    let waiting = Fact::Waiting { sub_status: SubStatus::InsufficientFunds, reason };
    let transfer = database.drive(transfer, vec![waiting]).await;
    assert_eq!(transfers::get(&database.store, transfer.id).await.unwrap(), Some(transfer));
}

#[tokio::test]
async fn dropped_write__should_leave_nothing() {
    let database = Database::open().await;
    let transfer = transfer(10, BTC);
    let mut tx = database.store.write().await.unwrap();
    transfers::submit(&mut tx, &transfer).await.unwrap();
    assert_eq!(transfers::get_in(&mut tx, transfer.id).await.unwrap(), Some(transfer.clone()));
    assert_eq!(transfers::get(&database.store, transfer.id).await.unwrap(), None, "a reader saw it early");
    drop(tx);
    assert_eq!(database.submit(&transfer).await, Submitted::New);
    assert_eq!(events::last(&database.store).await.unwrap(), 1);
}

#[tokio::test]
async fn reopening__should_find_everything() {
    let database = Database::open().await;
    let transfer = database.transfer(10, BTC).await;
    let transfer = database.drive(transfer, vec![Fact::ScreeningStarted]).await;
    let Database { store, .. } = &database.reopen().await;
    store.ping().await.unwrap();
    assert_eq!(transfers::get(store, transfer.id).await.unwrap(), Some(transfer));
    assert_eq!(events::last(store).await.unwrap(), 2);
    assert_eq!(jobs::depth(store, at(1000)).await.unwrap(), (1, 1));
}

#[tokio::test]
async fn list__should_page_newest_first_through_every_filter() {
    let database = Database::open().await;
    for n in 10..17 {
        database.transfer(n, if n % 2 == 0 { BTC } else { ETH }).await;
    }
    let moved = transfers::get(&database.store, transfer_id(12)).await.unwrap().unwrap();
    database.drive(moved, vec![Fact::ScreeningStarted]).await;
    let all = || (10..17).rev().collect::<Vec<u64>>();
    let odd = || vec![15, 13, 11];
    let filters = [
        (Filter::default(), all()),
        (Filter { status: Some(Status::Submitted), ..Filter::default() }, vec![16, 15, 14, 13, 11, 10]),
        (Filter { status: Some(Status::PendingScreening), ..Filter::default() }, vec![12]),
        (Filter { wallet: Some(WalletId::new(uuid(2))), ..Filter::default() }, odd()),
        (Filter { network: Some(network(ETH)), ..Filter::default() }, odd()),
        (Filter { asset: Some(bursar_domain::asset::Asset::Eth), ..Filter::default() }, odd()),
        (Filter { external_id: "ext-13".parse().ok(), ..Filter::default() }, vec![13]),
        (
            Filter {
                status: Some(Status::PendingScreening),
                network: Some(network(ETH)),
                ..Filter::default()
            },
            vec![],
        ),
    ];
    for (filter, expected) in filters {
        let expected: Vec<_> = expected.into_iter().map(transfer_id).collect();
        for limit in [1, 2, 3, 7, 100] {
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let page = transfers::list(&database.store, &filter, cursor.as_deref(), limit).await.unwrap();
                assert!(page.items.len() <= limit as usize);
                seen.extend(page.items.into_iter().map(|transfer| transfer.id));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "{filter:?} by {limit}");
        }
    }
    for cursor in ["", "garbage", "ff", "7472616e73666572733a31"] {
        let refused = transfers::list(&database.store, &Filter::default(), Some(cursor), 1).await;
        assert!(matches!(refused, Err(StoreError::BadCursor)), "{cursor:?}");
    }
    let huge = transfers::list(&database.store, &Filter::default(), None, u32::MAX).await.unwrap();
    assert!(huge.items.len() <= page::MAX_LIMIT as usize && huge.next.is_none());
}

#[tokio::test]
async fn unfinished__should_find_what_nobody_will_look_at() {
    let database = Database::open().await;
    for n in 10..14 {
        database.transfer(n, BTC).await;
    }
    let transfer = |n| {
        let store = database.store.clone();
        async move { transfers::get(&store, transfer_id(n)).await.unwrap().unwrap() }
    };
    database.drive(transfer(10).await, vec![Fact::Cancelled]).await;
    let held = vec![
        Fact::ScreeningStarted,
        Fact::HeldForReview { sub_status: SubStatus::ScreeningReview, reason: "r".into() },
    ];
    database.drive(transfer(11).await, held).await;
    let sweep = || transfers::unfinished(&database.store, at(13), 10);
    assert_eq!(sweep().await.unwrap(), [], "they have jobs");
    for claim in jobs::claim(&database.store, at(100), Duration::from_secs(1), 10).await.unwrap() {
        assert!(jobs::settle(&database.store, &claim, at(100), jobs::Outcome::Done).await.unwrap());
    }
    assert_eq!(
        sweep().await.unwrap(),
        [transfer_id(11), transfer_id(12)],
        "10 is finished, 11 is under review and looked at as votes are, 13 is too fresh"
    );
    let in_status = |status| transfers::in_status(&database.store, network(BTC), status);
    assert_eq!(in_status(Status::Submitted).await.unwrap(), [transfer_id(12), transfer_id(13)]);
    assert_eq!(in_status(Status::Cancelled).await.unwrap(), [transfer_id(10)]);
    assert_eq!(in_status(Status::PendingReview).await.unwrap(), [transfer_id(11)]);
    assert_eq!(transfers::in_status(&database.store, network(ETH), Status::Submitted).await.unwrap(), []);
}
