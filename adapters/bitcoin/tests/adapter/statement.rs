//! What the node tells of our addresses by itself, against a real node.

use crate::{
    regtest::client,
    support::{LocalKey, random_address},
};
use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    account::{AccountState, BitcoinAccount, Utxo},
    amount::{Amount, Satoshi},
    asset::Asset,
    effects::Resource,
    intent::{Destination, Intent, Payment},
    network::{BitcoinNetwork, Network},
    ports::{
        AssembleTransaction, BroadcastOutcome, BroadcastTransaction, BuildRequest, BuildTransaction,
        DecodeTransaction, DeriveAddress,
    },
    statement::{ReadStatement, StatementQuery},
    time::Timestamp,
    wallet::{Branch, WalletDescriptor, WalletKind},
};
use bursar_regtest::{Bitcoind, StartOptions};
use rand::{SeedableRng, rngs::StdRng};

#[tokio::test(flavor = "multi_thread")]
async fn spends_and_unspent_outputs_are_told_as_of_the_last_block() {
    let folder = tempfile::tempdir().unwrap();
    let bitcoind = Bitcoind::start(StartOptions::new(folder.path())).await.unwrap();
    let node = client(&bitcoind, BitcoinNetwork::Regtest);
    let network = Network::Bitcoin(BitcoinNetwork::Regtest);
    let mut rng = StdRng::seed_from_u64(7);
    let key = LocalKey::random(WalletKind::P2tr, &mut rng);
    let wallet = WalletDescriptor::new(network, WalletKind::P2tr, 0).unwrap();
    let address = |path| BitcoinAdapter.address(&wallet, &key.group(), &path).unwrap();
    let (receive, change) = (wallet.path(Branch::Receive, 0), wallet.path(Branch::Change, 0));
    let first = bitcoind.height().await.unwrap() + 1;
    let funding = bitcoind.fund(&address(receive), 1_000_000).await.unwrap();
    // A coinbase output to us is no deposit, and no part of what is compared.
    bitcoind.mine_to(&address(receive), 1).await.unwrap();
    let query = |last| StatementQuery {
        addresses: vec![address(receive), address(change)],
        assets: vec![Asset::Btc],
        first,
        last,
        known: vec![],
    };
    let before = bitcoind.height().await.unwrap();
    let funded = node.statement(&query(before), &|_, _| {}).await.unwrap();
    assert_eq!((funded.sent.len(), funded.received_is_all), (0, true));
    let [deposit] = funded.received.as_slice() else { panic!("{:?}", funded.received) };
    assert_eq!((&deposit.tx_id, deposit.credit.amount), (&funding, Amount::from_u64(1_000_000)));
    assert_eq!(funded.unspent, funded.received);

    let to = random_address(BitcoinNetwork::Regtest, &mut rng);
    let destination = Destination { address: to.clone(), tag: None };
    let intent = Intent {
        external_id: "statement".parse().unwrap(),
        wallet,
        asset: Asset::Btc,
        source: None,
        payments: vec![Payment { destination, amount: Amount::from_u64(300_000) }],
        max_fee: Amount::from_u64(50_000),
        expires_at: Timestamp(0),
        fills: None,
        terms: None,
    };
    let outpoint = deposit.credit.outpoint.unwrap();
    let utxos = vec![Utxo { outpoint, value: Satoshi(1_000_000), path: receive }];
    let state = AccountState::Bitcoin(BitcoinAccount { fee_rate: Satoshi(5_000), utxos });
    let group = key.group();
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
    let payloads = BitcoinAdapter.signing_payloads(&unsigned, &group).unwrap();
    let signed = BitcoinAdapter.assemble(&unsigned, &group, &key.sign_all(&payloads)).unwrap();
    assert_eq!(node.broadcast(&signed).await, BroadcastOutcome::Accepted);
    bitcoind.mine(1).await.unwrap();

    // As of before, nothing has changed, although the output is spent now.
    assert_eq!(node.statement(&query(before), &|_, _| {}).await.unwrap(), funded);
    let after = node.statement(&query(before + 1), &|_, _| {}).await.unwrap();
    let [sent] = after.sent.as_slice() else { panic!("{:?}", after.sent) };
    assert_eq!(sent.tx_id.as_ref(), Some(&signed.tx_id));
    assert_eq!((sent.from.as_slice(), sent.fee), ([address(receive)].as_slice(), Some(effects.fee)));
    assert_eq!(sent.resources, [Resource::Utxo(outpoint)]);
    let mut outputs: Vec<_> =
        sent.payments.iter().map(|paid| (paid.destination.address.clone(), paid.amount)).collect();
    outputs.sort();
    let mut meant = vec![(to, Amount::from_u64(300_000)), (address(change), effects.change[0].amount)];
    meant.sort();
    assert_eq!(outputs, meant);
    let [left] = after.unspent.as_slice() else { panic!("{:?}", after.unspent) };
    assert_eq!((&left.credit.address, left.credit.amount), (&address(change), effects.change[0].amount));

    let last = node.final_block().await.unwrap();
    assert_eq!((last.height, &last), (before - 1, &node.block_at(before - 1).await.unwrap()));
}
