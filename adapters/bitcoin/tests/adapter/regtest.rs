//! Against a real Bitcoin Core node: fund, build, sign, broadcast, find it in a block.

use crate::support::{KINDS, LocalKey, NETWORKS, random_address};
use bursar_bitcoin::{BitcoinAdapter, BitcoinNode, BitcoinNodeConfig, FeePolicy, NodeAuth};
use bursar_domain::{
    account::{AccountQuery, AccountState, BitcoinAccount, Utxo},
    amount::{Amount, Satoshi},
    asset::Asset,
    chain::{Liveness, ObservedTransaction, WatchSet},
    effects::Resource,
    ids::TransactionId,
    intent::{Destination, Intent, Payment},
    network::{BitcoinNetwork, Network},
    package::SignedTransaction,
    ports::{
        AssembleTransaction, BroadcastOutcome, BroadcastTransaction, BuildRequest, BuildTransaction,
        DecodeTransaction, DeriveAddress, NodeError, ObserveChain, ReadAccount, SentTransaction,
    },
    time::Timestamp,
    wallet::{Branch, WalletDescriptor, WalletKind},
};
use bursar_regtest::{Bitcoind, Fault, FaultProxy, Rule, StartOptions};
use rand::{SeedableRng, rngs::StdRng};
use std::time::Duration;

pub fn client(bitcoind: &Bitcoind, network: BitcoinNetwork) -> BitcoinNode {
    client_at(bitcoind, bitcoind.rpc_url().to_owned(), network, Duration::from_secs(30))
}

fn client_at(bitcoind: &Bitcoind, url: String, network: BitcoinNetwork, timeout: Duration) -> BitcoinNode {
    let auth = NodeAuth::UserPassword {
        user: bitcoind.rpc_user().to_owned(),
        password: bitcoind.rpc_password().to_owned().into(),
    };
    BitcoinNode::new(BitcoinNodeConfig {
        network,
        url,
        auth,
        fees: FeePolicy::default(),
        finality_depth: 3,
        timeout,
    })
    .unwrap()
}

