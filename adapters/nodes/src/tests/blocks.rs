use super::scripted::{Mode, Scripted, hash, health, set};
use crate::{InvalidNodeSet, NamedNode, NodeSet, NodeSetSettings, tests::scripted::TIMEOUT};
use bursar_domain::{
    chain::{Tips, WatchSet},
    health::NodeCondition,
    ports::{Node, NodeError, ObserveChain},
};
use proptest::prelude::*;
use std::sync::Arc;

fn watch() -> WatchSet {
    WatchSet::default()
}

fn calls(nodes: &[Arc<Scripted>], operation: &'static str) -> Vec<usize> {
    nodes.iter().map(|node| node.calls(operation)).collect()
}

fn at(height: u64, final_height: u64) -> Tips {
    let tip = bursar_domain::chain::BlockRef { height, hash: hash(height, None) };
    Tips { tip, final_height }
}

#[tokio::test(start_paused = true)]
async fn one_node__should_be_asked_once_for_each_question() {
    let (set, nodes) = set(1, 1);
    assert_eq!(set.tips().await.unwrap(), at(100, 95));
    set.block(100, &watch()).await.unwrap();
    let missing = set.block(101, &watch()).await;
    assert!(matches!(missing, Err(NodeError::NoBlock { height: 101, .. })), "{missing:?}");
    assert_eq!((nodes[0].calls("tips"), nodes[0].calls("block")), (1, 2));
    nodes[0].set(|s| s.mode = Mode::WrongNetwork);
    assert!(matches!(set.tips().await, Err(NodeError::WrongNetwork { .. })), "its own error");
}

