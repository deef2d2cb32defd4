use crate::fixtures::*;
use bursar_domain::{
    effects::Resource,
    lifecycle::{Fact, SubStatus},
    package::SignedTransaction,
    ports::SpentBy,
};
use bursar_store::{
    StoreError, chain, events,
    gaps::{self, SignedNumber},
    halts::{self, HaltCode},
    jobs, reservations,
    transactions::{self, Ended, ReservationConflict, TransactionRecord},
    transfers,
};
use std::time::Duration;

fn conflict(resource: Resource) -> Result<(), ReservationConflict> {
    Err(ReservationConflict { resource })
}

async fn taken(database: &Database) -> Vec<u64> {
    reservations::taken(&database.store, network(ETH), "0xA").await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn insert__should_claim_all_resources_or_write_nothing() {
    let database = Database::open().await;
    let (a, b) = (database.transfer(10, ETH).await, database.transfer(11, ETH).await);
    let first = record(20, &a, vec![nonce(5)]);
    assert_eq!(database.insert(&first).await, Ok(()));
    assert_eq!(transactions::get(&database.store, first.id).await.unwrap(), Some(first.clone()));

    let mut tx = database.store.write().await.unwrap();
    let wants_both = record(21, &b, vec![nonce(4), nonce(5), nonce(6)]);
    assert_eq!(transactions::insert(&mut tx, &wants_both).await.unwrap(), conflict(nonce(5)));
    let wants_free = record(22, &b, vec![nonce(4)]);
    assert_eq!(
        transactions::insert(&mut tx, &wants_free).await.unwrap(),
        Ok(()),
        "the transaction is usable"
    );
    tx.commit().await.unwrap();

    assert_eq!(transactions::get(&database.store, wants_both.id).await.unwrap(), None);
    assert_eq!(taken(&database).await, [4, 5]);
    let holder = |n| {
        let store = database.store.clone();
        async move { reservations::holder(&store, network(ETH), &nonce(n)).await.unwrap() }
    };
    assert_eq!(holder(5).await, Some(first.id));
    assert_eq!(holder(6).await, None);
    assert_eq!(transactions::of_transfer(&database.store, b.id).await.unwrap(), [wants_free]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn insert__should_let_exactly_one_of_many_win() {
    let database = Database::open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let transfer = database.transfer(100 + n, ETH).await;
        let store = database.store.clone();
        tasks.spawn(async move {
            let mut tx = store.write().await.unwrap();
            let inserted = transactions::insert(&mut tx, &record(200 + n, &transfer, vec![nonce(7)])).await;
            tx.commit().await.unwrap();
            inserted.unwrap()
        });
    }
    let won = tasks.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn replacement__should_share_with_its_own_transfer_only() {
    let database = Database::open().await;
    let (a, b) = (database.transfer(10, ETH).await, database.transfer(11, ETH).await);
    database.signed(&record(20, &a, vec![nonce(5)]), "0x1").await;
    assert_eq!(database.insert(&record(21, &a, vec![nonce(5)])).await, Ok(()), "a replacement");
    let mut tx = database.store.write().await.unwrap();
    let elsewhere = transactions::insert(&mut tx, &record(22, &a, vec![nonce(6)])).await;
    assert!(
        matches!(elsewhere, Err(StoreError::NotExclusive { transfer, .. }) if transfer == a.id),
        "{elsewhere:?}"
    );
    drop(tx);
    let mut tx = database.store.write().await.unwrap();
    transactions::release(&mut tx, transaction_id(21)).await.unwrap();
    transactions::release(&mut tx, transaction_id(21)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        database.insert(&record(23, &b, vec![nonce(5)])).await,
        conflict(nonce(5)),
        "20 still holds it"
    );
    let mut tx = database.store.write().await.unwrap();
    transactions::release_dead(&mut tx, transaction_id(20), "nonce 5 was used by 0xdead").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(database.insert(&record(24, &b, vec![nonce(5)])).await, Ok(()));
    assert_eq!(database.insert(&record(25, &a, vec![nonce(6)])).await, Ok(()), "everything earlier is dead");
}

#[tokio::test]
async fn insert__should_share_with_every_earlier_one() {
    let database = Database::open().await;
    let a = database.transfer(10, ETH).await;
    assert_eq!(database.insert(&record(20, &a, vec![nonce(1), nonce(2)])).await, Ok(()));
    assert_eq!(database.insert(&record(21, &a, vec![nonce(2), nonce(3)])).await, Ok(()));
    let mut tx = database.store.write().await.unwrap();
    let refused = transactions::insert(&mut tx, &record(22, &a, vec![nonce(3)])).await;
    assert!(
        matches!(refused, Err(StoreError::NotExclusive { other, .. }) if other == transaction_id(20)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn insert__should_refuse_what_nothing_makes_unique() {
    let database = Database::open().await;
    let a = database.transfer(10, ETH).await;
    let fresh = record(20, &a, vec![nonce(1)]);
    let without = record(20, &a, vec![]);
    let foreign = record(20, &a, vec![utxo(1)]);
    let signed = transactions::TransactionRecord {
        signed: Some(SignedTransaction { tx_id: "0x1".into(), bytes: vec![1] }),
        ..fresh.clone()
    };
    let other_network =
        transactions::TransactionRecord { network: network("ethereum:1/ethereum/0"), ..fresh };
    for record in [without, foreign, signed, other_network] {
        let mut tx = database.store.write().await.unwrap();
        let refused = transactions::insert(&mut tx, &record).await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn release__should_wait_for_certainty_that_nobody_signed() {
    let database = Database::open().await;
    let a = database.transfer(10, ETH).await;
    let id = transaction_id(20);
    assert_eq!(database.insert(&record(20, &a, vec![nonce(5)])).await, Ok(()));
    let a = database.drive(a, until_frozen(id)).await;
    let mut tx = database.store.write().await.unwrap();
    assert_eq!(transactions::start_signing(&mut tx, id, at(50)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let a = database.drive(a, vec![Fact::SigningStarted]).await;

    let mut tx = database.store.write().await.unwrap();
    let refused = transactions::release(&mut tx, id).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    drop(tx);

    let certain =
        || Fact::SigningNotStarted { sub_status: SubStatus::SignersOffline, reason: "nobody came".into() };
    let a = database.drive(a, vec![certain()]).await;
    let not_started = transactions::get(&database.store, id).await.unwrap().unwrap();
    assert_eq!((not_started.signing_started_at, not_started.signing_attempts), (None, 1));

    // Two sessions are open: certainty about the second says nothing of the first.
    let mut tx = database.store.write().await.unwrap();
    assert_eq!(transactions::start_signing(&mut tx, id, at(60)).await.unwrap(), 2);
    assert_eq!(transactions::start_signing(&mut tx, id, at(61)).await.unwrap(), 3);
    tx.commit().await.unwrap();
    let a = database.drive(a, vec![Fact::SigningStarted]).await;
    let mut tx = database.store.write().await.unwrap();
    let refused = transfers::save(&mut tx, &a.apply(certain(), at(70)).unwrap()).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    drop(tx);
    let mut tx = database.store.write().await.unwrap();
    assert!(transactions::release(&mut tx, id).await.is_err());
    drop(tx);
    assert_eq!(taken(&database).await, [5]);
    let mut tx = database.store.write().await.unwrap();
    transactions::release_dead(&mut tx, id, "nonce used by another final transaction").await.unwrap();
    assert!(transactions::start_signing(&mut tx, id, at(80)).await.is_err(), "it was released");
    tx.commit().await.unwrap();
    assert!(taken(&database).await.is_empty());
}

#[tokio::test]
async fn signed_bytes__should_never_change() {
    let database = Database::open().await;
    let a = database.transfer(10, ETH).await;
    let id = transaction_id(20);
    database.signed(&record(20, &a, vec![nonce(5)]), "0x1").await;
    let signed = |bytes: &[u8]| SignedTransaction { tx_id: "0x1".into(), bytes: bytes.to_vec() };
    let mut tx = database.store.write().await.unwrap();
    transactions::store_signed(&mut tx, id, &signed(&[1, 2, 3]), at(9)).await.unwrap();
    assert!(transactions::store_signed(&mut tx, id, &signed(&[1, 2, 4]), at(9)).await.is_err());
    assert!(transactions::release(&mut tx, id).await.is_err());
    assert!(transactions::start_signing(&mut tx, id, at(9)).await.is_err());
    transactions::mark_broadcast(&mut tx, id, at(30)).await.unwrap();
    transactions::mark_broadcast(&mut tx, id, at(31)).await.unwrap();
    assert!(transactions::mark_finalized(&mut tx, id, at(31)).await.is_err(), "it is in no block");
    for result in [
        transactions::mark_broadcast(&mut tx, transaction_id(99), at(1)).await,
        transactions::release(&mut tx, transaction_id(99)).await,
        transactions::store_signed(&mut tx, transaction_id(99), &signed(&[1]), at(1)).await,
    ] {
        assert!(result.is_err());
    }
    tx.commit().await.unwrap();
    let kept = transactions::get(&database.store, id).await.unwrap().unwrap();
    assert_eq!(kept.signed, Some(signed(&[1, 2, 3])));
    assert_eq!((kept.signed_at, kept.broadcast_at), (Some(T0), Some(at(30))));
}

#[tokio::test]
async fn final_transactions__should_keep_what_they_used_until_reorganised() {
    let database = Database::open().await;
    let (a, b) = (database.transfer(10, ETH).await, database.transfer(11, ETH).await);
    let id = transaction_id(20);
    database.signed(&record(20, &a, vec![nonce(5)]), "0x1").await;
    let mut tx = database.store.write().await.unwrap();
    chain::start_at(&mut tx, network(ETH), &block_ref(1, "")).await.unwrap();
    let with = block(2, "", "", vec![observed("0x1", vec![nonce(5)], vec![])]);
    chain::apply_block(&mut tx, network(ETH), &with, at(40)).await.unwrap();
    assert!(transactions::release_dead(&mut tx, id, "wrong").await.is_err(), "it is in a block");
    transactions::mark_finalized(&mut tx, id, at(41)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(taken(&database).await, [5]);
    assert_eq!(database.insert(&record(21, &b, vec![nonce(5)])).await, conflict(nonce(5)));
    assert_eq!(database.insert(&record(22, &a, vec![nonce(5)])).await, conflict(nonce(5)), "it is used up");

    let mut tx = database.store.write().await.unwrap();
    assert_eq!(chain::rollback_to(&mut tx, network(ETH), 1, at(50)).await.unwrap(), [a.id]);
    tx.commit().await.unwrap();
    let reopened = transactions::get(&database.store, id).await.unwrap().unwrap();
    assert_eq!((reopened.inclusion, reopened.finalized_at), (None, None));
    assert_eq!(database.insert(&record(21, &b, vec![nonce(5)])).await, conflict(nonce(5)));
    assert_eq!(database.insert(&record(22, &a, vec![nonce(5)])).await, Ok(()), "a replacement again may");
}

/// Two signed transactions of a transfer that share one output; the newer also needs one more.
async fn variants(database: &Database) -> (bursar_domain::lifecycle::Transfer, [TransactionRecord; 2]) {
    let a = database.transfer(10, BTC).await;
    let (first, second) = (record(20, &a, vec![utxo(1)]), record(21, &a, vec![utxo(1), utxo(2)]));
    database.signed(&first, "t1").await;
    database.signed(&second, "t2").await;
    let mut tx = database.store.write().await.unwrap();
    chain::start_at(&mut tx, network(BTC), &block_ref(1, "")).await.unwrap();
    tx.commit().await.unwrap();
    (a, [first, second])
}

async fn final_in_block_2(database: &Database, record: &TransactionRecord, tx_id: &str) {
    let mut tx = database.store.write().await.unwrap();
    let with = block(2, "", "", vec![observed(tx_id, record.effects.resources.clone(), vec![])]);
    chain::apply_block(&mut tx, network(BTC), &with, at(40)).await.unwrap();
    transactions::mark_finalized(&mut tx, record.id, at(41)).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn finality_of_one__should_end_the_others_with_a_proof_and_free_what_only_they_held() {
    let database = Database::open().await;
    let (a, [first, second]) = variants(&database).await;
    let b = database.transfer(11, BTC).await;
    assert_eq!(database.insert(&record(30, &b, vec![utxo(2)])).await, conflict(utxo(2)));
    final_in_block_2(&database, &first, "t1").await;
    let records = transactions::of_transfer(&database.store, a.id).await.unwrap();
    let proof = format!("its {} was used by t1 in final block 2 2", utxo(1));
    assert_eq!(records[0].ended, None);
    assert_eq!(records[1].ended, Some(Ended::Superseded { proof }));
    assert_eq!(database.insert(&record(30, &b, vec![utxo(2)])).await, Ok(()));
    let c = database.transfer(12, BTC).await;
    assert_eq!(database.insert(&record(31, &c, vec![utxo(1)])).await, conflict(utxo(1)), "it is used");

    // A reorganisation deeper than finality: the second may be in a block after all, but its other output is another's now.
    let mut tx = database.store.write().await.unwrap();
    assert_eq!(chain::rollback_to(&mut tx, network(BTC), 1, at(50)).await.unwrap(), [a.id]);
    assert_eq!(transactions::live_in(&mut tx, a.id).await.unwrap().len(), 2);
    tx.commit().await.unwrap();
    let holder = reservations::holder(&database.store, network(BTC), &utxo(2)).await.unwrap();
    assert_eq!(holder, Some(transaction_id(30)));
    final_in_block_2(&database, &second, "t2").await;
    let records = transactions::of_transfer(&database.store, a.id).await.unwrap();
    assert!(matches!(records[0].ended, Some(Ended::Superseded { .. })), "{records:?}");
    assert_eq!(records[1].ended, None);
}

#[tokio::test]
async fn dead_transaction_in_a_block__should_be_alive_again() {
    let database = Database::open().await;
    let (a, [first, _]) = variants(&database).await;
    let mut tx = database.store.write().await.unwrap();
    transactions::release_dead(&mut tx, first.id, "spent elsewhere").await.unwrap();
    tx.commit().await.unwrap();
    final_in_block_2(&database, &first, "t1").await;
    let records = transactions::of_transfer(&database.store, a.id).await.unwrap();
    assert_eq!(records[0].ended, None);
    assert!(matches!(records[1].ended, Some(Ended::Superseded { .. })));
}

#[tokio::test]
async fn certainty_about_one__should_say_nothing_of_its_sibling() {
    let database = Database::open().await;
    let a = database.transfer(10, ETH).await;
    let id = transaction_id(20);
    assert_eq!(database.insert(&record(20, &a, vec![nonce(5)])).await, Ok(()));
    let a = database.drive(a, until_frozen(id)).await;
    let mut tx = database.store.write().await.unwrap();
    transactions::start_signing(&mut tx, id, at(50)).await.unwrap();
    tx.commit().await.unwrap();
    let a = database.drive(a, vec![Fact::SigningStarted]).await;
    database.signed(&record(21, &a, vec![nonce(5)]), "0x2").await;
    let mut tx = database.store.write().await.unwrap();
    let certain =
        Fact::SigningNotStarted { sub_status: SubStatus::SignersOffline, reason: "nobody came".into() };
    let refused = transfers::save(&mut tx, &a.apply(certain, at(70)).unwrap()).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn foreign_spend__should_halt_the_account_and_show_what_it_used() {
    let database = Database::open().await;
    let a = database.transfer(10, ETH).await;
    database.signed(&record(20, &a, vec![nonce(5)]), "0x1").await;
    let mut tx = database.store.write().await.unwrap();
    chain::start_at(&mut tx, network(ETH), &block_ref(1, "")).await.unwrap();
    let with = block(2, "", "", vec![observed("0xf", vec![nonce(5)], vec![])]);
    chain::apply_block(&mut tx, network(ETH), &with, at(40)).await.unwrap();
    tx.commit().await.unwrap();
    let standing = halts::standing(&database.store, network(ETH)).await.unwrap();
    let [halt] = &standing[..] else { panic!("one halt: {standing:?}") };
    assert_eq!((halt.account.as_deref(), halt.code), (Some("0xA"), HaltCode::ForeignSpend));
    let spends = async |n| chain::foreign_spends(&database.store, network(ETH), &[nonce(n)]).await.unwrap();
    assert_eq!(spends(4).await, []);
    let used = SpentBy { resource: nonce(5), tx_id: "0xf".into(), height: 2 };
    assert_eq!(spends(5).await, [used]);
    let ahead = async |n| reservations::live_ahead(&database.store, network(ETH), &nonce(n)).await.unwrap();
    assert_eq!((ahead(6).await, ahead(5).await), (None, None), "nothing waits for a number that is used");
}

#[tokio::test]
async fn number_that_a_stranger_used__should_hold_up_nobody() {
    let database = Database::open().await;
    let (a, b) = (database.transfer(10, ETH).await, database.transfer(11, ETH).await);
    assert_eq!(database.insert(&record(20, &a, vec![nonce(5)])).await, Ok(()));
    assert_eq!(database.insert(&record(21, &b, vec![nonce(6)])).await, Ok(()));
    let ahead =
        async || reservations::unsigned_ahead(&database.store, network(ETH), &nonce(6)).await.unwrap();
    assert_eq!(ahead().await, Some(nonce(5)));
    let mut tx = database.store.write().await.unwrap();
    chain::start_at(&mut tx, network(ETH), &block_ref(1, "")).await.unwrap();
    let with = block(2, "", "", vec![observed("0xf", vec![nonce(5)], vec![])]);
    chain::apply_block(&mut tx, network(ETH), &with, at(40)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ahead().await, None);
    let mut tx = database.store.write().await.unwrap();
    chain::rollback_to(&mut tx, network(ETH), 1, at(50)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ahead().await, Some(nonce(5)), "it is free to be used again");
}

/// Postgres keeps no NUL in text.
#[tokio::test]
async fn text_with_a_nul__should_be_kept_without_it() {
    let database = Database::open().await;
    let a = database.transfer(10, ETH).await;
    let id = transaction_id(20);
    assert_eq!(database.insert(&record(20, &a, vec![nonce(5)])).await, Ok(()));
    let mut facts = until_frozen(id);
    facts.push(Fact::Waiting { sub_status: SubStatus::SignersOffline, reason: "a\0b".into() });
    let a = database.drive(a, facts).await;
    let kept = transfers::get(&database.store, a.id).await.unwrap().unwrap();
    assert_eq!(kept.reason.as_deref(), Some("a\u{fffd}b"));
    let mut tx = database.store.write().await.unwrap();
    transactions::release_dead(&mut tx, id, "c\0d").await.unwrap();
    halts::halt(&mut tx, network(ETH), None, HaltCode::Operator, "e\0f", at(50)).await.unwrap();
    tx.commit().await.unwrap();
    let ended = transactions::get(&database.store, id).await.unwrap().unwrap().ended;
    assert_eq!(ended, Some(Ended::Dead { proof: "c\u{fffd}d".into() }));
    let standing = halts::standing(&database.store, network(ETH)).await.unwrap();
    assert_eq!(standing[0].reason, "e\u{fffd}f");
}

#[tokio::test]
async fn gaps__should_be_told_once_until_they_are_closed() {
    let database = Database::open().await;
    let (a, b) = (database.transfer(10, ETH).await, database.transfer(11, ETH).await);
    database.signed(&record(20, &a, vec![nonce(5)]), "0x1").await;
    assert_eq!(database.insert(&record(21, &b, vec![nonce(6)])).await, Ok(()));
    let signed = gaps::signed(&database.store, network(ETH)).await.unwrap();
    let expected = SignedNumber { account: "0xA".into(), number: 5, transfer: a.id };
    assert_eq!(signed, [expected], "6 is not signed");
    for opened in [true, false] {
        let mut tx = database.store.write().await.unwrap();
        assert_eq!(gaps::open(&mut tx, network(ETH), "0xA", 4, at(50)).await.unwrap(), opened);
        tx.commit().await.unwrap();
    }
    let known = gaps::known(&database.store, network(ETH)).await.unwrap();
    assert_eq!(known, [("0xA".to_owned(), 4)].into());
    let mut tx = database.store.write().await.unwrap();
    gaps::close(&mut tx, network(ETH), "0xA", 4).await.unwrap();
    tx.commit().await.unwrap();
    assert!(gaps::known(&database.store, network(ETH)).await.unwrap().is_empty());
    let told = events::after(&database.store, 0, 100).await.unwrap();
    assert_eq!(told.iter().filter(|event| event.kind == "account.gap").count(), 1);
}

/// What spends an output of a transaction of ours can be in no block once that has ended for good; and it may again where that is revived.
#[tokio::test]
async fn outputs_of_what_ended__should_be_gone_until_it_is_revived() {
    let database = Database::open().await;
    let store = &database.store;
    let (a, b) = (database.transfer(10, BTC).await, database.transfer(11, BTC).await);
    let tx_id = |n| outpoint(n).to_string().split(':').next().unwrap().to_owned();
    let parent = record(20, &a, vec![utxo(1)]);
    database.signed(&parent, &tx_id(7)).await;
    let asked = [utxo(7), utxo(8), nonce(7)];
    let gone = async || transactions::gone_parents(store, network(BTC), &asked).await.unwrap();
    assert_eq!(gone().await, [], "it may be in a block");
    let frozen = database.drive(b, until_frozen(transaction_id(21))).await;
    database.signed(&record(21, &frozen, vec![utxo(7)]), "heir").await;

    let ended = Ended::Dead { proof: "bitcoin/utxo/1 was used".into() };
    let mut tx = store.write().await.unwrap();
    transactions::release_dead(&mut tx, parent.id, ended.proof().unwrap()).await.unwrap();
    let within = transactions::gone_parents_in(&mut tx, network(BTC), &asked).await.unwrap();
    tx.commit().await.unwrap();
    let expected = transactions::GoneParent { resource: utxo(7), tx_id: tx_id(7), ended };
    assert_eq!(gone().await, std::slice::from_ref(&expected));
    assert_eq!(within, std::slice::from_ref(&expected));
    let elsewhere = network("bitcoin:mainnet/p2tr/0");
    assert_eq!(transactions::gone_parents(store, elsewhere, &asked).await.unwrap(), []);

    let proof = expected.to_string();
    assert!(proof.contains(&utxo(7).to_string()) && proof.contains("bitcoin/utxo/1 was used"), "{proof}");
    let mut tx = store.write().await.unwrap();
    transactions::release_dead(&mut tx, transaction_id(21), &proof).await.unwrap();
    tx.commit().await.unwrap();
    let dead = Fact::ProvenDead { proof, ledger_passed: false };
    let failed = database.drive(frozen, vec![Fact::SigningStarted, dead]).await;
    for claim in jobs::claim(store, at(5000), Duration::from_secs(60), 99).await.unwrap() {
        assert!(jobs::settle(store, &claim, at(5000), jobs::Outcome::Done).await.unwrap());
    }

    let mut tx = store.write().await.unwrap();
    transactions::revive(&mut tx, parent.id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(gone().await, []);
    let nudged = jobs::claim(store, at(5000), Duration::from_secs(60), 99).await.unwrap();
    assert_eq!(nudged.iter().map(|claim| claim.transfer).collect::<Vec<_>>(), [failed.id]);
}
