//! While a halt stands nothing new is frozen or signed, and what is signed goes on.

use crate::support::world::World;
use bursar_domain::{
    lifecycle::{Status, SubStatus},
    time::Clock as _,
};
use bursar_store::halts::{self, HaltCode, HaltId};

async fn halt(world: &World, account: Option<&str>) -> HaltId {
    let mut tx = world.store().write().await.unwrap();
    let now = world.clock.now();
    let halted =
        halts::halt(&mut tx, world.network, account, HaltCode::ForeignSpend, "seen", now).await.unwrap();
    tx.commit().await.unwrap();
    halted.id()
}

pub async fn lift(world: &World, id: HaltId) {
    let mut tx = world.store().write().await.unwrap();
    halts::lift(&mut tx, id, "test", "explained", world.clock.now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn halt__should_keep_a_queued_transfer_from_being_prepared() {
    let world = World::ethereum().await;
    let halt = halt(&world, Some(&world.account)).await;
    let id = world.submit("halted").await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::Queued, Some(SubStatus::AccountHalted)));
    assert_eq!(world.taken().await, [].into(), "nothing is reserved");
    lift(&world, halt).await;
    world.look(id).await.unwrap();
    assert!(world.status(id).await.0 >= Status::PendingSignature, "no pause after lifting");
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn halt__should_keep_a_frozen_package_from_being_signed() {
    let world = World::ethereum().await;
    let id = world.submit("frozen").await;
    world.until(id, Status::PendingSignature).await;
    let halt = halt(&world, None).await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::PendingSignature, Some(SubStatus::AccountHalted)));
    assert_eq!(world.signer.sessions(), 0);
    world.abort(id).await.expect("a halted transfer can be cancelled");
    let id = world.submit("next").await;
    lift(&world, halt).await;
    world.assert_paid_once(id).await;
    assert_eq!(world.chain.paid("frozen"), 0);
}

#[tokio::test]
async fn halt__should_leave_alone_what_is_signed_and_other_accounts() {
    let world = World::ethereum().await;
    let signed = world.submit("signed").await;
    world.until(signed, Status::Signed).await;
    halt(&world, Some(&world.account)).await;
    halt(&world, Some("ethereum:31337/ethereum/9")).await;
    let waits = world.submit("waits").await;
    world.assert_paid_once(signed).await;
    world.look(waits).await.unwrap();
    assert_eq!(world.status(waits).await.1, Some(SubStatus::AccountHalted));

    let free = World::ethereum().await;
    halt(&free, Some("0xSomeoneElse")).await;
    let id = free.submit("free").await;
    free.assert_paid_once(id).await;
}
