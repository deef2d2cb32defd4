//! What fails, and how it ends.

use crate::{
    receiver::{Answer, Receiver},
    world::World,
};
use bursar_store::webhooks::{self, deliveries::DeliveryState};
use std::time::Duration;

#[tokio::test]
async fn failing_event__should_be_tried_ten_times_over_three_days_and_keep_nobody_waiting() {
    let mut world = World::new().await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk", &receiver, &["transfer"]).await;
    let poison = world.happens("transfer.submitted").await;
    receiver.answers(move |received| Answer::Status(if received.sequence() == poison { 500 } else { 204 }));
    let began = world.context.now();
    let mut tries = Vec::new();
    for _ in 0..10 {
        // Something else each time, which is told at once.
        let other = world.happens("transfer.status_changed").await;
        receiver.forget();
        world.deliver().await;
        let mut sequences = receiver.sequences();
        sequences.sort_unstable();
        assert_eq!(sequences, [poison, other], "after {tries:?}");
        tries.push(world.context.now().since(began));
        assert!(receiver.received().iter().all(|one| one.id.contains(&format!("_{}_", one.sequence()))));
        let next = webhooks::deliveries::next_due(world.store(), &id).await.unwrap();
        if let Some(next) = next {
            world.wait(next.since(world.context.now()));
        }
    }
    let delivery = world.deliveries(&id).await.remove(0);
    assert_eq!((delivery.sequence, delivery.state), (poison, DeliveryState::GivenUp));
    assert_eq!(delivery.attempts.len(), 10);
    let attempt = &delivery.attempts[9];
    assert_eq!((attempt.attempt, attempt.outcome.as_str(), attempt.status), (10, "STATUS", Some(500)));
    assert_eq!(attempt.answer.as_deref(), Some("said 500"));
    let days = tries.last().unwrap().as_secs() / 86_400;
    assert_eq!(days, 3, "{tries:?}");
    assert!(world.get(&id).await.disabled.is_none(), "others were taken");
}

#[tokio::test]
async fn endpoint_that_takes_nothing__should_be_disabled_with_an_alarm_and_lose_nothing() {
    let mut world = World::new().await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk", &receiver, &["transfer"]).await;
    let mut sequences = Vec::new();
    for _ in 0..5 {
        sequences.push(world.happens("transfer.submitted").await);
    }
    receiver.answers(|_| Answer::Status(503));
    let began = world.context.now();
    while world.get(&id).await.disabled.is_none() {
        world.deliver().await;
        assert!(
            world.context.now().since(began) < Duration::from_secs(7 * 86_400),
            "{:?}",
            world.get(&id).await
        );
        world.wait(Duration::from_secs(1800));
    }
    assert!(world.context.now().since(began) >= Duration::from_secs(72 * 3600));
    // It was left alone in between: far less than one try in five minutes for each of the five.
    assert!(receiver.received().len() <= 50, "{}", receiver.received().len());
    assert!(world.kinds().await.contains(&"webhook.disabled".to_owned()));
    let events_before = world.kinds().await.len();
    receiver.forget();
    world.happens("transfer.submitted").await;
    world.deliver().await;
    assert_eq!(receiver.received().len(), 0, "nothing is sent to it");

    receiver.answers(|_| Answer::Status(200));
    let mut tx = world.store().write().await.unwrap();
    assert!(webhooks::enable(&mut tx, &id, world.context.now()).await.unwrap());
    tx.commit().await.unwrap();
    world.deliver().await;
    let mut told = receiver.sequences();
    told.sort_unstable();
    sequences.push(i64::try_from(events_before).unwrap() + 1);
    // What was given up meanwhile is told when it is asked for.
    let given_up: Vec<_> = world
        .deliveries(&id)
        .await
        .into_iter()
        .filter(|one| one.state == DeliveryState::GivenUp)
        .map(|one| one.sequence)
        .collect();
    sequences.retain(|sequence| !given_up.contains(sequence));
    assert_eq!(told, sequences);
    assert_eq!(world.get(&id).await.failures, 0);
}

#[tokio::test]
async fn gone__should_disable_at_once() {
    let mut world = World::new().await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk", &receiver, &["transfer"]).await;
    receiver.answers(|_| Answer::Status(410));
    world.happens("transfer.submitted").await;
    world.deliver().await;
    let endpoint = world.get(&id).await;
    assert!(endpoint.disabled.as_ref().is_some_and(|why| why.contains("410")), "{endpoint:?}");
    world.happens("transfer.submitted").await;
    world.wait(Duration::from_secs(86_400));
    world.deliver().await;
    assert_eq!(receiver.received().len(), 1);
    let alarms = world.kinds().await.into_iter().filter(|kind| kind == "webhook.disabled").count();
    assert_eq!(alarms, 1);
}

#[tokio::test]
async fn one_bad_endpoint__should_not_touch_another() {
    let mut world = World::new().await;
    let (bad, good) = (Receiver::start().await, Receiver::start().await);
    world.endpoint("bad", &bad, &["transfer"]).await;
    world.endpoint("good", &good, &["transfer"]).await;
    bad.answers(|_| Answer::Status(500));
    for _ in 0..30 {
        world.happens("transfer.submitted").await;
    }
    world.deliver().await;
    assert_eq!(good.received().len(), 30);
    assert!(bad.received().len() <= 8, "{}: it is left alone after a few failures", bad.received().len());
}

#[tokio::test]
async fn old_deliveries__should_be_forgotten_in_steps_and_only_those() {
    let mut world = World::new().await;
    let receiver = Receiver::start().await;
    let id = world.endpoint("desk", &receiver, &["transfer"]).await;
    for _ in 0..250 {
        world.happens("transfer.submitted").await;
    }
    world.deliver().await;
    assert_eq!(world.deliveries(&id).await.len(), 250);
    world.wait(Duration::from_secs(31 * 86_400));
    world.happens("transfer.submitted").await;
    for _ in 0..5 {
        world.deliver().await;
    }
    let left: Vec<_> = world.deliveries(&id).await.into_iter().map(|one| one.sequence).collect();
    assert_eq!(left, [252]);
    assert_eq!(receiver.received().len(), 251, "and nothing is told again for it");
}
