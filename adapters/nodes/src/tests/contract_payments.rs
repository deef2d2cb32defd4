//! Nodes of which some tell what contracts sent on, and some cannot.

use super::scripted::{Mode, Scripted, health, set};
use crate::NodeSet;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{CONTRACT_PAYMENTS, ContractPayment, ContractPayments, Credit, WatchSet},
    ports::{NodeError, ObserveChain},
};
use std::sync::Arc;

fn paid(amount: u64) -> ContractPayments {
    let credit = Credit {
        address: "0xA".into(),
        from: vec![],
        tag: None,
        asset: Asset::Eth,
        amount: Amount::from_u64(amount),
        outpoint: None,
        index: CONTRACT_PAYMENTS,
    };
    ContractPayments::Known(vec![ContractPayment { tx_id: "tx".into(), credit }])
}

fn tell(nodes: &[Arc<Scripted>], told: &[ContractPayments]) {
    for (node, told) in nodes.iter().zip(told) {
        node.set(|s| s.contract_payments = told.clone());
    }
}

async fn seen(set: &NodeSet) -> ContractPayments {
    set.block(99, &WatchSet::default()).await.unwrap().contract_payments
}

fn calls(nodes: &[Arc<Scripted>]) -> Vec<usize> {
    nodes.iter().map(|node| node.calls("block")).collect()
}

#[tokio::test(start_paused = true)]
async fn node_that_traces__should_be_preferred() {
    let (set, nodes) = set(3, 1);
    tell(&nodes, &[ContractPayments::Unknown, paid(5), ContractPayments::Unknown]);
    assert_eq!(seen(&set).await, paid(5));
    assert_eq!(calls(&nodes), [1, 1, 0]);
    assert_eq!(seen(&set).await, paid(5));
    assert_eq!(calls(&nodes), [1, 2, 0], "it is asked first from then on");
    assert_eq!(set.health().contract_payments, Some(true));
    let told = ["a", "b", "c"].map(|name| health(&set, name).contract_payments);
    assert_eq!(told, [Some(false), Some(true), None]);
}

#[tokio::test(start_paused = true)]
async fn payments__should_be_taken_from_no_fewer_nodes_than_must_agree() {
    let (set, nodes) = set(3, 2);
    tell(&nodes, &[paid(5), ContractPayments::Unknown, paid(5)]);
    assert_eq!(seen(&set).await, paid(5));
    assert_eq!(calls(&nodes), [1, 1, 1]);
    // One alone tells something else.
    nodes[0].set(|s| s.contract_payments = paid(6));
    nodes[1].set(|s| s.contract_payments = paid(5));
    assert_eq!(seen(&set).await, paid(5));
    assert_eq!((health(&set, "a").outvoted, health(&set, "b").outvoted), (1, 0));

    nodes[1].set(|s| s.contract_payments = paid(7));
    let error = set.block(99, &WatchSet::default()).await.unwrap_err();
    assert!(matches!(error, NodeError::Disagree { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn block__should_count_without_payments_that_too_few_nodes_can_tell() {
    let (set, nodes) = set(2, 2);
    tell(&nodes, &[paid(5), ContractPayments::Unknown]);
    assert_eq!(seen(&set).await, ContractPayments::Unknown);
    assert_eq!(set.health().contract_payments, Some(false));
    assert_eq!((health(&set, "a").outvoted, health(&set, "b").outvoted), (0, 0));
    // What is not about contracts must still be the same.
    nodes[1].set(|s| s.invents = Some(99));
    let error = set.block(99, &WatchSet::default()).await.unwrap_err();
    assert!(matches!(error, NodeError::Disagree { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn node_that_traced_and_fails_now__should_be_waited_for() {
    let (set, nodes) = set(2, 1);
    tell(&nodes, &[paid(5), ContractPayments::Unknown]);
    assert_eq!(seen(&set).await, paid(5));
    for mode in [Mode::Refuses, Mode::Down] {
        nodes[0].set(|s| s.mode = mode);
        let error = set.block(99, &WatchSet::default()).await.unwrap_err();
        assert!(error.to_string().contains("does not trace it"), "{error}");
    }
    nodes[0].set(|s| s.mode = Mode::Up);
    tokio::time::advance(std::time::Duration::from_secs(120)).await;
    assert_eq!(seen(&set).await, paid(5));
    // Gone for good: it says so itself.
    nodes[0].set(|s| s.contract_payments = ContractPayments::Unknown);
    assert_eq!(seen(&set).await, ContractPayments::Unknown);
}

#[tokio::test(start_paused = true)]
async fn node_that_never_traced__should_not_be_waited_for() {
    let (set, nodes) = set(2, 1);
    tell(&nodes, &[ContractPayments::Unknown, ContractPayments::Unknown]);
    nodes[1].set(|s| s.mode = Mode::Down);
    assert_eq!(seen(&set).await, ContractPayments::Unknown);
}
