//! Against a real Bitcoin Core node: replacements replace, a child is taken with its parent, a cancellation ends a payment, and a
//! transaction that lost its input is proven dead when that is final, not before.

use crate::{
    regtest::client,
    replacing::{child_of, effects, replace, signed},
    support::{KINDS, LocalKey, Scenario, random_address},
};
use bitcoin::consensus::serialize;
use bursar_bitcoin::{BitcoinAdapter, BitcoinNode};
use bursar_domain::{
    account::{AccountState, BitcoinAccount, Utxo},
    amount::{Amount, Satoshi},
    asset::Asset,
    chain::{Liveness, WatchSet},
    ids::TransactionId,
    intent::{Destination, Intent, Payment},
    network::{BitcoinNetwork, Network},
    package::{Purpose, SignedTransaction, UnsignedTransaction},
    ports::{BroadcastOutcome, BroadcastTransaction, DeriveAddress, ObserveChain, SentTransaction, SpentBy},
    time::Timestamp,
    wallet::{Branch, WalletDescriptor, WalletKind},
};
use bursar_regtest::{Bitcoind, StartOptions};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;

/// A payment of 90,000 out of two coins of 50,000, and a third coin to spare.
async fn scenario(bitcoind: &Bitcoind, node: &BitcoinNode, kind: WalletKind, rng: &mut StdRng) -> Scenario {
    let key = LocalKey::random(kind, rng);
    let group = key.group();
    let wallet = WalletDescriptor::new(Network::Bitcoin(BitcoinNetwork::Regtest), kind, 0).unwrap();
    let mut utxos = Vec::new();
    for index in 0..3 {
        let path = wallet.path(Branch::Receive, index);
        let address = BitcoinAdapter.address(&wallet, &group, &path).unwrap();
        bitcoind.fund(&address, 50_000).await.unwrap();
        let watch = WatchSet { addresses: [address].into(), ..WatchSet::default() };
        let height = node.tips().await.unwrap().tip.height;
        let block = node.block(height, &watch).await.unwrap();
        let outpoint = block.transactions[0].credits[0].outpoint.unwrap();
        utxos.push(Utxo { outpoint, value: Satoshi(50_000), path });
    }
    let address = random_address(BitcoinNetwork::Regtest, rng);
    let intent = Intent {
        external_id: "stuck".parse().unwrap(),
        wallet,
        asset: Asset::Btc,
        source: None,
        payments: vec![Payment {
            destination: Destination { address, tag: None },
            amount: Amount::from_u64(90_000),
        }],
        max_fee: Amount::from_u64(30_000),
        expires_at: Timestamp(0),
        fills: None,
        terms: None,
    };
    let state = AccountState::Bitcoin(BitcoinAccount { fee_rate: Satoshi(1_000), utxos });
    Scenario { group, key, intent, state, change: wallet.path(Branch::Change, 0) }
}

fn bytes(scenario: &Scenario, unsigned: &UnsignedTransaction) -> SignedTransaction {
    let transaction = signed(scenario, unsigned);
    SignedTransaction { tx_id: transaction.compute_txid().to_string(), bytes: serialize(&transaction) }
}

async fn mempool(bitcoind: &Bitcoind) -> Vec<String> {
    serde_json::from_value(bitcoind.call("getrawmempool", json!([])).await.unwrap()).unwrap()
}

