//! Endpoints, how far each is, and what waits for it.

use crate::fixtures::*;
use bursar_domain::time::Timestamp;
use bursar_store::{
    StoreError, events,
    webhooks::{
        self, Asked, Endpoint, EndpointId, Keep, Target,
        deliveries::{self, Attempt, DeliveryState, MAX_PENDING, Next},
    },
};
use serde_json::json;
use std::time::Duration;

fn id(text: &str) -> EndpointId {
    text.parse().unwrap()
}

fn target(events: &[&str]) -> Target {
    Target {
        url: "https://desk.example/hooks".into(),
        events: events.iter().map(|kind| (*kind).to_owned()).collect(),
        allow_private: false,
        entry: Some(3),
        shared_secret: Some("desk".into()),
        public_key: Some("00".repeat(32)),
    }
}

async fn endpoint(database: &Database, name: &str) -> EndpointId {
    let endpoint = Endpoint::new(id(name), target(&["*"]), "key".into(), 0, at(1));
    let mut tx = database.store.write().await.unwrap();
    webhooks::insert(&mut tx, &endpoint, at(1)).await.unwrap();
    tx.commit().await.unwrap();
    endpoint.id
}

/// The sequence of an event at `seconds`.
async fn happens(database: &Database, kind: &str, seconds: i64) -> i64 {
    let mut tx = database.store.write().await.unwrap();
    events::append(&mut tx, kind, None, at(seconds), &json!({})).await.unwrap();
    tx.commit().await.unwrap();
    events::last(&database.store).await.unwrap()
}

async fn schedule(database: &Database, id: &EndpointId, from: i64, to: i64, sequences: &[i64]) -> bool {
    let mut tx = database.store.write().await.unwrap();
    let done = deliveries::schedule(&mut tx, id, from, to, sequences, at(5)).await.unwrap();
    tx.commit().await.unwrap();
    done
}

fn attempt(number: u32, seconds: i64) -> Attempt {
    Attempt {
        attempt: number,
        at: at(seconds),
        outcome: "STATUS".into(),
        status: Some(500),
        answer: Some("no\0".into()),
        took_ms: 12,
    }
}

async fn record(database: &Database, id: &EndpointId, sequence: i64, attempt: &Attempt, next: Next) -> bool {
    let mut tx = database.store.write().await.unwrap();
    let recorded = deliveries::record(&mut tx, id, sequence, attempt, next).await.unwrap();
    tx.commit().await.unwrap();
    recorded
}

async fn due(database: &Database, id: &EndpointId, now: Timestamp) -> Vec<i64> {
    let due = deliveries::due(&database.store, id, now, 100).await.unwrap();
    due.into_iter().map(|due| due.event.sequence).collect()
}

