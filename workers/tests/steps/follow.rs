//! Blocks that come, go, and come late.

use crate::support::{
    chain::FakeChain,
    world::{DEPTH, World},
};
use bursar_domain::lifecycle::{Status, SubStatus};
use bursar_store::{
    chain,
    deposits::{self, DepositStatus},
    events,
};
use bursar_workers::follower::{self, FollowError};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn reorganisation_below_finality__should_send_again_and_complete() {
    let world = World::ethereum().await;
    let id = world.submit("reorged").await;
    world.look(id).await.unwrap();
    world.mine().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Confirming);
    world.chain.reorganise(1);
    world.follow().await;
    assert_eq!(world.chain.paid("reorged"), 0);
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Broadcasting);
    let history = events::of_transfer(world.store(), id).await.unwrap();
    assert!(history.iter().any(|event| event.payload["subStatus"] == "REORGED"), "{history:?}");
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn reorganisation_that_moves_it_to_another_block__should_start_counting_anew() {
    let world = World::ethereum().await;
    let id = world.submit("moved").await;
    world.look(id).await.unwrap();
    world.mine().await;
    world.look(id).await.unwrap();
    let bytes = world.chain.handed()[0].clone();
    world.chain.reorganise(1);
    world.follow().await;
    let signed = bursar_domain::package::SignedTransaction { tx_id: String::new(), bytes };
    bursar_domain::ports::BroadcastTransaction::broadcast(world.chain.as_ref(), &signed).await;
    for _ in 1..DEPTH {
        world.mine().await;
    }
    // Two blocks deep in its new place, four deep counted from the old one.
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Confirming);
    world.mine().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Completed);
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn reorganisation_deeper_than_finality__should_reopen_what_was_completed() {
    let world = World::ethereum().await;
    let id = world.submit("deep").await;
    assert_eq!(world.finish(id).await.status(), Status::Completed);
    let depth = usize::try_from(world.chain.height()).unwrap();
    world.chain.reorganise(depth);
    world.follow().await;
    assert_eq!(world.chain.paid("deep"), 0);
    world.look(id).await.unwrap();
    let transfer = world.transfer(id).await;
    assert_eq!(transfer.status(), Status::Broadcasting, "{transfer:?}");
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn block_that_is_not_deep_enough__should_not_be_final() {
    let world = World::ethereum().await;
    let id = world.submit("shallow").await;
    world.look(id).await.unwrap();
    for depth in 1..=DEPTH {
        world.mine().await;
        world.look(id).await.unwrap();
        let expected = if depth < DEPTH { Status::Confirming } else { Status::Completed };
        assert_eq!(world.status(id).await.0, expected, "{depth} blocks deep");
    }
}

/// What the node says of the tip counts only as far as its blocks were walked.
#[tokio::test]
async fn blocks_that_were_not_walked__should_not_make_it_final() {
    let world = World::ethereum().await;
    let id = world.submit("unwalked").await;
    world.look(id).await.unwrap();
    world.mine().await;
    for _ in 0..10 {
        world.chain.mine();
    }
    world.later();
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Confirming);
    world.follow().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Completed);
}

#[tokio::test]
async fn node_that_lags_behind__should_take_nothing_back() {
    let world = World::ethereum().await;
    let id = world.submit("lagging").await;
    world.look(id).await.unwrap();
    world.mine().await;
    world.mine().await;
    world.look(id).await.unwrap();
    let before = chain::cursor(world.store(), world.network).await.unwrap();
    let lagging = Arc::new(world.chain.truncated(2));
    let chain = world.chain.clone();
    let world = world.with_node(lagging);
    world.follow().await;
    assert_eq!(chain::cursor(world.store(), world.network).await.unwrap(), before);
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::Confirming, None::<SubStatus>));
    let world = world.with_node(chain);
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn several_followers__should_write_each_block_once() {
    let world = World::ethereum().await;
    let id = world.submit("followed").await;
    world.look(id).await.unwrap();
    for _ in 0..30 {
        world.chain.mine();
    }
    let ports = world.context.chain(world.network).unwrap();
    let stop = CancellationToken::new();
    let follow = || follower::catch_up(&world.context, world.network, ports, &stop);
    tokio::try_join!(follow(), follow(), follow()).unwrap();
    let cursor = chain::cursor(world.store(), world.network).await.unwrap().unwrap();
    assert_eq!(cursor.height, world.chain.height());
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn node_of_another_network__should_stop_the_follower_in_plain_sight() {
    let world = World::ethereum().await;
    let node = Arc::new(FakeChain::new(world.network, DEPTH, "another genesis"));
    for _ in 0..5 {
        world.mine().await;
        node.mine();
    }
    let world = world.with_node(node);
    let ports = world.context.chain(world.network).unwrap();
    let followed = follower::catch_up(&world.context, world.network, ports, &CancellationToken::new()).await;
    assert!(matches!(followed, Err(FollowError::NoCommonBlock { .. })), "{followed:?}");
}

#[tokio::test]
async fn deposit__should_be_completed_when_its_block_is_final() {
    let world = World::ethereum().await;
    world.chain.mine_deposit(&world.account);
    world.follow().await;
    for depth in 1..=DEPTH {
        let page = deposits::list(world.store(), deposits::Filter::default(), None, 10).await.unwrap();
        let [deposit] = &page.items[..] else { panic!("one deposit: {page:?}") };
        let expected = match depth {
            1 => DepositStatus::Detected,
            DEPTH => DepositStatus::Completed,
            _ => DepositStatus::Confirming,
        };
        assert_eq!(deposit.status, expected, "{depth} blocks deep");
        world.mine().await;
    }
}
