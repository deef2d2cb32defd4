use crate::fixtures::*;
use bursar_domain::{
    account::Utxo,
    amount::{Amount, Satoshi},
    chain::{
        CONTRACT_PAYMENTS, ContractPayment, ContractPayments, Credit, ObservedBlock, ObservedTransaction,
        TransactionOutcome,
    },
    ids::WalletId,
    lifecycle::Fact,
    network::Network,
    package::SignedTransaction,
    wallet::Branch,
};
use bursar_store::{
    Store, StoreError,
    addresses::AddressRecord,
    chain::{self, Applied, Untraced},
    deposits::{self, DepositStatus},
    events, halts, jobs,
    transactions::{self, Inclusion},
    utxos,
};
use std::time::Duration;

fn bitcoin() -> Network {
    network(BTC)
}
fn wallet() -> WalletId {
    WalletId::new(uuid(1))
}

fn of(wallet: WalletId) -> deposits::Filter {
    deposits::Filter { wallet: Some(wallet), ..Default::default() }
}

async fn start(store: &Store, network: Network) {
    let mut tx = store.write().await.unwrap();
    chain::start_at(&mut tx, network, &block_ref(1, "")).await.unwrap();
    tx.commit().await.unwrap();
}
async fn apply(store: &Store, height: u64, transactions: Vec<ObservedTransaction>) -> Applied {
    let mut tx = store.write().await.unwrap();
    let applied =
        chain::apply_block(&mut tx, bitcoin(), &block(height, "", "", transactions), at(9)).await.unwrap();
    tx.commit().await.unwrap();
    applied
}
async fn rollback(store: &Store, height: u64) -> Vec<bursar_domain::ids::TransferId> {
    let mut tx = store.write().await.unwrap();
    let touched = chain::rollback_to(&mut tx, bitcoin(), height, at(10)).await.unwrap();
    tx.commit().await.unwrap();
    touched
}
async fn balance(store: &Store) -> (u64, u64) {
    let (total, reserved) = utxos::balance(store, wallet()).await.unwrap();
    let sat = |amount: Amount| Satoshi::try_from(amount).unwrap().0;
    (sat(total), sat(reserved))
}
async fn kinds(store: &Store) -> Vec<String> {
    events::after(store, 0, 1000).await.unwrap().into_iter().map(|event| event.kind).collect()
}

#[tokio::test]
async fn blocks__should_follow_one_another() {
    let Database { store, .. } = &Database::open().await;
    let mut tx = store.write().await.unwrap();
    let early = chain::apply_block(&mut tx, bitcoin(), &block(2, "", "", vec![]), T0).await;
    assert!(matches!(early, Err(StoreError::NotNext { cursor: None, .. })), "{early:?}");
    drop(tx);
    start(store, bitcoin()).await;
    start(store, bitcoin()).await;
    for wrong in [block(3, "", "", vec![]), block(2, "", "other", vec![]), block(1, "", "", vec![])] {
        let mut tx = store.write().await.unwrap();
        let refused = chain::apply_block(&mut tx, bitcoin(), &wrong, T0).await;
        assert!(matches!(refused, Err(StoreError::NotNext { cursor: Some(_), .. })), "{refused:?}");
    }
    let mut tx = store.write().await.unwrap();
    let elsewhere = chain::start_at(&mut tx, bitcoin(), &block_ref(2, "")).await;
    assert!(matches!(elsewhere, Err(StoreError::Conflict { .. })), "{elsewhere:?}");
    drop(tx);
    for height in 2..8 {
        apply(store, height, vec![]).await;
    }
    let heights = |blocks: Vec<bursar_domain::chain::BlockRef>| {
        blocks.into_iter().map(|block| block.height).collect::<Vec<_>>()
    };
    assert_eq!(heights(chain::recent_blocks(store, bitcoin(), 3).await.unwrap()), [7, 6, 5]);
    let mut tx = store.write().await.unwrap();
    chain::prune_blocks(&mut tx, bitcoin(), 4).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(heights(chain::recent_blocks(store, bitcoin(), 99).await.unwrap()), [7, 6, 5, 4]);
    let mut tx = store.write().await.unwrap();
    let deep = chain::rollback_to(&mut tx, bitcoin(), 3, T0).await;
    assert!(matches!(deep, Err(StoreError::TooDeep { height: 3, .. })), "{deep:?}");
    drop(tx);
    rollback(store, 5).await;
    assert_eq!(chain::cursor(store, bitcoin()).await.unwrap(), Some(block_ref(5, "")));
    assert_eq!(chain::cursor(store, network(ETH)).await.unwrap(), None);
}

