use super::scripted::{Mode, sent, sent_for_ever, set};
use bursar_domain::{
    chain::Liveness,
    ports::{NodeError, ObserveChain, SpentBy},
};

fn dead() -> Option<Liveness> {
    Some(Liveness::Dead { proof: "its nonce is used".into() })
}
fn alive() -> Option<Liveness> {
    Some(Liveness::MayConfirm)
}
fn unexplained() -> Option<Liveness> {
    Some(Liveness::Unexplained { reason: "used by nobody known".into() })
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Dead,
    Alive,
    Unexplained,
    NoAnswer,
}

fn verdict(answer: Result<Liveness, NodeError>) -> Verdict {
    match answer {
        Ok(Liveness::Dead { proof }) => {
            assert!(proof.contains(": its nonce is used"), "the nodes are named: {proof}");
            Verdict::Dead
        }
        Ok(Liveness::MayConfirm) => Verdict::Alive,
        Ok(Liveness::Unexplained { .. }) => Verdict::Unexplained,
        Err(NodeError::Unavailable { .. }) => Verdict::NoAnswer,
        Err(other) => panic!("{other}"),
    }
}

/// `None` is a node that is down.
#[tokio::test(start_paused = true)]
async fn death__should_need_enough_proofs_and_nobody_who_knows_better() {
    for (answers, min_agree, expected) in [
        ([dead(), dead(), dead()], 2, Verdict::Dead),
        ([dead(), dead(), None], 2, Verdict::Dead),
        ([dead(), None, None], 2, Verdict::NoAnswer),
        ([dead(), None, None], 1, Verdict::Dead),
        ([None, None, None], 1, Verdict::NoAnswer),
        ([dead(), dead(), alive()], 2, Verdict::Alive),
        ([alive(), dead(), dead()], 1, Verdict::Alive),
        ([alive(), None, None], 2, Verdict::Alive),
        ([dead(), alive(), unexplained()], 2, Verdict::Alive),
        ([dead(), dead(), unexplained()], 2, Verdict::Unexplained),
        ([dead(), unexplained(), unexplained()], 2, Verdict::Unexplained),
        ([alive(), unexplained(), unexplained()], 2, Verdict::Unexplained),
        ([unexplained(), None, None], 2, Verdict::NoAnswer),
    ] {
        for turn in 0..3 {
            let (set, nodes) = set(3, min_agree);
            for (index, answer) in answers.iter().enumerate() {
                nodes[(index + turn) % 3].set(|s| match answer {
                    Some(answer) => s.liveness = answer.clone(),
                    None => s.mode = Mode::Down,
                });
            }
            let told = set.liveness(&sent_for_ever()).await;
            assert_eq!(verdict(told), expected, "{answers:?}, {min_agree}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_behind__should_not_keep_it_alive() {
    for (height, expected) in [(89, Verdict::Dead), (90, Verdict::Alive), (100, Verdict::Alive)] {
        let (set, nodes) = set(3, 2);
        nodes[..2].iter().for_each(|node| node.set(|s| s.liveness = dead().unwrap()));
        nodes[2].set(|s| s.height = height);
        assert_eq!(verdict(set.liveness(&sent()).await), expected, "at {height}");
    }
    // On chains without a last ledger: before the block that used the nonce is final there.
    for (height, expected) in [(99, Verdict::Dead), (100, Verdict::Alive)] {
        let (set, nodes) = set(3, 2);
        nodes[..2].iter().for_each(|node| node.set(|s| s.liveness = dead().unwrap()));
        nodes[2].set(|s| s.height = height);
        let mut sent = sent_for_ever();
        let resource = sent.resources[0].clone();
        sent.spent_by = vec![SpentBy { resource, tx_id: "other".into(), height: 95 }];
        assert_eq!(verdict(set.liveness(&sent).await), expected, "at {height}");
    }
    // But it makes no proof out of one.
    let (set, nodes) = set(3, 2);
    nodes[0].set(|s| s.liveness = dead().unwrap());
    nodes[1..].iter().for_each(|node| node.set(|s| s.height = 80));
    assert_eq!(verdict(set.liveness(&sent()).await), Verdict::Alive);
}

#[tokio::test(start_paused = true)]
async fn one_node__should_be_asked_once() {
    let (set, nodes) = set(1, 1);
    nodes[0].set(|s| s.liveness = dead().unwrap());
    assert_eq!(set.liveness(&sent()).await.unwrap(), dead().unwrap());
    assert_eq!((nodes[0].calls("liveness"), nodes[0].calls("tips")), (1, 0));
}