#[tokio::test]
async fn endpoints__should_come_back_as_they_were() {
    let database = Database::open().await;
    let endpoint = Endpoint::new(id("desk.one"), target(&["deposit", "transfer"]), "key".into(), 7, at(1));
    let mut tx = database.store.write().await.unwrap();
    webhooks::insert(&mut tx, &endpoint, at(1)).await.unwrap();
    let twice = webhooks::insert(&mut tx, &endpoint, at(1)).await;
    assert!(matches!(twice, Err(StoreError::Conflict { .. })), "{twice:?}");
    drop(tx);
    let mut tx = database.store.write().await.unwrap();
    webhooks::insert(&mut tx, &endpoint, at(1)).await.unwrap();
    tx.commit().await.unwrap();
    let database = database.reopen().await;
    let store = &database.store;
    assert_eq!(webhooks::get(store, &endpoint.id).await.unwrap(), Some(endpoint.clone()));
    assert_eq!(webhooks::list(store).await.unwrap(), [endpoint]);
    assert_eq!(webhooks::get(store, &id("other")).await.unwrap(), None);
    for wrong in ["", "A", "a b", "a/b", &"x".repeat(65)] {
        assert!(wrong.parse::<EndpointId>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn position__should_be_moved_by_one_only_and_with_what_it_schedules() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let (one, two) = (happens(&database, "a", 2).await, happens(&database, "b", 3).await);
    assert!(schedule(&database, &id, 0, two, &[one, two]).await);
    assert!(!schedule(&database, &id, 0, two, &[one, two]).await, "somebody else did");
    assert_eq!(due(&database, &id, at(5)).await, [one, two], "in the order of the log");
    assert_eq!(due(&database, &id, at(4)).await, [] as [i64; 0], "not yet");
    assert_eq!(deliveries::pending(&database.store, &id).await.unwrap(), 2);
    assert_eq!(deliveries::next_due(&database.store, &id).await.unwrap(), Some(at(5)));
    assert_eq!(deliveries::oldest(&database.store, &id).await.unwrap(), Some(at(2)));
    let mut tx = database.store.write().await.unwrap();
    assert!(webhooks::disable(&mut tx, &id, "no answer", at(6)).await.unwrap());
    assert!(!webhooks::disable(&mut tx, &id, "again", at(6)).await.unwrap());
    tx.commit().await.unwrap();
    assert!(!schedule(&database, &id, two, two + 1, &[two + 1]).await, "it is disabled");
    let stands = webhooks::get(&database.store, &id).await.unwrap().unwrap();
    assert_eq!((stands.position, stands.disabled.as_deref()), (two, Some("no answer")));
}

#[tokio::test]
async fn tries__should_be_written_down_and_what_is_delivered_stays_so() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let sequence = happens(&database, "transfer.submitted", 2).await;
    assert!(schedule(&database, &id, 0, sequence, &[sequence]).await);
    assert!(record(&database, &id, sequence, &attempt(1, 6), Next::Again(at(60))).await);
    assert_eq!(due(&database, &id, at(59)).await, [] as [i64; 0]);
    let waiting = deliveries::due(&database.store, &id, at(60), 9).await.unwrap();
    assert_eq!((waiting[0].attempts, waiting[0].tries), (1, 1));
    assert!(record(&database, &id, sequence, &attempt(2, 61), Next::Delivered).await);
    // Another process had tried as well, and failed.
    assert!(record(&database, &id, sequence, &attempt(2, 62), Next::Again(at(99))).await);
    assert!(!record(&database, &id, sequence + 9, &attempt(1, 6), Next::Delivered).await, "none such");
    let page = deliveries::list(&database.store, &id, None, 10).await.unwrap();
    let delivery = &page.items[0];
    assert_eq!((delivery.kind.as_str(), delivery.state), ("transfer.submitted", DeliveryState::Delivered));
    assert_eq!(delivery.next_try, None);
    let expected = Attempt { answer: Some("no\u{fffd}".into()), ..attempt(1, 6) };
    assert_eq!(delivery.attempts[0], expected);
    assert_eq!(delivery.attempts.iter().map(|one| one.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(due(&database, &id, at(1000)).await, [] as [i64; 0]);
}

#[tokio::test]
async fn failures__should_be_counted_until_something_goes_well() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    for (seconds, failures) in [(10, 1), (20, 2)] {
        let mut tx = database.store.write().await.unwrap();
        deliveries::failed(&mut tx, &id, at(seconds + 5), at(seconds)).await.unwrap();
        tx.commit().await.unwrap();
        let stands = webhooks::get(&database.store, &id).await.unwrap().unwrap();
        assert_eq!((stands.failures, stands.failing_since), (failures, Some(at(10))));
        assert_eq!(stands.rests_until, at(seconds + 5));
    }
    let mut tx = database.store.write().await.unwrap();
    deliveries::went_well(&mut tx, &id, at(30)).await.unwrap();
    tx.commit().await.unwrap();
    let stands = webhooks::get(&database.store, &id).await.unwrap().unwrap();
    assert_eq!((stands.failures, stands.failing_since, stands.delivered_at), (0, None, Some(at(30))));
}

#[tokio::test]
async fn enabling__should_try_what_waits_at_once() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let sequence = happens(&database, "a", 2).await;
    schedule(&database, &id, 0, sequence, &[sequence]).await;
    record(&database, &id, sequence, &attempt(1, 6), Next::Again(at(9999))).await;
    let mut tx = database.store.write().await.unwrap();
    assert!(!webhooks::enable(&mut tx, &id, at(7)).await.unwrap(), "it is");
    webhooks::disable(&mut tx, &id, "why", at(7)).await.unwrap();
    assert!(webhooks::enable(&mut tx, &id, at(8)).await.unwrap());
    tx.commit().await.unwrap();
    let waiting = deliveries::due(&database.store, &id, at(8), 9).await.unwrap();
    assert_eq!((waiting.len(), waiting[0].attempts, waiting[0].tries), (1, 1, 0));
    let all = events::after(&database.store, 0, 99).await.unwrap();
    let kinds: Vec<_> = all.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["webhook.created", "a", "webhook.disabled", "webhook.enabled"]);
}

