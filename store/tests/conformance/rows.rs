//! Rows come back as they went in, and rows that make no sense are told by name.

use crate::fixtures::*;
use bursar_domain::{
    amount::Amount,
    effects::Validity,
    intent::{InitiatorKey, Proof},
    lifecycle::{Fact, SubStatus},
    time::Timestamp,
    wallet::Branch,
};
use bursar_store::{
    Store, StoreError, addresses, chain, deposits, events, jobs, keys, transactions,
    transfers::{self, Filter},
    utxos, wallets,
};
use proptest::prelude::*;
use sqlx::{AssertSqlSafe, Connection};
use std::time::Duration;

/// Runs a statement behind the store's back.
async fn meddle(url: &str, sql: &str) {
    let mut connection = sqlx::AnyConnection::connect(&url.replace(' ', "%20")).await.unwrap();
    let done = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    assert_eq!(done.rows_affected(), 1, "{sql}");
    connection.close().await.unwrap();
}

async fn read_all(store: &Store) -> Result<(), StoreError> {
    let (bitcoin, wallet) = (network(BTC), bursar_domain::ids::WalletId::new(uuid(1)));
    transfers::list(store, &Filter::default(), None, 10).await?;
    transactions::of_transfer(store, transfer_id(10)).await?;
    events::after(store, 0, 100).await?;
    wallets::list(store).await?;
    addresses::of_wallet(store, wallet, None, 10).await?;
    keys::all(store).await?;
    utxos::available(store, wallet).await?;
    utxos::balance(store, wallet).await?;
    chain::cursor(store, bitcoin).await?;
    deposits::list(store, deposits::Filter::default(), None, 10).await?;
    jobs::claim(store, at(1000), Duration::from_secs(1), 10).await?;
    Ok(())
}

#[tokio::test]
async fn corrupt_rows__should_name_table_column_and_key() {
    let cases = [
        ("transfers", "state", "'{}'"),
        ("transfers", "state", "'not json'"),
        ("transfers", "status", "'QUEUED'"),
        ("transfers", "status", "'NO_SUCH'"),
        ("transfers", "has_step", "2"),
        ("transfers", "intent", "'null'"),
        ("transfers", "external_id", "'other'"),
        ("transfers", "network", "'ethereum:1'"),
        ("transfers", "asset", "'ETH'"),
        ("transfers", "version", "-1"),
        ("transfers", "version", "'text'"),
        ("transfers", "flags", "'[]'"),
        ("transfers", "sub_status", "'\"NO_SUCH\"'"),
        ("transactions", "network", "'nowhere'"),
        ("transactions", "unsigned", "'{}'"),
        ("transactions", "effects", "'{}'"),
        ("transactions", "signed_bytes", "NULL"),
        ("transactions", "signing_attempts", "4294967296"),
        ("transactions", "block_height", "7"),
        ("events", "payload", "'{'"),
        ("wallets", "descriptor", "'bitcoin:regtest/ethereum/0'"),
        ("addresses", "position", "2147483648"),
        ("utxos", "value", "'-1'"),
        ("utxos", "value", "'1.5'"),
        ("utxos", "outpoint", "'00:0'"),
        ("deposits", "amount", "''"),
        ("deposits", "tag", "-1"),
        ("chain_cursors", "height", "-1"),
        ("jobs", "attempt", "-1"),
    ];
    for (table, column, value) in cases {
        let database = Database::open().await;
        if (column, value) == ("version", "'text'") && !database.url.starts_with("sqlite:") {
            // Refused by a database whose columns have types.
            continue;
        }
        let store = &database.store;
        let address = database.address(1, Branch::Receive).await;
        let transfer = database.transfer(10, BTC).await;
        database.signed(&record(20, &transfer, vec![utxo(8)]), "ours").await;
        let mut tx = store.write().await.unwrap();
        chain::start_at(&mut tx, network(BTC), &block_ref(1, "")).await.unwrap();
        let with = block(2, "", "", vec![observed("in", vec![], vec![credit(&address, 1, 5)])]);
        chain::apply_block(&mut tx, network(BTC), &with, T0).await.unwrap();
        tx.commit().await.unwrap();
        let key = match table {
            "events" => "sequence = 1",
            "wallets" => "account = 0 AND kind = 'p2tr'",
            _ => "1 = 1",
        };
        meddle(&database.url, &format!("UPDATE {table} SET {column} = {value} WHERE {key}")).await;
        match read_all(store).await {
            Err(StoreError::Corrupt { table: told, column: which, key, reason }) => {
                assert_eq!(told, table, "{column} = {value}");
                assert!(
                    !key.is_empty() && !reason.is_empty() && !which.is_empty(),
                    "{table}.{column} = {value}"
                );
            }
            other => panic!("{table}.{column} = {value}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn migrations__should_refuse_a_database_that_is_not_theirs() {
    let cases = [
        "UPDATE schema_migrations SET digest = 'other' WHERE version = 1",
        "INSERT INTO schema_migrations (version, digest) VALUES (999, 'later')",
    ];
    for sql in cases {
        let database = Database::open().await;
        assert!(Store::open(&database.url).await.is_ok(), "again");
        meddle(&database.url, sql).await;
        assert!(matches!(Store::open(&database.url).await, Err(StoreError::Migration { .. })), "{sql}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(24), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records__should_come_back_as_they_went_in(
        limbs: [u64; 4],
        reason in "[^\\x00]{0,40}",
        bytes: Vec<u8>,
        hash: [u8; 32],
        micros: i64,
        ledger: Option<u32>,
        label in proptest::option::of("[^\\x00]{0,20}"),
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let database = Database::open().await;
            let store = &database.store;
            let amount = Amount(ruint::aliases::U256::from_limbs(limbs));
            let mut sent = transfer(10, ETH);
            sent.intent.intent.payments[0].amount = amount;
            sent.intent.intent.max_fee = amount;
            sent.intent.intent.source = label.clone();
            sent.intent.proof = Proof::Key { initiator: InitiatorKey(hash), signature: [9; 64] };
            sent.intent.intent.expires_at = Timestamp(micros);
            database.submit(&sent).await;
            let fact = Fact::Waiting { sub_status: SubStatus::WouldFail, reason: reason.clone() };
            let sent = database.drive(sent, vec![fact]).await;
            assert_eq!(transfers::get(store, sent.id).await.unwrap(), Some(sent.clone()));

            let mut kept = record(20, &sent, vec![nonce(micros.unsigned_abs() >> 1)]);
            kept.unsigned.bytes.clone_from(&bytes);
            kept.effects.fee = amount;
            kept.effects.validity = ledger.map_or(Validity::Unlimited, Validity::UntilLedger);
            kept.effects.from = vec![reason.clone()];
            kept.created_at = Timestamp(micros);
            assert_eq!(database.insert(&kept).await, Ok(()));
            assert_eq!(transactions::get(store, kept.id).await.unwrap(), Some(kept.clone()));
            let signed = bursar_domain::package::SignedTransaction { tx_id: hex::encode(hash), bytes: bytes.clone() };
            let mut tx = store.write().await.unwrap();
            transactions::store_signed(&mut tx, kept.id, &signed, Timestamp(micros)).await.unwrap();
            assert_eq!(transactions::get_in(&mut tx, kept.id).await.unwrap().unwrap().signed, Some(signed));
        });
    }
}