#[tokio::test]
async fn deposits__should_come_and_go_with_their_blocks() {
    let database = Database::open().await;
    let store = &database.store;
    let address = database.address(1, Branch::Receive).await;
    start(store, bitcoin()).await;
    let pay = || vec![observed("in", vec![], vec![credit(&address, 1, 5000)])];
    assert_eq!(apply(store, 2, pay()).await, Applied { deposits: 1, ..Applied::default() });
    let listed = || async { deposits::list(store, of(wallet()), None, 10).await.unwrap().items };
    let first = listed().await.remove(0);
    assert_eq!((first.amount, first.status), (Amount::from_u64(5000), DepositStatus::Detected));
    assert_eq!(first.block, block_ref(2, ""));
    apply(store, 3, vec![]).await;
    assert_eq!(listed().await[0].status, DepositStatus::Confirming);
    let mut tx = store.write().await.unwrap();
    chain::set_final_height(&mut tx, bitcoin(), 2).await.unwrap();
    chain::set_final_height(&mut tx, bitcoin(), 1).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(listed().await[0].status, DepositStatus::Completed);
    let available = utxos::available(store, wallet()).await.unwrap();
    assert_eq!(available, [Utxo { outpoint: outpoint(1), value: Satoshi(5000), path: address.path }]);

    assert_eq!(rollback(store, 1).await, []);
    assert_eq!(listed().await, []);
    assert_eq!(balance(store).await, (0, 0));
    assert_eq!(kinds(store).await, ["deposit.detected", "deposit.completed_reverted", "chain.reorganised"]);
    apply(store, 2, vec![]).await;
    apply(store, 3, pay()).await;
    let again = listed().await.remove(0);
    assert_eq!((again.id, again.block.height), (first.id, 3), "the same deposit, elsewhere");

    apply(
        store,
        4,
        (2..6).map(|n| observed(&format!("in{n}"), vec![], vec![credit(&address, n, n)])).collect(),
    )
    .await;
    let page = deposits::list(store, deposits::Filter::default(), None, 2).await.unwrap();
    let rest = deposits::list(store, deposits::Filter::default(), page.next.as_deref(), 10).await.unwrap();
    let ids: Vec<_> = page.items.iter().chain(&rest.items).map(|deposit| deposit.tx_id.as_str()).collect();
    assert_eq!(ids, ["in5", "in4", "in3", "in2", "in"]);
    assert!(matches!(
        deposits::list(store, deposits::Filter::default(), Some("00"), 1).await,
        Err(StoreError::BadCursor)
    ));
}