#[tokio::test]
async fn removed_endpoint__should_leave_nothing_and_come_back_as_another() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let sequence = happens(&database, "a", 2).await;
    schedule(&database, &id, 0, sequence, &[sequence]).await;
    record(&database, &id, sequence, &attempt(1, 6), Next::Again(at(7))).await;
    let mut tx = database.store.write().await.unwrap();
    assert!(webhooks::remove(&mut tx, &id, at(8)).await.unwrap());
    assert!(!webhooks::remove(&mut tx, &id, at(8)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(webhooks::list(&database.store).await.unwrap(), []);
    assert_eq!(due(&database, &id, at(99)).await, [] as [i64; 0]);
    // A name of the log may come back: with a secret of its own, and nothing that waited.
    endpoint(&database, "desk").await;
    let back = webhooks::get(&database.store, &id).await.unwrap().unwrap();
    assert_eq!((back.secret.generation, back.position), (2, 0));
    assert_eq!(due(&database, &id, at(99)).await, [] as [i64; 0]);
    let mut tx = database.store.write().await.unwrap();
    webhooks::remove(&mut tx, &id, at(9)).await.unwrap();
    let keep = Keep { since: at(0), events: 1_000_000 };
    assert_eq!(webhooks::prune(&mut tx, keep).await.unwrap(), 1);
    assert_eq!(webhooks::prune(&mut tx, keep).await.unwrap(), 0);
    tx.commit().await.unwrap();
    endpoint(&database, "desk").await;
    let page = deliveries::list(&database.store, &id, None, 10).await.unwrap();
    assert_eq!(page.items, []);
}

#[tokio::test]
async fn another_url__should_be_told_nothing_of_what_waited() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let sequence = happens(&database, "a", 2).await;
    schedule(&database, &id, 0, sequence, &[sequence]).await;
    for (url, waits) in [("https://desk.example/hooks", 1), ("https://other.example/", 0)] {
        let target = Target { url: url.into(), entry: Some(4), ..target(&["transfer"]) };
        let mut tx = database.store.write().await.unwrap();
        webhooks::retarget(&mut tx, &id, &target, true, at(8)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(webhooks::get(&database.store, &id).await.unwrap().unwrap().target, target);
        assert_eq!(deliveries::pending(&database.store, &id).await.unwrap(), waits);
    }
}

#[tokio::test]
async fn endpoint_that_is_disabled__should_go_on_only_by_a_change_that_enables_it() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let mut tx = database.store.write().await.unwrap();
    assert!(webhooks::disable(&mut tx, &id, "it fails", at(7)).await.unwrap());
    tx.commit().await.unwrap();
    for (entry, enables) in [(4, false), (5, true)] {
        let target = Target { entry: Some(entry), ..target(&["transfer"]) };
        let mut tx = database.store.write().await.unwrap();
        webhooks::retarget(&mut tx, &id, &target, enables, at(8)).await.unwrap();
        tx.commit().await.unwrap();
        let now = webhooks::get(&database.store, &id).await.unwrap().unwrap();
        assert_eq!((now.target, now.disabled.is_none()), (target, enables));
    }
}