#[tokio::test(start_paused = true)]
async fn blocks__should_come_from_no_more_nodes_than_must_agree() {
    let (set, nodes) = set(3, 2);
    assert_eq!(set.block(99, &watch()).await.unwrap().block.hash, "main99");
    assert_eq!(calls(&nodes, "block"), [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_liar__should_be_outvoted_and_asked_last_from_then_on() {
    type Lie = fn(&mut super::scripted::Script);
    let lies: [Lie; 2] = [|s| s.branch = Some((0, "evil")), |s| s.invents = Some(99)];
    for lie in lies {
        let (set, nodes) = set(3, 2);
        nodes[0].set(lie);
        let block = set.block(99, &watch()).await.unwrap();
        assert!(block.block.hash == "main99" && block.transactions.is_empty());
        assert_eq!(calls(&nodes, "block"), [1, 1, 1]);
        assert_eq!((health(&set, "a").outvoted, health(&set, "b").outvoted), (1, 0));
        set.block(98, &watch()).await.unwrap();
        assert_eq!(calls(&nodes, "block"), [1, 2, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn too_few_that_agree__should_give_neither_answer() {
    let (set, nodes) = set(2, 2);
    nodes[1].set(|s| s.invents = Some(99));
    let error = set.block(99, &watch()).await.unwrap_err();
    assert!(matches!(error, NodeError::Disagree { .. }), "{error}");
    let text = error.to_string();
    for word in ["a shows main99 with 0", "b shows main99 with 1", "2 of 2"] {
        assert!(text.contains(word), "{word} not in: {text}");
    }
    nodes[1].set(|s| s.invents = None);
    assert_eq!(set.block(99, &watch()).await.unwrap().block.hash, "main99");

    nodes[1].set(|s| s.mode = Mode::Down);
    let error = set.block(99, &watch()).await.unwrap_err();
    assert!(matches!(error, NodeError::Unavailable { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("b: block: unreachable: connection refused") && text.contains("a: shows"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_block__should_be_missing_only_if_enough_nodes_lack_it() {
    let (set, nodes) = set(3, 2);
    nodes[0].set(|s| s.height = 90);
    assert_eq!(set.block(100, &watch()).await.unwrap().block.height, 100);
    nodes[1].set(|s| s.mode = Mode::Down);
    let error = set.block(100, &watch()).await.unwrap_err();
    assert!(matches!(error, NodeError::Unavailable { .. }), "one lacks it, one shows it: {error}");
    nodes[1].set(|s| (s.mode, s.height) = (Mode::Up, 90));
    let error = set.block(100, &watch()).await.unwrap_err();
    assert!(matches!(error, NodeError::NoBlock { height: 100, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_laggard__should_be_no_error_and_hold_nothing_up() {
    let (set, nodes) = set(3, 2);
    nodes[0].set(|s| s.height = 40);
    assert_eq!(set.tips().await.unwrap(), at(100, 95));
    set.block(100, &watch()).await.unwrap();
    assert_eq!(calls(&nodes, "block"), [0, 1, 1], "it is known to be behind");
    let lagging = health(&set, "a");
    assert_eq!((lagging.condition, lagging.height), (NodeCondition::Up, Some(40)));
    // Without it two are left, which are a block apart: what both have.
    nodes[0].set(|s| s.mode = Mode::Down);
    nodes[1].set(|s| s.height = 101);
    assert_eq!(set.tips().await.unwrap(), at(100, 95));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_told_before__should_not_be_asked_again() {
    let (set, nodes) = set(2, 2);
    set.tips().await.unwrap();
    nodes[0].set(|s| s.height = 101);
    assert_eq!(set.tips().await.unwrap(), at(100, 95));
    assert_eq!(calls(&nodes, "block"), [0, 0]);
    // It has left the branch of which it told: seen, because its tip is compared again one block later.
    nodes[0].set(|s| (s.height, s.branch) = (101, Some((100, "fork"))));
    nodes[1].set(|s| s.height = 101);
    assert_eq!(set.tips().await.unwrap().tip.hash, "main100");
    nodes[1].set(|s| s.branch = Some((100, "fork")));
    assert_eq!(set.tips().await.unwrap().tip.hash, "fork101");
}

#[tokio::test(start_paused = true)]
async fn a_fork_at_the_tip__should_lower_it_to_the_common_block() {
    let (set, nodes) = set(2, 2);
    nodes[1].set(|s| s.branch = Some((100, "fork")));
    assert_eq!(set.tips().await.unwrap(), at(99, 94));
    // A third decides.
    let (set, nodes) = super::scripted::set(3, 2);
    nodes[1].set(|s| s.branch = Some((100, "fork")));
    assert_eq!(set.tips().await.unwrap(), at(100, 95));
    // Too long for a fork of the day.
    let (set, nodes) = super::scripted::set(2, 2);
    nodes[1].set(|s| s.branch = Some((90, "fork")));
    let error = set.tips().await.unwrap_err();
    assert!(matches!(error, NodeError::Disagree { .. }), "{error}");
    assert!(error.to_string().contains("b is at 100 with hash fork100"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn finality__should_need_enough_nodes_and_keep_its_distance() {
    // (nodes, min_agree, what a, b and c claim: height and final height; expected)
    for (claims, expected) in [
        ([(100, Some(100)), (100, None), (100, None)], at(100, 95)),
        ([(100, Some(0)), (100, None), (100, None)], at(100, 95)),
        ([(9_000, Some(9_000)), (100, None), (100, None)], at(100, 95)),
        // A liar at the laggard's height cannot pull the tip down onto what is final.
        ([(90, Some(90)), (100, None), (90, None)], at(90, 85)),
    ] {
        let (set, nodes) = set(3, 2);
        for (node, (height, final_claim)) in nodes.iter().zip(claims) {
            node.set(|s| (s.height, s.final_claim) = (height, final_claim));
        }
        assert_eq!(set.tips().await.unwrap(), expected, "{claims:?}");
    }
    let (set, nodes) = super::scripted::set(2, 2);
    nodes[0].set(|s| s.final_claim = Some(100));
    assert_eq!(set.tips().await.unwrap(), at(100, 95));
}

#[tokio::test(start_paused = true)]
async fn a_set__should_refuse_what_makes_no_sense() {
    let (_, nodes) = set(2, 1);
    let named = |names: [&str; 2]| -> Vec<NamedNode> {
        let node = |(name, node): (&str, &Arc<Scripted>)| NamedNode {
            name: name.into(),
            node: Arc::clone(node) as Arc<dyn Node>,
        };
        names.into_iter().zip(&nodes).map(node).collect()
    };
    let refused = |names, k| NodeSet::new(named(names), NodeSetSettings::new(k, TIMEOUT)).err().unwrap();
    assert_eq!(refused(["a", "a"], 1), InvalidNodeSet::Duplicate("a".into()));
    assert_eq!(refused(["a", "b"], 0), InvalidNodeSet::MinAgree { min_agree: 0, nodes: 2 });
    assert_eq!(refused(["a", "b"], 3), InvalidNodeSet::MinAgree { min_agree: 3, nodes: 2 });
    let none = NodeSet::new(Vec::new(), NodeSetSettings::new(1, TIMEOUT)).err();
    assert_eq!(none, Some(InvalidNodeSet::Empty));
}

#[derive(Debug, Clone)]
struct Lie {
    height: u64,
    final_claim: u64,
    forks_at: Option<u64>,
    invents: Option<u64>,
}

fn lie() -> impl Strategy<Value = Lie> {
    let some = || prop::option::of(85u64..120);
    (0u64..130, 0u64..130, some(), some()).prop_map(|(height, final_claim, forks_at, invents)| Lie {
        height,
        final_claim,
        forks_at,
        invents,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever fewer than `min_agree` nodes say, in whatever order the nodes come: nothing is believed that no honest node says.
    #[test]
    fn fewer_liars_than_must_agree__should_never_be_believed(
        honest in prop::collection::vec(95u64..105, 1..4),
        lies in prop::collection::vec(lie(), 1..3),
        turn in 0usize..6,
        confirmations in 1u64..8,
    ) {
        let k = lies.len() + 1;
        prop_assume!(honest.len() + lies.len() >= k);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let count = honest.len() + lies.len();
            let (set, nodes) = set(count, k);
            let place = |index: usize| &nodes[(index + turn) % count];
            for (index, height) in honest.iter().enumerate() {
                place(index).set(|s| (s.height, s.confirmations) = (*height, confirmations));
            }
            for (index, lie) in lies.iter().enumerate() {
                place(honest.len() + index).set(|s| {
                    s.height = lie.height;
                    s.final_claim = Some(lie.final_claim);
                    s.branch = lie.forks_at.map(|from| (from, "evil"));
                    s.invents = lie.invents;
                });
            }
            let highest = *honest.iter().max().unwrap();
            for _ in 0..3 {
                match set.tips().await {
                    Ok(tips) => {
                        prop_assert_eq!(&tips.tip.hash, &hash(tips.tip.height, None));
                        prop_assert!(tips.tip.height <= highest);
                        prop_assert!(tips.final_height <= (highest + 1).saturating_sub(confirmations));
                        prop_assert!(tips.tip.height - tips.final_height >= (confirmations - 1).min(tips.tip.height));
                    }
                    Err(error) => prop_assert!(honest.len() < k, "enough are honest: {}", error),
                }
                for height in [94, highest] {
                    match set.block(height, &watch()).await {
                        Ok(block) => {
                            prop_assert_eq!(block.block.hash, hash(height, None));
                            prop_assert!(block.transactions.is_empty());
                        }
                        Err(error) => {
                            let have_it = honest.iter().filter(|reached| **reached >= height).count();
                            prop_assert!(have_it < k, "enough have it: {}", error);
                        }
                    }
                }
            }
            Ok(())
        })?;
    }
}