#[tokio::test]
async fn change__should_be_spendable_and_no_deposit() {
    let database = Database::open().await;
    let store = &database.store;
    database.wallet(3, "bitcoin:regtest/p2tr/1").await;
    let receive = database.address(1, Branch::Receive).await;
    let change = database.address(1, Branch::Change).await;
    let other_wallet = database.address(3, Branch::Receive).await;
    start(store, bitcoin()).await;
    apply(store, 2, vec![observed("in", vec![], vec![credit(&receive, 1, 5000)])]).await;

    let transfer = database.transfer(10, BTC).await;
    let id = transaction_id(20);
    database.signed(&record(20, &transfer, vec![utxo(1)]), "ours").await;
    assert_eq!(balance(store).await, (5000, 5000));
    assert_eq!(utxos::available(store, wallet()).await.unwrap(), []);
    let watch = chain::watch_set(store, bitcoin()).await.unwrap();
    assert!(watch.addresses.contains(&change.address) && watch.outpoints.contains(&outpoint(1)));
    assert!(watch.transactions.contains("ours") && watch.tokens.is_empty());

    let credits = vec![credit(&change, 2, 300), credit(&receive, 3, 400), credit(&other_wallet, 4, 1000)];
    let applied = apply(store, 3, vec![observed("ours", vec![utxo(1)], credits)]).await;
    assert_eq!(applied, Applied { touched: vec![transfer.id], deposits: 1, foreign_spends: vec![] });
    let of_other = deposits::list(store, of(WalletId::new(uuid(3))), None, 10).await.unwrap();
    assert_eq!(of_other.items[0].amount, Amount::from_u64(1000), "another wallet of ours was paid");
    let both = [wallet(), WalletId::new(uuid(3))];
    let cases: [(&[WalletId], &[u64]); 4] =
        [(&both, &[1000, 5000]), (&both[..1], &[5000]), (&both[1..], &[1000]), (&[], &[])];
    for (wallets, amounts) in cases {
        let wallets = wallets.iter().copied().collect();
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let all = deposits::Filter::default();
            let page = deposits::list_of_wallets(store, all, &wallets, cursor.as_deref(), 1).await.unwrap();
            found.extend(page.items.into_iter().map(|deposit| deposit.amount));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, amounts.iter().copied().map(Amount::from_u64).collect::<Vec<_>>());
    }
    assert_eq!(balance(store).await, (700, 0));
    let included = transactions::get(store, id).await.unwrap().unwrap().inclusion;
    let expected = Inclusion {
        block: block_ref(3, ""),
        outcome: TransactionOutcome::Succeeded,
        fee: Some(Amount::from_u64(3)),
    };
    assert_eq!(included, Some(expected));
    let spent = chain::watch_set(store, bitcoin()).await.unwrap().outpoints;
    assert!(!spent.contains(&outpoint(1)) && spent.contains(&outpoint(2)));

    // On a change path it is change even when the transaction is unknown.
    let applied = apply(store, 4, vec![observed("unknown", vec![], vec![credit(&change, 5, 9)])]).await;
    assert_eq!(applied.deposits, 0);

    let other = database.transfer(11, BTC).await;
    assert!(database.insert(&record(21, &other, vec![utxo(1)])).await.is_err(), "spent");
    assert_eq!(rollback(store, 2).await, [transfer.id]);
    assert_eq!(balance(store).await, (5000, 5000), "unspent again, and still reserved");
    assert_eq!(transactions::get(store, id).await.unwrap().unwrap().inclusion, None);
    assert!(chain::watch_set(store, bitcoin()).await.unwrap().transactions.contains("ours"));
}

#[tokio::test]
async fn outputs__should_be_created_and_spent_in_one_block() {
    let database = Database::open().await;
    let store = &database.store;
    let address = database.address(1, Branch::Receive).await;
    start(store, bitcoin()).await;
    let both = vec![
        observed(
            "in",
            vec![],
            vec![credit(&address, 1, 5000), Credit { index: 2, ..credit(&address, 2, 70) }],
        ),
        observed("out", vec![utxo(1)], vec![]),
    ];
    let applied = apply(store, 2, both).await;
    assert_eq!(applied.foreign_spends, [utxo(1)]);
    assert_eq!(balance(store).await, (70, 0));
    rollback(store, 1).await;
    assert_eq!(balance(store).await, (0, 0));
}

#[tokio::test]
async fn foreign_spend__should_raise_an_alarm_and_nudge_whose_resource_it_was() {
    let database = Database::open().await;
    let store = &database.store;
    let address = database.address(1, Branch::Receive).await;
    start(store, bitcoin()).await;
    apply(store, 2, vec![observed("in", vec![], vec![credit(&address, 1, 5000)])]).await;
    let transfer = database.transfer(10, BTC).await;
    assert_eq!(database.insert(&record(20, &transfer, vec![utxo(1)])).await, Ok(()));
    for claim in jobs::claim(store, at(100), Duration::from_secs(1), 10).await.unwrap() {
        assert!(jobs::settle(store, &claim, at(100), jobs::Outcome::Done).await.unwrap());
    }
    let applied = apply(store, 3, vec![observed("thief", vec![utxo(1)], vec![])]).await;
    assert_eq!(applied.foreign_spends, [utxo(1)]);
    assert_eq!(applied.touched, [transfer.id]);
    assert_eq!(jobs::depth(store, at(100)).await.unwrap(), (1, 1));
    let told = events::of_transfer(store, transfer.id).await.unwrap().pop().unwrap();
    assert_eq!((told.kind.as_str(), &told.payload["txId"]), ("account.foreign_spend", &"thief".into()));
    assert_eq!(rollback(store, 2).await, [transfer.id], "it looks again");
    assert_eq!(balance(store).await, (5000, 5000));
}