#[tokio::test]
async fn rotation__should_count_generations_and_keep_the_former_of_the_same_file() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let mut tx = database.store.write().await.unwrap();
    for (file, generation, until) in
        [("key", 2, Some(at(60))), ("other", 3, None), ("other", 4, Some(at(60)))]
    {
        let rotated = webhooks::rotate(&mut tx, &id, file, at(60), at(1)).await.unwrap().unwrap();
        assert_eq!((rotated.generation, rotated.previous_until), (generation, until), "{file}");
    }
    let unknown = "none".parse().unwrap();
    assert_eq!(webhooks::rotate(&mut tx, &unknown, "key", at(60), at(1)).await.unwrap(), None);
    tx.commit().await.unwrap();
    let secret = webhooks::get(&database.store, &id).await.unwrap().unwrap().secret;
    assert_eq!((secret.key_name.as_str(), secret.generation), ("other", 4));
}

#[tokio::test]
async fn resend__should_find_events_by_number_transfer_deposit_and_time() {
    let database = Database::open().await;
    let transfer = database.transfer(10, BTC).await;
    let id = endpoint(&database, "desk").await;
    let deposit = "01936d0e-0000-7000-8000-00000000dddd".parse().unwrap();
    let mut tx = database.store.write().await.unwrap();
    for kind in ["deposit.detected", "deposit.reverted"] {
        events::append(&mut tx, kind, None, at(50), &json!({ "depositId": deposit, "a": 1 })).await.unwrap();
    }
    events::append(&mut tx, "deposit.detected", None, at(51), &json!({ "depositId": transfer.id }))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut timed = Vec::new();
    for seconds in 100..110 {
        timed.push(happens(&database, "tick", seconds).await);
    }
    let resend = async |asked: Asked, kind: &'static str| {
        let mut tx = database.store.write().await.unwrap();
        let wants = |one: &str| one.starts_with(kind);
        let found = webhooks::resend(&mut tx, &id, asked, wants, at(200)).await.unwrap();
        tx.commit().await.unwrap();
        let sequences = due(&database, &id, at(200)).await;
        for sequence in &sequences {
            record(&database, &id, *sequence, &attempt(1, 200), Next::Delivered).await;
        }
        assert_eq!(found, Some(sequences.len()));
        sequences
    };
    assert_eq!(resend(Asked::Event(timed[3]), "").await, [timed[3]]);
    assert_eq!(resend(Asked::Event(timed[3]), "deposit").await, [] as [i64; 0], "not of its kinds");
    assert_eq!(resend(Asked::Event(timed[3]), "").await, [timed[3]], "as often as one likes");
    assert_eq!(resend(Asked::Event(4711), "").await, [] as [i64; 0]);
    let of_transfer = events::of_transfer(&database.store, transfer.id).await.unwrap();
    assert_eq!(resend(Asked::Transfer(transfer.id), "").await, [of_transfer[0].sequence]);
    assert_eq!(resend(Asked::Deposit(deposit), "").await.len(), 2);
    for (from, until, expected) in
        [(102, 105, &timed[2..5]), (0, 103, &timed[..3]), (109, 999, &timed[9..]), (500, 999, &[])]
    {
        let found = resend(Asked::Between(at(from), at(until)), "tick").await;
        assert_eq!(found, expected, "{from}..{until}");
    }
    let log = events::after(&database.store, 0, 200).await.unwrap();
    let told: Vec<_> = log.iter().filter(|event| event.kind == "webhook.resent").collect();
    assert_eq!(told.len(), 7, "once for each time that something was sent again");
    let asked = json!({ "webhookId": "desk", "asked": { "sequence": timed[3] }, "events": 1 });
    assert_eq!(told[0].payload, asked);
}