/// As the mempool would say it.
async fn acceptable(bitcoind: &Bitcoind, signed: &SignedTransaction) -> serde_json::Value {
    let raw = hex::encode(&signed.bytes);
    bitcoind.call("testmempoolaccept", json!([[raw]])).await.unwrap()[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn replacements_replace_and_a_cancellation_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let bitcoind = Bitcoind::start(StartOptions::new(folder.path())).await.unwrap();
    let node = client(&bitcoind, BitcoinNetwork::Regtest);
    let mut rng = StdRng::seed_from_u64(11);
    for kind in KINDS {
        let scenario = scenario(&bitcoind, &node, kind, &mut rng).await;
        let mut variants = vec![scenario.build().unwrap()];
        let mut sent = bytes(&scenario, &variants[0]);
        assert_eq!(node.broadcast(&sent).await, BroadcastOutcome::Accepted);
        // The least raise that is made, twice; then one that the change cannot pay; then nobody is paid any more.
        for (purpose, percent) in
            [(Purpose::Pay, 0), (Purpose::Pay, 0), (Purpose::Pay, 2_500), (Purpose::Cancel, 0)]
        {
            let next = replace(&scenario, &variants, &purpose, percent).unwrap();
            let signed = bytes(&scenario, &next);
            let verdict = acceptable(&bitcoind, &signed).await;
            assert_eq!(verdict["allowed"], true, "{kind}: {verdict}");
            assert_eq!(node.broadcast(&signed).await, BroadcastOutcome::Accepted);
            assert_eq!(
                mempool(&bitcoind).await,
                std::slice::from_ref(&signed.tx_id),
                "{kind}: the earlier one is gone"
            );
            assert!(matches!(node.broadcast(&sent).await, BroadcastOutcome::Rejected { .. }));
            variants.push(next);
            sent = signed;
        }
        assert_eq!(effects(&scenario, &variants[3]).resources.len(), 3, "an input more was needed");
        bitcoind.mine(1).await.unwrap();
        assert!(mempool(&bitcoind).await.is_empty());
        let destination = &scenario.intent.payments[0].destination.address;
        assert_eq!(bitcoind.balance(destination).await.unwrap(), 0);
        let change =
            BitcoinAdapter.address(&scenario.intent.wallet, &scenario.group, &scenario.change).unwrap();
        let returned = bitcoind.balance(&change).await.unwrap();
        let last = effects(&scenario, &variants[4]);
        assert_eq!(Amount::from_u64(returned), last.change[0].amount);

        // Of the payment, an input is spent by another: hinted at by the follower, proven by the node.
        let height = node.tips().await.unwrap().tip.height;
        let resource = effects(&scenario, &variants[0]).resources[0].clone();
        let sent_first = |spent_by| SentTransaction {
            transaction: TransactionId::new(Default::default()),
            tx_id: None,
            unsigned: variants[0].clone(),
            siblings: vec![sent.tx_id.clone()],
            spent_by,
            resources: effects(&scenario, &variants[0]).resources,
            validity: bursar_domain::effects::Validity::Unlimited,
        };
        let hint = SpentBy { resource: resource.clone(), tx_id: sent.tx_id.clone(), height };
        assert_eq!(
            node.liveness(&sent_first(vec![hint.clone()])).await.unwrap(),
            Liveness::MayConfirm,
            "not final yet"
        );
        bitcoind.mine(2).await.unwrap();
        assert_eq!(node.liveness(&sent_first(Vec::new())).await.unwrap(), Liveness::MayConfirm, "no hint");
        let elsewhere = SpentBy { height: height - 1, ..hint.clone() };
        assert_eq!(
            node.liveness(&sent_first(vec![elsewhere])).await.unwrap(),
            Liveness::MayConfirm,
            "not in that block"
        );
        let Liveness::Dead { proof } = node.liveness(&sent_first(vec![hint.clone()])).await.unwrap() else {
            panic!("three confirmations are final")
        };
        let block = bitcoind.call("getblockhash", json!([height])).await.unwrap();
        for fact in [sent.tx_id.as_str(), block.as_str().unwrap(), &height.to_string()] {
            assert!(proof.contains(fact), "{proof}");
        }
        // The one that did it is not dead by that.
        let itself = SentTransaction { unsigned: variants[4].clone(), ..sent_first(vec![hint]) };
        assert_eq!(node.liveness(&itself).await.unwrap(), Liveness::MayConfirm);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_accepted_and_mined_with_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let bitcoind = Bitcoind::start(StartOptions::new(folder.path())).await.unwrap();
    let node = client(&bitcoind, BitcoinNetwork::Regtest);
    let mut rng = StdRng::seed_from_u64(12);
    for kind in KINDS {
        let mut scenario = scenario(&bitcoind, &node, kind, &mut rng).await;
        let parent = scenario.build().unwrap();
        let parent_bytes = bytes(&scenario, &parent);
        assert_eq!(node.broadcast(&parent_bytes).await, BroadcastOutcome::Accepted);
        scenario.account_mut().fee_rate = Satoshi(10_000);
        let child = replace(&scenario, std::slice::from_ref(&parent), &child_of(&parent), 10).unwrap();
        let child_bytes = bytes(&scenario, &child);
        assert_eq!(node.broadcast(&child_bytes).await, BroadcastOutcome::Accepted);
        let entry = bitcoind.call("getmempoolentry", json!([parent_bytes.tx_id])).await.unwrap();
        let (fees, size) =
            (entry["fees"]["descendant"].as_f64().unwrap(), entry["descendantsize"].as_f64().unwrap());
        assert!((fees * 1e8).round() >= 10.0 * size, "{fees} BTC for {size} vB");

        // A better child takes its place; a raise of the parent takes both.
        let family = [parent.clone(), child.clone()];
        let better = bytes(&scenario, &replace(&scenario, &family, &child_of(&parent), 20).unwrap());
        assert_eq!(node.broadcast(&better).await, BroadcastOutcome::Accepted);
        assert!(!mempool(&bitcoind).await.contains(&child_bytes.tx_id));
        let mut all = mempool(&bitcoind).await;
        all.sort();
        let mut expected = vec![parent_bytes.tx_id.clone(), better.tx_id.clone()];
        expected.sort();
        assert_eq!(all, expected);
        if kind == WalletKind::P2tr {
            bitcoind.mine(1).await.unwrap();
            let paid = bitcoind.balance(&scenario.intent.payments[0].destination.address).await.unwrap();
            assert_eq!(paid, 90_000);
        } else {
            let better = replace(&scenario, &family, &child_of(&parent), 20).unwrap();
            let raised = replace(&scenario, &[parent, child, better], &Purpose::Pay, 0).unwrap();
            let raised = bytes(&scenario, &raised);
            assert_eq!(node.broadcast(&raised).await, BroadcastOutcome::Accepted);
            assert_eq!(mempool(&bitcoind).await, [raised.tx_id]);
            bitcoind.mine(1).await.unwrap();
        }
    }
}
