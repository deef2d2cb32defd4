//! What is told to whom, in which order, and signed how.

use crate::{receiver::Receiver, world::World};
use bursar_store::webhooks::{self, Asked, deliveries::DeliveryState};
use bursar_workers::webhooks::{WebhookSettings, send::SystemLookup};
use std::{sync::Arc, time::Duration};

fn one_at_a_time() -> WebhookSettings {
    WebhookSettings { parallel: 1, ..crate::world::settings() }
}

#[tokio::test]
async fn events__should_be_told_in_order_with_both_signatures() {
    let mut world = World::with(one_at_a_time(), Arc::new(SystemLookup)).await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk.one", &receiver, &["*"]).await;
    for _ in 0..7 {
        world.happens("transfer.submitted").await;
    }
    world.deliver().await;
    // The first is that the endpoint was created.
    assert_eq!(receiver.sequences(), (1..=8).collect::<Vec<_>>());
    let secret = world.webhooks.keys.secret(&id, &world.get(&id).await.secret).unwrap();
    for received in receiver.received() {
        assert_eq!(received.id, format!("evt_{}_desk~one", received.sequence()));
        assert_eq!(received.timestamp, 1_800_000_000);
        assert!(received.verifies_with(&secret), "{received:?}");
        assert!(received.verifies_with_key(&world.webhooks.keys.public_key()), "{received:?}");
        let json = received.json();
        assert_eq!(json["type"], json["data"]["type"]);
        assert_eq!(json["timestamp"], "2027-01-15T08:00:00Z");
    }
    let endpoint = world.get(&id).await;
    assert_eq!((endpoint.position, endpoint.failures), (8, 0));
    assert!(world.deliveries(&id).await.iter().all(|one| one.state == DeliveryState::Delivered));
    // Nothing is told twice.
    world.restart();
    world.deliver().await;
    assert_eq!(receiver.sequences().len(), 8);
}

#[tokio::test]
async fn endpoint__should_be_told_the_kinds_that_it_wants() {
    let mut world = World::new().await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk", &receiver, &["deposit", "transfer.submitted"]).await;
    for kind in
        ["transfer.submitted", "transfer.status_changed", "deposit.detected", "deposits", "account.halted"]
    {
        world.happens(kind).await;
        world.deliver().await;
    }
    let mut kinds: Vec<_> =
        receiver.received().iter().map(|one| one.json()["type"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["deposit.detected", "transfer.submitted"]);
    // What it does not want moves it on, in the end.
    for _ in 0..220 {
        world.happens("account.halted").await;
    }
    world.deliver().await;
    assert!(world.get(&id).await.position >= 200);
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn rotation__should_keep_the_former_secret_valid_for_a_while() {
    let mut world = World::new().await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk", &receiver, &["transfer"]).await;
    let former = world.webhooks.keys.secret(&id, &world.get(&id).await.secret).unwrap();
    let now = world.context.now();
    let mut tx = world.store().write().await.unwrap();
    let until = now.plus(Duration::from_secs(60));
    let name = world.webhooks.keys.name();
    let rotated = webhooks::rotate(&mut tx, &id, name, until, now).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let fresh = world.webhooks.keys.secret(&id, &rotated).unwrap();
    for (waits, former_counts) in [(0, true), (60, false)] {
        world.wait(Duration::from_secs(waits));
        world.happens("transfer.submitted").await;
        receiver.forget();
        world.deliver().await;
        let received = receiver.received().remove(0);
        assert!(received.verifies_with(&fresh));
        assert_eq!(received.verifies_with(&former), former_counts);
    }
}

#[tokio::test]
async fn resend__should_tell_it_again_under_the_same_id() {
    let mut world = World::new().await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk", &receiver, &["transfer"]).await;
    let sequence = world.happens("transfer.submitted").await;
    world.happens("transfer.status_changed").await;
    world.deliver().await;
    receiver.forget();
    let now = world.context.now();
    let mut tx = world.store().write().await.unwrap();
    let resent = webhooks::resend(&mut tx, &id, Asked::Event(sequence), |_| true, now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(resent, Some(1));
    world.deliver().await;
    let received = receiver.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].id, format!("evt_{sequence}_desk"));
    let delivery = world.deliveries(&id).await.remove(0);
    assert_eq!((delivery.state, delivery.attempts.len()), (DeliveryState::Delivered, 2));
}

#[tokio::test]
async fn death_between_sending_and_writing__should_send_it_again() {
    let mut world = World::new().await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk", &receiver, &["transfer"]).await;
    let sequence = world.happens("transfer.submitted").await;
    // The first round schedules and begins; the process dies when the receiver has it.
    world.deliverer.round().await.unwrap();
    for _ in 0..1000 {
        if !receiver.received().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.restart();
    assert_eq!(world.deliveries(&id).await[0].state, DeliveryState::Pending);
    world.deliver().await;
    let ids: Vec<_> = receiver.received().into_iter().map(|one| one.id).collect();
    assert_eq!(ids, vec![format!("evt_{sequence}_desk"); 2]);
    assert_eq!(world.deliveries(&id).await[0].state, DeliveryState::Delivered);
}

/// Both believe to lead.
#[tokio::test]
async fn two_deliverers__should_lose_nothing() {
    let mut world = World::new().await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk", &receiver, &["transfer"]).await;
    let mut other =
        bursar_workers::webhooks::deliver::Deliverer::new(world.context.clone(), world.webhooks.clone());
    for _ in 0..20 {
        world.happens("transfer.submitted").await;
        let (one, two) = tokio::join!(world.deliverer.round(), other.round());
        assert!(one.is_ok() && two.is_ok());
    }
    other.settle().await;
    world.deliver().await;
    let mut told = receiver.sequences();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, (2..=21).collect::<Vec<_>>());
    let states = world.deliveries(&id).await;
    assert!(states.len() == 20 && states.iter().all(|one| one.state == DeliveryState::Delivered));
}