#[tokio::test]
async fn pending__should_be_counted_up_to_its_bound() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let mut tx = database.store.write().await.unwrap();
    let many: Vec<i64> = (1..=MAX_PENDING as i64 + 7).collect();
    for _ in &many {
        events::append(&mut tx, "a", None, at(2), &json!({})).await.unwrap();
    }
    deliveries::schedule(&mut tx, &id, 0, many.len() as i64, &many, at(5)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(deliveries::pending(&database.store, &id).await.unwrap(), MAX_PENDING);
}

#[tokio::test]
async fn prune__should_take_what_has_ended_and_is_old_or_far_back() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let mut sequences = Vec::new();
    for n in 0..6 {
        sequences.push(happens(&database, "a", n).await);
    }
    let last = *sequences.last().unwrap();
    schedule(&database, &id, 0, last, &sequences).await;
    // The first waits, the others ended at 10, 20, 30, 40 and 50.
    for (n, sequence) in sequences.iter().enumerate().skip(1) {
        let ended = attempt(1, 10 * n as i64);
        record(&database, &id, *sequence, &ended, if n % 2 == 0 { Next::Delivered } else { Next::GivenUp })
            .await;
    }
    let left = async |since: Timestamp, events: i64| {
        let mut tx = database.store.write().await.unwrap();
        while webhooks::prune(&mut tx, Keep { since, events }).await.unwrap() > 0 {}
        tx.commit().await.unwrap();
        let page = deliveries::list(&database.store, &id, None, 100).await.unwrap();
        page.items.into_iter().rev().map(|one| one.sequence).collect::<Vec<_>>()
    };
    assert_eq!(left(at(0), 100).await, sequences);
    assert_eq!(left(at(25), 100).await, [&sequences[..1], &sequences[3..]].concat());
    assert_eq!(left(at(25), 2).await, [&sequences[..1], &sequences[3..]].concat());
    assert_eq!(left(at(25), 1).await, [&sequences[..1], &sequences[4..]].concat());
    assert_eq!(due(&database, &id, T0.plus(Duration::from_secs(9))).await, sequences[..1]);
}

#[tokio::test]
async fn deliveries__should_page_newest_first() {
    let database = Database::open().await;
    let id = endpoint(&database, "desk").await;
    let mut sequences = Vec::new();
    for n in 0..5 {
        sequences.push(happens(&database, "a", n).await);
    }
    schedule(&database, &id, 0, sequences[4], &sequences).await;
    let first = deliveries::list(&database.store, &id, None, 3).await.unwrap();
    let rest = deliveries::list(&database.store, &id, first.next.as_deref(), 3).await.unwrap();
    let seen: Vec<_> = first.items.iter().chain(&rest.items).rev().map(|one| one.sequence).collect();
    assert_eq!((seen, rest.next), (sequences, None));
    let foreign = deliveries::list(&database.store, &id, Some("00"), 3).await;
    assert!(matches!(foreign, Err(StoreError::BadCursor)));
}

#[tokio::test]
async fn disabled_endpoints__should_keep_nobody_out() {
    let database = Database::open().await;
    for number in 0..webhooks::MAX_ENDPOINTS {
        endpoint(&database, &format!("one-{number}")).await;
    }
    let another = webhooks::get(&database.store, &id("one-1")).await.unwrap().unwrap();
    let another = Endpoint { id: id("another"), ..another };
    let mut tx = database.store.write().await.unwrap();
    assert!(webhooks::insert(&mut tx, &another, at(2)).await.is_err());
    assert!(webhooks::disable(&mut tx, &id("one-1"), "not named", at(2)).await.unwrap());
    webhooks::insert(&mut tx, &another, at(2)).await.unwrap();
}