/// A co-signer published what it had signed; the follower saw it before its signature reached us.
#[tokio::test]
async fn spend_that_turns_out_to_be_ours__should_be_its_inclusion() {
    let database = Database::open().await;
    let store = &database.store;
    let address = database.address(1, Branch::Receive).await;
    start(store, bitcoin()).await;
    let coins = vec![credit(&address, 1, 5000), Credit { index: 2, ..credit(&address, 2, 70) }];
    apply(store, 2, vec![observed("in", vec![], coins)]).await;
    let transfer = database.transfer(10, BTC).await;
    let ours = record(20, &transfer, vec![utxo(1), utxo(2)]);
    let seen = observed("early", vec![utxo(1), utxo(2)], vec![]);
    let (outcome, fee) = (seen.outcome.clone(), seen.fee);
    assert_eq!(database.insert(&ours).await, Ok(()));
    assert_eq!(apply(store, 3, vec![seen]).await.foreign_spends, [utxo(1), utxo(2)]);
    let mut tx = store.write().await.unwrap();
    transactions::start_signing(&mut tx, ours.id, at(50)).await.unwrap();
    let signed = SignedTransaction { tx_id: "early".into(), bytes: vec![1, 2, 3] };
    transactions::store_signed(&mut tx, ours.id, &signed, at(60)).await.unwrap();
    tx.commit().await.unwrap();

    let inclusion = async || transactions::get(store, ours.id).await.unwrap().unwrap().inclusion;
    assert_eq!(inclusion().await, Some(Inclusion { block: block_ref(3, ""), outcome, fee }));
    let foreign = chain::foreign_spends(store, bitcoin(), &[utxo(1), utxo(2)]).await.unwrap();
    assert_eq!(foreign, []);
    let told = events::of_transfer(store, transfer.id).await.unwrap().pop().unwrap();
    assert_eq!((told.kind.as_str(), &told.payload["txId"]), ("account.spend_recognised", &"early".into()));
    assert_eq!(halts::standing(store, bitcoin()).await.unwrap().len(), 1, "a person looks at it");
    assert_eq!(rollback(store, 2).await, [transfer.id]);
    assert_eq!(inclusion().await, None);
}

