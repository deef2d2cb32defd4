use super::scripted::{Mode, set, signed};
use bursar_domain::ports::{BroadcastOutcome, BroadcastTransaction};

fn rejected() -> BroadcastOutcome {
    BroadcastOutcome::Rejected { reason: "fee too low".into() }
}

fn unclear() -> BroadcastOutcome {
    BroadcastOutcome::MaybeSent { reason: "the answer broke off".into() }
}

#[tokio::test(start_paused = true)]
async fn bytes__should_go_to_every_node_once() {
    for nodes in [1, 3] {
        let (set, nodes) = set(nodes, 1);
        assert_eq!(set.broadcast(&signed()).await, BroadcastOutcome::Accepted);
        tokio::task::yield_now().await;
        assert!(nodes.iter().all(|node| node.calls("broadcast") == 1));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_them__should_be_enough() {
    for (others, expected) in [
        ([BroadcastOutcome::Accepted, rejected()], BroadcastOutcome::Accepted),
        ([rejected(), BroadcastOutcome::Accepted], BroadcastOutcome::Accepted),
        ([unclear(), BroadcastOutcome::AlreadyKnown], BroadcastOutcome::AlreadyKnown),
    ] {
        let (set, nodes) = set(3, 2);
        nodes[0].set(|s| s.mode = Mode::Hangs);
        for (node, outcome) in nodes[1..].iter().zip(others) {
            node.set(|s| s.broadcast = outcome);
        }
        let began = tokio::time::Instant::now();
        assert_eq!(set.broadcast(&signed()).await, expected);
        assert_eq!(began.elapsed().as_secs(), 0, "the one that hangs is not waited for");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal__should_need_all_and_doubt_should_stay() {
    let (set, nodes) = set(2, 1);
    nodes.iter().for_each(|node| node.set(|s| s.broadcast = rejected()));
    match set.broadcast(&signed()).await {
        BroadcastOutcome::Rejected { reason } => {
            assert!(reason.contains("a refuses: fee too low") && reason.contains("b refuses"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    for change in [Mode::Up, Mode::Down, Mode::Hangs] {
        nodes[1].set(|s| (s.mode, s.broadcast) = (change, unclear()));
        match set.broadcast(&signed()).await {
            BroadcastOutcome::MaybeSent { reason } => {
                assert!(reason.contains("a refuses: fee too low") && reason.contains("b: "), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt__should_not_be_repeated_in_secret() {
    let (set, nodes) = set(1, 1);
    nodes[0].set(|s| s.mode = Mode::Down);
    for attempt in 1..=9 {
        let outcome = set.broadcast(&signed()).await;
        assert!(matches!(outcome, BroadcastOutcome::MaybeSent { .. }), "{outcome:?}");
        assert_eq!(nodes[0].calls("broadcast"), attempt, "nor held back");
    }
}