/// What concerns us in the tip.
async fn tip(node: &BitcoinNode, watch: &WatchSet) -> Vec<ObservedTransaction> {
    let height = node.tips().await.unwrap().tip.height;
    node.block(height, watch).await.unwrap().transactions
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_of_both_wallet_kinds_confirm() {
    let folder = tempfile::tempdir().unwrap();
    let bitcoind = Bitcoind::start(StartOptions::new(folder.path())).await.unwrap();
    let node = client(&bitcoind, BitcoinNetwork::Regtest);
    let network = Network::Bitcoin(BitcoinNetwork::Regtest);
    let mut rng = StdRng::seed_from_u64(42);

    for kind in KINDS {
        let key = LocalKey::random(kind, &mut rng);
        let group = key.group();
        let wallet = WalletDescriptor::new(network, kind, 0).unwrap();
        let change = wallet.path(Branch::Change, 0);
        let address = |path| BitcoinAdapter.address(&wallet, &group, &path).unwrap();

        // Three deposits to three addresses, found in blocks.
        let mut watch = WatchSet::default();
        watch.addresses.insert(address(change));
        let mut utxos = Vec::new();
        for index in 0..3 {
            let path = wallet.path(Branch::Receive, index);
            watch.addresses.insert(address(path));
            bitcoind.fund(&address(path), 1_000_000 + u64::from(index)).await.unwrap();
            let seen = tip(&node, &watch).await;
            assert_eq!(seen.len(), 1);
            let [credit] = seen[0].credits.as_slice() else { panic!("one credit: {seen:?}") };
            assert_eq!((credit.address.clone(), credit.asset), (address(path), Asset::Btc));
            assert_eq!(credit.amount, Amount::from_u64(1_000_000 + u64::from(index)));
            let outpoint = credit.outpoint.unwrap();
            watch.outpoints.insert(outpoint);
            utxos.push(Utxo { outpoint, value: Satoshi(1_000_000 + u64::from(index)), path });
        }

        // One payment to every address type in one transaction, from more than one coin.
        let mut payments: Vec<Payment> = Vec::new();
        for _ in 0..12 {
            let address = random_address(BitcoinNetwork::Regtest, &mut rng);
            let amount = Amount::from_u64(150_000 + payments.len() as u64);
            payments.push(Payment { destination: Destination { address, tag: None }, amount });
        }
        let intent = Intent {
            external_id: format!("regtest-{kind}").parse().unwrap(),
            wallet,
            asset: Asset::Btc,
            source: None,
            payments,
            max_fee: Amount::from_u64(50_000),
            expires_at: Timestamp(0),
            fills: None,
            terms: None,
        };
        let query = AccountQuery { intent: &intent, key: &group, source: None };
        let AccountState::Bitcoin(mut account) = node.account_state(query).await.unwrap() else {
            panic!("state of another chain")
        };
        // A new regtest node has no estimate.
        assert_eq!(account.fee_rate, FeePolicy::default().fallback);
        account.utxos = utxos;
        let state = AccountState::Bitcoin(account);
        let request = BuildRequest {
            intent: &intent,
            key: &group,
            state: &state,
            source: None,
            resource: None,
            change: Some(change),
        };
        let unsigned = BitcoinAdapter.build(&request).unwrap();
        let effects = BitcoinAdapter.decode(&unsigned, &group).unwrap();
        assert!(effects.resources.len() >= 2);
        let payloads = BitcoinAdapter.signing_payloads(&unsigned, &group).unwrap();
        let signed = BitcoinAdapter.assemble(&unsigned, &group, &key.sign_all(&payloads)).unwrap();

        assert_eq!(node.broadcast(&signed).await, BroadcastOutcome::Accepted);
        // Core accepts a transaction of its mempool again as if it were new.
        assert!(matches!(
            node.broadcast(&signed).await,
            BroadcastOutcome::Accepted | BroadcastOutcome::AlreadyKnown
        ));
        let sent = SentTransaction {
            transaction: TransactionId::new(Default::default()),
            tx_id: Some(signed.tx_id.clone()),
            unsigned: unsigned.clone(),
            siblings: Vec::new(),
            spent_by: Vec::new(),
            resources: effects.resources.clone(),
            validity: effects.validity,
        };
        assert_eq!(node.liveness(&sent).await.unwrap(), Liveness::MayConfirm);

        bitcoind.mine(1).await.unwrap();
        let seen = tip(&node, &watch).await;
        let [seen] = seen.as_slice() else { panic!("one transaction: {seen:?}") };
        assert_eq!((&seen.tx_id, &seen.spends), (&signed.tx_id, &effects.resources));
        let [credit] = seen.credits.as_slice() else { panic!("change alone: {seen:?}") };
        assert_eq!((&credit.address, credit.amount), (&effects.change[0].address, effects.change[0].amount));
        assert_eq!(node.broadcast(&signed).await, BroadcastOutcome::AlreadyKnown);
        for payment in &intent.payments {
            let held = bitcoind.balance(&payment.destination.address).await.unwrap();
            assert_eq!(Amount::from_u64(held), payment.amount);
        }

        // Another transaction over the same coins is refused, for good.
        let second = Intent { external_id: "again".parse().unwrap(), ..intent.clone() };
        let mut shifted = second.clone();
        shifted.payments.rotate_left(1);
        let unsigned = BitcoinAdapter.build(&BuildRequest { intent: &shifted, ..request }).unwrap();
        let payloads = BitcoinAdapter.signing_payloads(&unsigned, &group).unwrap();
        let conflicting = BitcoinAdapter.assemble(&unsigned, &group, &key.sign_all(&payloads)).unwrap();
        let outcome = node.broadcast(&conflicting).await;
        assert!(matches!(outcome, BroadcastOutcome::Rejected { .. }), "{outcome:?}");
        // Found by its id alone, too.
        let by_id = WatchSet { transactions: [signed.tx_id.clone()].into(), ..WatchSet::default() };
        assert_eq!(tip(&node, &by_id).await.len(), 1);
        assert!(matches!(&seen.spends[0], Resource::Utxo(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_of_what_comes_in_are_whose_outputs_were_spent() {
    let folder = tempfile::tempdir().unwrap();
    let bitcoind = Bitcoind::start(StartOptions::new(folder.path())).await.unwrap();
    let node = client(&bitcoind, BitcoinNetwork::Regtest);
    let mut rng = StdRng::seed_from_u64(4);
    // More coins than are sent below at a time.
    bitcoind.mine(130).await.unwrap();
    let Signed { signed, from, to } = signed_payment(&bitcoind, &node, &mut rng).await;
    assert_eq!(node.broadcast(&signed).await, BroadcastOutcome::Accepted);
    let watch = WatchSet { addresses: [to].into(), ..WatchSet::default() };
    for _ in 0..2 {
        bitcoind.mine(1).await.unwrap();
        let seen = tip(&node, &watch).await;
        let [seen] = &seen[..] else { panic!("one transaction: {seen:?}") };
        assert_eq!((&seen.tx_id, &seen.credits[0].from), (&signed.tx_id, &vec![from.clone()]));
        // In the block that takes the place of its own it is found in the same way.
        bitcoind.reorg(1).await.unwrap();
    }

    bitcoind.mine(1).await.unwrap();
    // One by one up to some, and of more all at once: the miner's each time. A coinbase has no sender, and is no deposit.
    for count in [1_usize, 4, 5, 9] {
        let mut watch = WatchSet::default();
        let mut paid = Vec::new();
        for _ in 0..count {
            let address = random_address(BitcoinNetwork::Regtest, &mut rng);
            paid.push(bitcoind.send(&address, 20_000).await.unwrap());
            watch.addresses.insert(address);
        }
        let mined = random_address(BitcoinNetwork::Regtest, &mut rng);
        bitcoind.mine_to(&mined, 1).await.unwrap();
        watch.addresses.insert(mined);
        let seen = tip(&node, &watch).await;
        let mut ids: Vec<_> = seen.iter().map(|tx| tx.tx_id.clone()).collect();
        ids.sort();
        paid.sort();
        assert_eq!(ids, paid);
        let miners: Vec<_> = seen.iter().flat_map(|tx| &tx.credits).map(|credit| &credit.from).collect();
        assert_eq!(miners.len(), count);
        assert!(miners.iter().all(|from| from.len() == 1 && *from == miners[0]), "{miners:?}");
        assert!(!watch.addresses.contains(&miners[0][0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let bitcoind = Bitcoind::start(StartOptions::new(folder.path())).await.unwrap();
    let node = client(&bitcoind, BitcoinNetwork::Regtest);
    bitcoind.mine(5).await.unwrap();
    let tips = node.tips().await.unwrap();
    assert_eq!((tips.tip.height, tips.final_height), (5, 3));

    let watch = WatchSet::default();
    let fifth = node.block(5, &watch).await.unwrap();
    assert_eq!(fifth.block, tips.tip);
    assert_eq!(fifth.parent_hash, node.block(4, &watch).await.unwrap().block.hash);
    assert!(matches!(node.block(6, &watch).await, Err(NodeError::NoBlock { height: 6, .. })));
    assert!(node.block(u64::MAX, &watch).await.is_err());

    bitcoind.reorg(2).await.unwrap();
    let replaced = node.block(5, &watch).await.unwrap();
    assert_ne!(replaced.block.hash, fifth.block.hash);
    assert_eq!(node.tips().await.unwrap().tip.height, 6);

    assert!(matches!(node.balance("x", Asset::Btc).await, Err(NodeError::Refused { .. })));
    let garbage = SignedTransaction { tx_id: "00".repeat(32), bytes: vec![1, 2, 3] };
    assert!(matches!(node.broadcast(&garbage).await, BroadcastOutcome::Rejected { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_network_or_none_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let bitcoind = Bitcoind::start(StartOptions::new(folder.path())).await.unwrap();
    for network in NETWORKS {
        let tips = client(&bitcoind, network).tips().await;
        match network {
            BitcoinNetwork::Regtest => assert!(tips.is_ok()),
            _ => assert!(matches!(tips, Err(NodeError::WrongNetwork { .. })), "{tips:?}"),
        }
    }
    let node = client(&bitcoind, BitcoinNetwork::Regtest);
    node.tips().await.unwrap();
    bitcoind.stop().await.unwrap();
    assert!(matches!(node.tips().await, Err(NodeError::Unavailable { .. })));
    let signed = SignedTransaction { tx_id: "00".repeat(32), bytes: vec![1, 2, 3] };
    assert!(matches!(node.broadcast(&signed).await, BroadcastOutcome::MaybeSent { .. }));
}

/// From a coin that was made for it.
struct Signed {
    signed: SignedTransaction,
    from: String,
    to: String,
}

async fn signed_payment(bitcoind: &Bitcoind, node: &BitcoinNode, rng: &mut StdRng) -> Signed {
    let network = Network::Bitcoin(BitcoinNetwork::Regtest);
    let key = LocalKey::random(WalletKind::P2tr, rng);
    let group = key.group();
    let wallet = WalletDescriptor::new(network, WalletKind::P2tr, 0).unwrap();
    let path = wallet.path(Branch::Receive, 0);
    let ours = BitcoinAdapter.address(&wallet, &group, &path).unwrap();
    bitcoind.fund(&ours, 100_000).await.unwrap();
    let watch = WatchSet { addresses: [ours.clone()].into(), ..WatchSet::default() };
    let outpoint = tip(node, &watch).await[0].credits[0].outpoint.unwrap();
    let to = random_address(BitcoinNetwork::Regtest, rng);
    let destination = Destination { address: to.clone(), tag: None };
    let intent = Intent {
        external_id: "lost".parse().unwrap(),
        wallet,
        asset: Asset::Btc,
        source: None,
        payments: vec![Payment { destination, amount: Amount::from_u64(50_000) }],
        max_fee: Amount::from_u64(10_000),
        expires_at: Timestamp(0),
        fills: None,
        terms: None,
    };
    let utxos = vec![Utxo { outpoint, value: Satoshi(100_000), path }];
    let state = AccountState::Bitcoin(BitcoinAccount { fee_rate: Satoshi(2_000), utxos });
    let unsigned = BitcoinAdapter
        .build(&BuildRequest {
            intent: &intent,
            key: &group,
            state: &state,
            source: None,
            resource: None,
            change: Some(wallet.path(Branch::Change, 0)),
        })
        .unwrap();
    let payloads = BitcoinAdapter.signing_payloads(&unsigned, &group).unwrap();
    let signed = BitcoinAdapter.assemble(&unsigned, &group, &key.sign_all(&payloads)).unwrap();
    Signed { signed, from: ours, to }
}

/// Whatever the network does to a request or its reply, it is never taken for a refusal, and the same bytes sent again are
/// accepted or known.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_or_reply_leaves_the_payment_open() {
    let folder = tempfile::tempdir().unwrap();
    let bitcoind = Bitcoind::start(StartOptions::new(folder.path())).await.unwrap();
    let direct = client(&bitcoind, BitcoinNetwork::Regtest);
    let proxy = FaultProxy::start(bitcoind.rpc_url()).await.unwrap();
    let through = client_at(&bitcoind, proxy.url(), BitcoinNetwork::Regtest, Duration::from_secs(2));
    through.tips().await.unwrap();
    let mut rng = StdRng::seed_from_u64(8);
    for (fault, arrives) in [
        (Fault::DropReply, true),
        (Fault::Truncate(10), true),
        (Fault::Refuse, false),
        (Fault::Status(503), false),
        (Fault::Delay(Duration::from_secs(3600)), false),
    ] {
        let Signed { signed, .. } = signed_payment(&bitcoind, &direct, &mut rng).await;
        proxy.add(Rule::new(fault.clone()).method("sendrawtransaction").once());
        let outcome = through.broadcast(&signed).await;
        assert!(matches!(outcome, BroadcastOutcome::MaybeSent { .. }), "{fault:?}: {outcome:?}");
        let mempool = bitcoind.call("getrawmempool", serde_json::json!([])).await.unwrap();
        let sent = mempool.as_array().unwrap().contains(&serde_json::json!(signed.tx_id));
        assert_eq!(sent, arrives, "{fault:?}");
        let again = through.broadcast(&signed).await;
        assert!(
            matches!(again, BroadcastOutcome::Accepted | BroadcastOutcome::AlreadyKnown),
            "{fault:?}: {again:?}"
        );
    }
    assert_eq!(proxy.faults(), 5);
}
