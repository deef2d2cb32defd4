use super::scripted::{Mode, PATIENCE, health, set};
use bursar_domain::{
    chain::WatchSet,
    health::{Circuit, NodeCondition},
    ports::{NodeError, ObserveChain},
};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_node_that_fails__should_be_replaced_by_the_next() {
    let (set, nodes) = set(3, 1);
    nodes[0].set(|s| s.mode = Mode::Down);
    assert_eq!(set.block(100, &WatchSet::default()).await.unwrap().block.hash, "main100");
    assert_eq!((nodes[1].calls("block"), nodes[2].calls("block")), (1, 0));
    let down = health(&set, "a");
    assert_eq!(down.condition, NodeCondition::Down);
    assert!(down.last_error.unwrap().contains("connection refused"));
    // Lately it failed, so it is not asked first.
    let before = nodes[0].calls("block");
    set.block(99, &WatchSet::default()).await.unwrap();
    assert_eq!(nodes[0].calls("block"), before);
}

#[tokio::test(start_paused = true)]
async fn too_few_nodes__should_be_told_with_their_reasons() {
    let (set, nodes) = set(3, 2);
    nodes[0].set(|s| s.mode = Mode::Down);
    nodes[2].set(|s| s.mode = Mode::WrongNetwork);
    let error = set.tips().await.unwrap_err();
    assert!(matches!(error, NodeError::Unavailable { .. }), "{error}");
    let text = error.to_string();
    for word in [
        "2 of 3",
        "a: tips: unreachable: connection refused",
        "b: answered",
        "c: it serves another network: ethereum:1",
    ] {
        assert!(text.contains(word), "{word} not in: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_network__should_be_left_out_and_shown() {
    let (set, nodes) = set(3, 2);
    nodes[1].set(|s| s.mode = Mode::WrongNetwork);
    for _ in 0..5 {
        set.tips().await.unwrap();
    }
    assert_eq!(nodes[1].calls("tips"), 1, "asked once, not tried again, left alone since");
    let shown = health(&set, "b");
    assert_eq!((shown.condition, shown.circuit), (NodeCondition::WrongNetwork, Circuit::Open));
    nodes[1].set(|s| s.mode = Mode::Up);
    tokio::time::advance(Duration::from_secs(30)).await;
    set.tips().await.unwrap();
    assert_eq!(health(&set, "b").condition, NodeCondition::Up);
}

#[tokio::test(start_paused = true)]
async fn flapping__should_be_bridged_by_retries() {
    let (set, nodes) = set(1, 1);
    nodes[0].set(|s| s.mode = Mode::Flaps(2));
    for _ in 0..20 {
        set.tips().await.unwrap();
    }
    assert_eq!(nodes[0].calls("tips"), 60);
    assert_eq!(health(&set, "a").circuit, Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone__should_be_left_alone_and_found_again() {
    let (set, nodes) = set(1, 1);
    nodes[0].set(|s| s.mode = Mode::Down);
    for _ in 0..50 {
        set.tips().await.unwrap_err();
    }
    // Five reads of three attempts each.
    assert_eq!(nodes[0].calls("tips"), 15);
    let error = set.tips().await.unwrap_err().to_string();
    assert!(error.contains("left alone") && error.contains("connection refused"), "{error}");
    assert_eq!(health(&set, "a").circuit, Circuit::Open);
    nodes[0].set(|s| s.mode = Mode::Up);
    tokio::time::advance(Duration::from_secs(2)).await;
    set.tips().await.unwrap();
    assert_eq!(health(&set, "a").circuit, Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs__should_cost_the_others_little_and_then_nothing() {
    let (set, nodes) = set(3, 2);
    nodes[0].set(|s| s.mode = Mode::Hangs);
    let began = Instant::now();
    for _ in 0..5 {
        set.tips().await.unwrap();
    }
    assert_eq!(began.elapsed().as_secs(), 5 * PATIENCE.as_secs());
    assert_eq!(health(&set, "a").circuit, Circuit::Open);
    let began = Instant::now();
    set.tips().await.unwrap();
    set.block(100, &WatchSet::default()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_node__should_be_overtaken() {
    let (set, nodes) = set(2, 1);
    nodes[0].set(|s| s.mode = Mode::Slow(Duration::from_secs(3)));
    let began = Instant::now();
    set.block(100, &WatchSet::default()).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
    assert_eq!(health(&set, "a").condition, NodeCondition::Down);
    // Alone it is only slow.
    let (set, nodes) = super::scripted::set(1, 1);
    nodes[0].set(|s| s.mode = Mode::Slow(Duration::from_secs(3)));
    set.block(100, &WatchSet::default()).await.unwrap();
    assert_eq!(health(&set, "a").condition, NodeCondition::Up);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_never_answers__should_be_given_up_at_the_deadline() {
    let (set, nodes) = set(1, 1);
    nodes[0].set(|s| s.mode = Mode::Hangs);
    let error = set.tips().await.unwrap_err();
    assert!(error.to_string().contains("no answer within 16s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_was_dropped__should_not_lock_the_node_out() {
    let (set, nodes) = set(1, 1);
    nodes[0].set(|s| s.mode = Mode::Down);
    for _ in 0..5 {
        set.tips().await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    nodes[0].set(|s| s.mode = Mode::Hangs);
    tokio::time::timeout(Duration::from_millis(10), set.tips()).await.unwrap_err();
    nodes[0].set(|s| s.mode = Mode::Up);
    set.tips().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn declining__should_take_a_node_down_only_for_the_question_that_all_answer() {
    let (set, nodes) = set(1, 1);
    nodes[0].set(|s| s.mode = Mode::Refuses);
    for _ in 0..9 {
        set.block(1, &WatchSet::default()).await.unwrap_err();
    }
    assert_eq!((nodes[0].calls("block"), health(&set, "a").circuit), (9, Circuit::Closed));
    for _ in 0..9 {
        set.tips().await.unwrap_err();
    }
    assert_eq!((nodes[0].calls("tips"), health(&set, "a").circuit), (5, Circuit::Open));
}