#[tokio::test]
async fn stranger_that_used_the_same_output__should_stay_one() {
    let database = Database::open().await;
    let store = &database.store;
    let address = database.address(1, Branch::Receive).await;
    start(store, bitcoin()).await;
    apply(store, 2, vec![observed("in", vec![], vec![credit(&address, 1, 5000)])]).await;
    let transfer = database.transfer(10, BTC).await;
    let ours = record(20, &transfer, vec![utxo(1)]);
    assert_eq!(database.insert(&ours).await, Ok(()));
    apply(store, 3, vec![observed("thief", vec![utxo(1)], vec![])]).await;
    let mut tx = store.write().await.unwrap();
    transactions::start_signing(&mut tx, ours.id, at(50)).await.unwrap();
    let signed = SignedTransaction { tx_id: "ours".into(), bytes: vec![1, 2, 3] };
    transactions::store_signed(&mut tx, ours.id, &signed, at(60)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(transactions::get(store, ours.id).await.unwrap().unwrap().inclusion, None);
    assert_eq!(chain::foreign_spends(store, bitcoin(), &[utxo(1)]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn failed_transactions__should_credit_nothing() {
    let database = Database::open().await;
    let store = &database.store;
    let address = database.address(1, Branch::Receive).await;
    start(store, bitcoin()).await;
    let failed = ObservedTransaction {
        outcome: TransactionOutcome::Failed { reason: "reverted".into() },
        ..observed("in", vec![], vec![credit(&address, 1, 5000)])
    };
    assert_eq!(apply(store, 2, vec![failed]).await, Applied::default());
    assert_eq!(balance(store).await, (0, 0));
}

#[tokio::test]
async fn new_blocks__should_nudge_what_is_confirming_and_final() {
    let database = Database::open().await;
    let store = &database.store;
    start(store, bitcoin()).await;
    for (n, height) in [(10, 2), (11, 3)] {
        let transfer = database.transfer(n, BTC).await;
        let record = record(n + 10, &transfer, vec![utxo(n)]);
        let transfer = database.drive(transfer, until_frozen(record.id)).await;
        database.signed(&record, &format!("tx-{n}")).await;
        apply(store, height, vec![observed(&format!("tx-{n}"), vec![utxo(n)], vec![])]).await;
        let facts = vec![
            Fact::SigningStarted,
            Fact::Signed,
            Fact::Sent,
            Fact::Included { transaction: record.id, block: block_ref(height, "") },
        ];
        database.drive(transfer, facts).await;
    }
    let mut tx = store.write().await.unwrap();
    for (final_height, nudged) in [(1, 0), (2, 1), (3, 2)] {
        chain::set_final_height(&mut tx, bitcoin(), final_height).await.unwrap();
        assert_eq!(
            chain::nudge_confirming(&mut tx, bitcoin(), at(50)).await.unwrap(),
            nudged,
            "{final_height}"
        );
        assert_eq!(chain::nudge_confirming(&mut tx, network(ETH), at(50)).await.unwrap(), 0);
    }
}

/// As the follower sees a block: with nothing listed, and what contracts sent on.
async fn apply_sent_on(store: &Store, height: u64, contract_payments: ContractPayments) -> Applied {
    let mut tx = store.write().await.unwrap();
    let observed = ObservedBlock { contract_payments, ..block(height, "", "", vec![]) };
    let applied = chain::apply_block(&mut tx, bitcoin(), &observed, at(9)).await.unwrap();
    tx.commit().await.unwrap();
    applied
}

#[tokio::test]
async fn what_contracts_send_on__should_be_deposits_of_their_own() {
    let database = Database::open().await;
    let store = &database.store;
    let address = database.address(1, Branch::Receive).await;
    let change = database.address(1, Branch::Change).await;
    start(store, bitcoin()).await;
    let sent_on = |address: &AddressRecord, place: u32, amount: u64| ContractPayment {
        tx_id: "tx".into(),
        credit: Credit { outpoint: None, index: CONTRACT_PAYMENTS + place, ..credit(address, 0, amount) },
    };
    // The transaction's own value has the index 0; two equal payments of contracts are two deposits.
    let direct = Credit { outpoint: None, index: 0, ..credit(&address, 0, 7) };
    let mut paid = block(2, "", "", vec![observed("tx", vec![], vec![direct])]);
    paid.contract_payments = ContractPayments::Known(vec![
        sent_on(&address, 0, 5),
        sent_on(&address, 3, 5),
        sent_on(&change, 4, 6),
    ]);
    let mut tx = store.write().await.unwrap();
    let applied = chain::apply_block(&mut tx, bitcoin(), &paid, at(9)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(applied.deposits, 3, "what reaches a change address is none");
    let list = async || {
        let items = deposits::list(store, of(wallet()), None, 10).await.unwrap().items;
        let mut found: Vec<_> = items.iter().map(|d| (d.id, d.tx_id.clone(), d.index, d.amount)).collect();
        found.sort_by_key(|(_, _, index, _)| *index);
        found
    };
    let before = list().await;
    let shown: Vec<_> =
        before.iter().map(|(_, tx_id, index, amount)| (tx_id.as_str(), *index, *amount)).collect();
    let amount = Amount::from_u64;
    let expected = [
        ("tx", 0, amount(7)),
        ("tx", CONTRACT_PAYMENTS, amount(5)),
        ("tx", CONTRACT_PAYMENTS + 3, amount(5)),
    ];
    assert_eq!(shown, expected);

    rollback(store, 1).await;
    assert_eq!(list().await, []);
    assert_eq!(kinds(store).await.iter().filter(|kind| *kind == "deposit.reverted").count(), 3);
    let mut tx = store.write().await.unwrap();
    chain::apply_block(&mut tx, bitcoin(), &paid, at(9)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(list().await, before, "the same deposits have the same ids");
}

#[tokio::test]
async fn blocks_that_no_node_traced__should_be_remembered_until_they_are_taken_back() {
    let database = Database::open().await;
    let store = &database.store;
    start(store, bitcoin()).await;
    let untraced = async || {
        let ranges = chain::untraced(store, bitcoin()).await.unwrap();
        ranges.iter().map(|Untraced { first, last }| (*first, *last)).collect::<Vec<_>>()
    };
    for (height, payments) in (2..).zip([
        ContractPayments::Unknown,
        ContractPayments::Unknown,
        ContractPayments::Known(vec![]),
        ContractPayments::Unknown,
        ContractPayments::Unknown,
        ContractPayments::NotSought,
    ]) {
        apply_sent_on(store, height, payments).await;
    }
    assert_eq!(untraced().await, [(2, 3), (5, 6)]);
    rollback(store, 5).await;
    assert_eq!(untraced().await, [(2, 3), (5, 5)]);
    rollback(store, 2).await;
    assert_eq!(untraced().await, [(2, 2)]);
    apply_sent_on(store, 3, ContractPayments::Known(vec![])).await;
    assert_eq!(untraced().await, [(2, 2)]);
}
